"""Meters that run beside a load as processes of their own, until told to stop."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from model.spec.errors import MachineError

STOP_TIMEOUT_S = 5.0


class MeterProcess:
    """A module of this package that prints a line once it measures, and a JSON document once its standard input
    closes. A context manager, after which `document` holds that; None where it was cut short.

    Entering raises MachineError where it does not start.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self.document: dict[str, Any] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running meter."""
        assert self._process is not None
        return self._process

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=own_environment(),
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self.__exit__()
            raise MachineError(f"the meter {self._module} did not start")
        return self

    def __exit__(self, *_error: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            out, _errors = process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _errors = process.communicate()
        if out.strip():
            self.document = json.loads(out)


def own_environment() -> dict[str, str]:
    """The environment in which `python -m loadtests...` finds this very package, wherever it is started."""
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def run_on(core: int | None, realtime_priority: int) -> bool:
    """Move the calling process to a core and, where permitted, into real time; whether that was permitted."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    if realtime_priority:
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(realtime_priority))
            return True
    return False


def report_ready() -> None:
    """Tell the parent that measuring begins."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def core_arguments(core: int | None) -> Sequence[str]:
    """The command line's part that names the core."""
    return () if core is None else ("--core", str(core))
