"""Faults happen at their times and are undone whatever happens."""

from __future__ import annotations

import time

import pytest

from loadtests.faults import FaultInjector
from model.spec.scenario import Fault, FaultKind


class Backend:
    def __init__(self, *, broken: bool = False) -> None:
        self.done: list[tuple[str, FaultKind, int]] = []
        self.broken = broken

    def inject(self, fault: Fault) -> None:
        if self.broken:
            raise RuntimeError("no such standby")
        self.done.append(("inject", fault.kind, fault.target))

    def undo(self, fault: Fault) -> None:
        self.done.append(("undo", fault.kind, fault.target))


DELAY = Fault(kind=FaultKind.STANDBY_DELAY, at_s=0.05, duration_s=0.1, target=1, value=0.5)
PAUSE = Fault(kind=FaultKind.WORKER_PAUSE, at_s=0.15, duration_s=0.05, target=0)
FLUSH = Fault(kind=FaultKind.CACHE_FLUSH, at_s=0.1, target=2)


def test_faults_happen_in_order_near_their_times() -> None:
    backend = Backend()
    with FaultInjector(backend, [PAUSE, DELAY, FLUSH]) as injector:
        injector.begin(time.monotonic_ns())
        injector.wait(5)
    assert backend.done == [
        ("inject", FaultKind.STANDBY_DELAY, 1),
        ("inject", FaultKind.CACHE_FLUSH, 2),
        ("undo", FaultKind.STANDBY_DELAY, 1),
        ("inject", FaultKind.WORKER_PAUSE, 0),
        ("undo", FaultKind.WORKER_PAUSE, 0),
    ]
    assert all(0 <= event.at_s - event.planned_s < 0.5 for event in injector.events)


def test_what_has_begun_is_undone_at_an_early_end() -> None:
    backend = Backend()
    late = DELAY.model_copy(update={"duration_s": 100.0})
    with FaultInjector(backend, [late, PAUSE.model_copy(update={"at_s": 50.0})]) as injector:
        injector.begin(time.monotonic_ns())
        injector.wait(0.3)
    assert backend.done == [("inject", FaultKind.STANDBY_DELAY, 1), ("undo", FaultKind.STANDBY_DELAY, 1)]


def test_an_error_is_not_swallowed() -> None:
    injector = FaultInjector(Backend(broken=True), [FLUSH.model_copy(update={"at_s": 0.0})])
    injector.begin(time.monotonic_ns())
    injector.wait(5)
    with pytest.raises(RuntimeError, match="no such standby"):
        injector.__exit__()


def test_it_may_never_begin() -> None:
    with FaultInjector(Backend(), [DELAY]) as injector:
        pass
    assert injector.events == []
