"""The controller's handle on a generator process."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from loadtests.meters import own_environment
from loadtests.records import ClosedSessions, OpenArrivals, Records
from model.spec.errors import MachineError

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_LEAD_NS = 100_000_000

Progress = Callable[[int, int], None]
"""Called with (requests finished, requests expected or 0 where unknown)."""


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """How the generator runs. `core` None leaves it unpinned; `web_port` serves Locust's own page there."""

    request_timeout_s: float
    connections: int = 512
    core: int | None = None
    realtime: bool = False
    duration_s: float = 60.0
    """Closed mode only: no new requests after this time."""
    web_port: int | None = None


class GeneratorProcess:
    """Starts `python -m loadtests.generator`, plays segments with it and reads its records. A context manager.

    `targets` are backends, each the URLs of its API processes. Raises MachineError when the generator dies.
    """

    def __init__(
        self,
        schedule: OpenArrivals | ClosedSessions,
        targets: Sequence[Sequence[str]],
        folder: Path,
        options: GeneratorOptions,
    ) -> None:
        self._out = folder / "records.npz"
        self._log = folder / "generator.log"
        path = folder / "schedule.npz"
        schedule.save(path)
        command = [sys.executable, "-m", "loadtests.generator", "--controlled"]
        command += ["--schedule", str(path), "--out", str(self._out)]
        for urls in targets:
            command += ["--api", ",".join(urls)]
        command += ["--request-timeout-s", str(options.request_timeout_s), "--duration-s", str(options.duration_s)]
        command += ["--connections", str(options.connections)]
        if options.core is not None:
            command += ["--core", str(options.core)]
        if options.realtime:
            command += ["--realtime"]
        if options.web_port is not None:
            command += ["--web", str(options.web_port)]
        self._command = command
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                env=own_environment(),
                # Ctrl-C reaches the controller only, which closes the generator's standard input.
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        try:
            self._await("ready", _READY_TIMEOUT_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join()
        assert process.stdout is not None
        process.stdout.close()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def play(
        self,
        *,
        number: int = 0,
        first: int = 0,
        last: int = 0,
        origin_ns: int = 0,
        target: int = 0,
        timeout_s: float,
        on_start: Callable[[int], None] = lambda start_ns: None,
        on_progress: Progress = lambda done, total: None,
    ) -> int:
        """Play one segment (see `loadtests.player.Segment`) and return its start on the clock of
        `time.monotonic_ns`; `on_start` is told that instant shortly before it comes."""
        start_ns = time.monotonic_ns() + _LEAD_NS
        self._tell("play", number=number, first=first, last=last, start_ns=start_ns, origin_ns=origin_ns, target=target)
        on_start(start_ns)
        self._await("played", timeout_s, lambda event: on_progress(event["done"], last - first))
        return start_ns

    def finish(self) -> Records:
        """Have the records written and read them."""
        self._tell("finish")
        self._await("written", _READY_TIMEOUT_S)
        return Records.load(self._out)

    def _tell(self, what: str, **fields: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None

    def _await(
        self, name: str, timeout_s: float, on_progress: Callable[[dict[str, Any]], None] = lambda event: None
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = self._events.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise MachineError(f"the load generator did not say {name!r} within {timeout_s:g} s") from None
            if event is None:
                raise self._died()
            if event["event"] == name:
                return event
            if event["event"] == "progress":
                on_progress(event)

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._events.put(json.loads(line))
        self._events.put(None)

    def _died(self) -> MachineError:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        return MachineError(f"the load generator stopped by itself; the end of its log:\n{tail}")
