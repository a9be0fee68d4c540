"""The runtime folder of one stack: every server runs inside it, logs into it and dies with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.spec.errors import FeedtwinError, InputError, MachineError
from model.spec.steps import Process
from real_backend.stack import reaper

START_DEADLINE_S = 30.0
"""A server that is not ready by then has failed."""
POLL_S = 0.01
POLITE_STOP_S = 1.5
"""How long a server may take to stop on its signal."""
LOG_TAIL_LINES = 15
UNPRIVILEGED_USER = "nobody"


class StartCancelledError(FeedtwinError):
    """The stack is being stopped while a part of it still starts."""


@dataclass(frozen=True, eq=False, slots=True)
class Server:
    """One process of the stack (with its children)."""

    kind: Process
    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid


class RuntimeFolder:
    """Starts processes inside one folder; `close` or this process's death ends them all and removes the folder."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` must not exist; by default a fresh ``feedtwin-...`` in the system's temporary folder."""
        self.path = (path or Path(tempfile.gettempdir()) / f"feedtwin-{secrets.token_hex(6)}").resolve()
        self.cancelled = threading.Event()
        self._popens: list[subprocess.Popen[bytes]] = []
        self._stop_signals: dict[int, signal.Signals] = {}
        if self.path.exists():
            raise InputError(f"runtime folder {self.path} exists; it must be new, for it is removed at the end")
        # The reaper first, then the folder: there is no instant at which one could be left behind.
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(reaper.__file__)), str(self.path), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        try:
            (self.path / "logs").mkdir(parents=True)
            self.path.chmod(0o755)
            self._check_traversable()
        except OSError as error:
            self.close()
            raise MachineError(
                f"runtime folder {self.path} cannot be made ({error}); set TMPDIR to a writable folder"
            ) from None
        except MachineError:
            self.close()
            raise

    def launch(
        self,
        kind: Process,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        unprivileged: bool = False,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Server:
        """Start a server in its own session and in `folder`, its output going to ``logs/<name>.log``."""
        popen = self._spawn(name, command, environment, folder or self.path, unprivileged=unprivileged)
        self._stop_signals[popen.pid] = stop_signal
        return Server(kind, name, popen, self._log(name))

    def launch_helper(self, name: str, command: Sequence[str | Path]) -> None:
        """Start a process that serves nobody and is not accounted for."""
        self._spawn(name, command, {}, self.path, unprivileged=False)

    def run(self, name: str, command: Sequence[str | Path], *, environment: Mapping[str, str]) -> None:
        """Run a short command to its end as the unprivileged user. Raises MachineError with the end of its output."""
        popen = self._spawn(name, command, environment, self.path, unprivileged=True)
        self.wait_until(lambda: popen.poll() is not None, f"{name} ends")
        if popen.returncode:
            tail = log_tail(self._log(name))
            raise MachineError(f"{name} failed with exit code {popen.returncode}; the end of its output:\n{tail}")

    def wait_ready(self, server: Server, ready: Callable[[], bool], deadline_s: float = START_DEADLINE_S) -> None:
        """Poll until `ready()`. Raises MachineError with the end of the server's log if it dies or takes too long."""
        deadline = time.monotonic() + deadline_s
        while not ready():
            self._check_cancelled()
            if (code := server.popen.poll()) is not None:
                ended = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
                tail = log_tail(server.log)
                raise MachineError(f"{server.name} ended {ended} while starting; the end of its log:\n{tail}")
            if time.monotonic() > deadline:
                raise MachineError(
                    f"{server.name} was not ready within {deadline_s:g} s; the end of its log:\n{log_tail(server.log)}"
                )
            time.sleep(POLL_S)

    def wait_until(self, condition: Callable[[], bool], what: str, deadline_s: float = START_DEADLINE_S) -> None:
        """Poll until `condition()`. Raises MachineError naming `what` after the deadline."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            self._check_cancelled()
            if time.monotonic() > deadline:
                raise MachineError(f"waited {deadline_s:g} s in vain until {what}")
            time.sleep(POLL_S)

    def make_folder(self, name: str) -> Path:
        """A private folder that belongs to the unprivileged user."""
        folder = self.path / name
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(UNPRIVILEGED_USER)
            os.chown(folder, account.pw_uid, account.pw_gid)
        return folder

    def close(self) -> None:
        """End every process inside the folder, politely first, and remove it; harmless when repeated."""
        self.cancelled.set()
        memory = reaper.shared_memory(reaper.processes_below(self.path))
        for popen in reversed(self._popens):
            with contextlib.suppress(ProcessLookupError):
                popen.send_signal(self._stop_signals.get(popen.pid, signal.SIGTERM))
                popen.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + POLITE_STOP_S
        while any(popen.poll() is None for popen in self._popens) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        reaper.end_processes(self.path)
        for popen in self._popens:
            popen.wait()
        for file in memory:
            file.unlink(missing_ok=True)
        reaper.remove_folder(self.path)
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        self._reaper.wait()

    def _spawn(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        folder: Path,
        *,
        unprivileged: bool,
    ) -> subprocess.Popen[bytes]:
        self._check_cancelled()
        try:
            with self._log(name).open("ab") as output:
                popen = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=folder,
                    env=dict(environment),
                    **(_unprivileged_account() if unprivileged else {}),
                )
        except OSError as error:
            raise MachineError(f"{name} cannot be started: {command[0]}: {error.strerror}") from None
        self._popens.append(popen)
        return popen

    def _log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def _check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise StartCancelledError("the start was cancelled")

    def _check_traversable(self) -> None:
        if not traversable(self.path):
            raise MachineError(
                f"runtime folder {self.path} cannot be entered by user {UNPRIVILEGED_USER!r}, as whom root starts the "
                "servers; set TMPDIR to a folder that others can enter, for example TMPDIR=/tmp"
            )


def traversable(path: Path) -> bool:
    """Whether the user that runs the servers can enter `path` (always true unless we are root)."""
    if os.geteuid() != 0:
        return True
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.is_dir())


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log file, indented for a message."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace").rstrip()
    except OSError:
        text = ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (the log is empty)"


def _unprivileged_account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
