"""Platforms that Hypothesis draws over every kind of part, path by path in the engine and in the reference."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.reference.compared import assert_agree
from tests.reference.drawn import Drawn, drawn_platforms


@given(drawn=drawn_platforms())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_engine_and_reference_agree_on_whatever_is_drawn(drawn: Drawn) -> None:
    assert_agree(drawn.platform())
