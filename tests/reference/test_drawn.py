"""Platforms that Hypothesis draws over every kind of part, path by path in the engine and in the reference."""

from __future__ import annotations

import ast
import inspect

from hypothesis import HealthCheck, given, settings

from model.engine.program import Part
from tests.reference import drawn as strategies
from tests.reference.compared import assert_agree
from tests.reference.drawn import Drawn, drawn_platforms


def test_every_kind_of_part_is_drawn() -> None:
    """A part that is new to the engine is new to the reference and to what is drawn."""
    names = {node.id for node in ast.walk(ast.parse(inspect.getsource(strategies))) if isinstance(node, ast.Name)}
    assert set(str(Part).replace("|", " ").split()) <= names


@given(drawn=drawn_platforms())
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_engine_and_reference_agree_on_whatever_is_drawn(drawn: Drawn) -> None:
    assert_agree(drawn.platform())
