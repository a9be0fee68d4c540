"""The reference's own random numbers against the known answers of Philox's authors, its tables against exact laws."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from scipy import stats

from model.engine.tables import constant, exponential_from_mean, lognormal_from_mean_cv
from tests.reference.numbers import key_of, philox4x32, quantile, uniform

# Random123 (Salmon et al.), kat_vectors, philox4x32-10: counter, key, answer.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
DECLARATION = {"model.engine.layout", "model.engine.plant", "model.engine.program"}
"""What the reference shares with the engine."""


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], answer: tuple[int, int, int, int]
) -> None:
    assert philox4x32(counter, key) == answer


def test_a_uniform_number_is_made_of_the_first_words_of_its_counter() -> None:
    key = key_of(7, "work")
    entity, attempt, draw = (1 << 40) + 5, 3, 11
    words = philox4x32((entity & 0xFFFFFFFF, entity >> 32, draw, attempt), (key & 0xFFFFFFFF, key >> 32))
    assert uniform(key, entity, attempt, draw) == ((words[0] << 20 | words[1] >> 12) + 0.5) / 2**52
    assert key != key_of(8, "work") != key_of(8, "play")


@pytest.mark.parametrize(
    ("table", "law"),
    [
        (exponential_from_mean(3.0), stats.expon(scale=3.0)),
        (lognormal_from_mean_cv(2.0, 0.7), stats.lognorm(s=math.sqrt(math.log1p(0.49)), scale=2 / math.sqrt(1.49))),
        (constant(5.0), None),
    ],
)
def test_a_table_has_the_quantiles_and_the_mean_of_its_law(table: list[float], law: object) -> None:
    for u in (0.001, 0.3, 0.5, 0.75, 0.99, 0.9985, 0.99995):
        exact = 5.0 if law is None else float(law.ppf(u))  # type: ignore[attr-defined]
        # Interpolation and the exponential tail are off by a few per cent where the density changes fast.
        assert quantile(table, u) == pytest.approx(exact, rel=0.06)
    cells = 1 << 16
    mean = sum(quantile(table, (i + 0.5) / cells) for i in range(cells)) / cells
    assert mean == pytest.approx(5.0 if law is None else law.mean(), rel=1e-3)  # type: ignore[attr-defined]


def test_the_reference_shares_only_the_declaration_with_the_engine() -> None:
    """Imports of the modules that make up the reference model itself."""
    shared = set()
    for name in ("clock", "feed", "jobs", "keyed", "model", "numbers", "paths", "stations"):
        tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                shared |= whole if node.module == "model.engine" else {str(node.module)}
            elif isinstance(node, ast.Import):
                shared |= {alias.name for alias in node.names}
    ours = {name for name in shared if name.startswith(("model", "tests"))}
    assert {name for name in ours if name.startswith("model.")} == {*DECLARATION, "model.policy"}
    assert all(name.startswith("tests.reference.") for name in ours if name.startswith("tests"))
    assert not shared & {"numba", "numpy"}
