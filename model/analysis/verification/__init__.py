"""The engine against queueing theory: what `feedtwin verify` runs, and the tests of the engine.

Every check runs a small platform with fixed seeds and compares what was measured with a closed form
(`model.analysis.queueing`). A quantity agrees if the exact value lies within the interval about the estimate, give or
take what the closed form itself may be off (stated per quantity), and if that interval is narrow.

The intervals hold together: that all of them cover has a probability of at least `FAMILY_LEVEL` for an engine without
faults, since each is made at the level ``1 - (1 - FAMILY_LEVEL) / n`` for n quantities in the whole list (Bonferroni),
however few of them are run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.analysis.verification.bench import Bench, Check
from model.analysis.verification.networks import NETWORK_CHECKS
from model.analysis.verification.quantities import Quantity
from model.analysis.verification.stations import STATION_CHECKS
from model.analysis.verification.storage import STORAGE_CHECKS
from model.engine.dataplane import DataPlane
from model.spec import InputError

__all__ = ["CHECKS", "CONFIDENCE", "FAMILY_LEVEL", "N_QUANTITIES", "Check", "Quantity", "Result", "chosen", "verify"]

CHECKS: tuple[Check, ...] = (*STATION_CHECKS, *NETWORK_CHECKS, *STORAGE_CHECKS)
FAMILY_LEVEL = 0.999
N_QUANTITIES = sum(len(check.quantities) for check in CHECKS)
CONFIDENCE = 1 - (1 - FAMILY_LEVEL) / N_QUANTITIES
"""Of the interval of each quantity."""


@dataclass(frozen=True)
class Result:
    """One check, run."""

    check: Check
    quantities: tuple[Quantity, ...]
    wall_s: float

    @property
    def passed(self) -> bool:
        return all(quantity.passed for quantity in self.quantities)


def chosen(only: Sequence[str] = ()) -> tuple[Check, ...]:
    """The checks of these names, or whose names begin with one of them and a hyphen ("mm1" is all of M/M/1).

    Raises InputError for a name that fits none.
    """
    for name in only:
        if not any(_fits(check, name) for check in CHECKS):
            raise InputError(f"check {name!r} is not defined; defined: {', '.join(check.name for check in CHECKS)}")
    return tuple(check for check in CHECKS if not only or any(_fits(check, name) for name in only))


def verify(
    only: Sequence[str] = (),
    *,
    seed: int = 1,
    disturb: Callable[[DataPlane], None] | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> list[Result]:
    """Run the checks (all, or those of `only`), telling `on_check` before each.

    `disturb` may change the engine before it starts, to see that the checks find it. Raises InputError for a name that
    fits no check.
    """
    bench = Bench(CONFIDENCE, seed) if disturb is None else Bench(CONFIDENCE, seed, disturb)
    results = []
    for check in chosen(only):
        if on_check:
            on_check(check)
        begin = time.perf_counter()
        quantities = tuple(check.measure(bench))
        assert tuple(quantity.name for quantity in quantities) == check.quantities
        results.append(Result(check, quantities, time.perf_counter() - begin))
    return results


def _fits(check: Check, name: str) -> bool:
    return check.name == name or check.name.startswith(f"{name}-")
