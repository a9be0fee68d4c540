"""Which core each process runs on, and with which priority: the layout that a scenario declares."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from model.spec import scenario
from model.spec.errors import MachineError
from model.spec.steps import Process
from real_backend.stack import kernel_threads, speedometer, spinner
from real_backend.stack.proc import tree_threads
from real_backend.stack.runtime import RuntimeFolder, Server

REALTIME_PRIORITY = 1
SPEED_FILE = "speedometer.counts"
SHARED_CORE_NICENESS = 5
"""Niceness of what shares the generator's core in the split layout: the generator goes first."""
SETTLE_PASSES = 20


@dataclass(frozen=True, slots=True)
class Rig:
    """The plan for one stack; its fields are part of a run's provenance."""

    layout: str
    backend_core: int | None
    """None where nothing is pinned."""
    generator_core: int | None
    realtime: bool
    """SCHED_FIFO for the backend, a frozen garbage collector, and a spinner that keeps the core awake."""
    raises_kernel_threads: bool = False
    """Whether the kernel's block-layer workers on the backend's core go before the backend."""
    notes: tuple[str, ...] = ()

    @classmethod
    def plan(cls, wanted: scenario.Rig) -> Self:
        """Fit the wanted layout to this machine.

        Raises MachineError where ``quiet: on`` is asked for and the machine does not permit it.
        """
        cores = sorted(os.sched_getaffinity(0))
        notes = []
        pinned = len(cores) >= 2
        if not pinned:
            notes.append("one core only: backend and generator share it, nothing is pinned")
        permitted = pinned and may_use_realtime()
        if wanted.quiet == "on" and not permitted:
            reason = "needs root, CAP_SYS_NICE or an rtprio limit" if pinned else "needs two cores"
            raise MachineError(f"platform.rig.quiet is 'on': real-time scheduling {reason}; use 'auto' or 'off'")
        if wanted.quiet == "auto" and not permitted:
            notes.append("not quiet: real-time scheduling is not permitted here")
        realtime = permitted and wanted.quiet != "off"
        kernel = realtime and kernel_threads.may_be_raised(cores[0])
        if realtime and not kernel:
            notes.append("the kernel's block-layer workers are out of reach: flushes wait until the core is idle")
        return cls(
            layout=wanted.layout,
            backend_core=cores[0] if pinned else None,
            generator_core=cores[-1] if pinned else None,
            realtime=realtime,
            raises_kernel_threads=kernel,
            notes=tuple(notes),
        )

    def core_of(self, kind: Process) -> int | None:
        """The core that processes of this kind run on."""
        shares_generators_core = self.layout == "split" and kind in (Process.STANDBY, Process.WORKER)
        return self.generator_core if shares_generators_core else self.backend_core

    def apply(self, servers: Iterable[Server]) -> None:
        """Pin and schedule every thread of the servers; what they start later inherits it."""
        for server in servers:
            self._apply_tree(server.kind, server.pid)

    def quieten(self, runtime: RuntimeFolder) -> None:
        """Keep the backend's core awake and the kernel's own work ahead of the backend, where the rig is quiet."""
        if self.raises_kernel_threads and self.backend_core is not None:
            kernel_threads.raise_above(REALTIME_PRIORITY, self.backend_core, runtime.path)
        if self.realtime:
            self._launch_idle(runtime, "spinner", spinner.__file__)
            self._launch_idle(runtime, "speedometer", speedometer.__file__, runtime.path / SPEED_FILE)

    def provenance(self) -> Mapping[str, Any]:
        """The settings, for a run's provenance."""
        return asdict(self)

    def _launch_idle(self, runtime: RuntimeFolder, name: str, program: str, *arguments: Path) -> None:
        # Isolated and without site packages: it starts in some milliseconds.
        command = [sys.executable, "-I", "-S", program, str(self.backend_core), *map(str, arguments)]
        runtime.launch_helper(name, command)

    def _apply_tree(self, kind: Process, root: int) -> None:
        core = self.core_of(kind)
        if core is None:
            return
        done: set[tuple[int, int]] = set()
        # A child may be forked while the tree is walked: walk until nobody new is found.
        for _ in range(SETTLE_PASSES):
            fresh = [key for key in tree_threads(root) if key not in done]
            if not fresh:
                return
            for key in fresh:
                with contextlib.suppress(ProcessLookupError):
                    self._apply_thread(key[1], core)
                done.add(key)

    def _apply_thread(self, thread: int, core: int) -> None:
        os.sched_setaffinity(thread, {core})
        if core != self.backend_core:
            os.setpriority(os.PRIO_PROCESS, thread, SHARED_CORE_NICENESS)
        elif self.realtime:
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))


def may_use_realtime() -> bool:
    """Whether this machine lets us use SCHED_FIFO, found out by trying it on the calling thread for a moment."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except PermissionError:
        return False
    os.sched_setscheduler(0, policy, parameters)
    return True
