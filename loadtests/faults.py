"""Injecting a scenario's faults into the real backend at their times, and undoing them whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from model.spec.scenario import Fault, FaultKind


class Breakable(Protocol):
    """What injects a fault into a backend and ends it again, such as `real_backend.stack.faults.Faults`."""

    def inject(self, fault: Fault) -> None: ...
    def undo(self, fault: Fault) -> None: ...


@dataclass(frozen=True)
class FaultEvent:
    """One thing that was done: the fault's kind and target, whether it began or ended, and when, in seconds."""

    kind: str
    target: int
    action: str
    planned_s: float
    at_s: float


class FaultInjector:
    """A context manager; `begin` starts the clock, leaving it undoes what is still in force.

    An error of the backend while a fault is injected is raised on leaving.
    """

    def __init__(self, backend: Breakable, faults: Sequence[Fault]) -> None:
        self.events: list[FaultEvent] = []
        self._backend = backend
        self._plan = sorted((step for fault in faults for step in _steps(fault)), key=lambda step: step.order)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def begin(self, start_ns: int) -> None:
        """The schedule begins at `start_ns` on the clock of `time.monotonic_ns`."""
        self._thread = threading.Thread(target=self._run, args=(start_ns,), name="faults")
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until the last fault is over, `timeout_s` at most."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, start_ns: int) -> None:
        try:
            for position, step in enumerate(self._plan):
                self._stopping.wait(max(step.at_s - (time.monotonic_ns() - start_ns) * 1e-9, 0))
                if self._stopping.is_set():
                    self._undo(position, start_ns)
                    return
                self._do(step, start_ns)
        except Exception as error:
            self._error = error

    def _undo(self, position: int, start_ns: int) -> None:
        begun = {id(step.fault) for step in self._plan[:position] if step.begins}
        for step in self._plan[position:]:
            if not step.begins and id(step.fault) in begun:
                self._do(step, start_ns)

    def _do(self, step: _Step, start_ns: int) -> None:
        if step.begins:
            self._backend.inject(step.fault)
        else:
            self._backend.undo(step.fault)
        at_s = (time.monotonic_ns() - start_ns) * 1e-9
        action = "begin" if step.begins else "end"
        self.events.append(FaultEvent(step.fault.kind.value, step.fault.target, action, step.at_s, at_s))


@dataclass(frozen=True)
class _Step:
    fault: Fault
    at_s: float
    begins: bool

    @property
    def order(self) -> tuple[float, bool]:
        """By time; at equal times (to the microsecond, for sums of decimals differ) one ends before the next begins."""
        return round(self.at_s, 6), self.begins


def _steps(fault: Fault) -> list[_Step]:
    begin = _Step(fault, fault.at_s, True)
    if fault.kind is FaultKind.CACHE_FLUSH:
        return [begin]
    return [begin, _Step(fault, fault.at_s + fault.duration_s, False)]
