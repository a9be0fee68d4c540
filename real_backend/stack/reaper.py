"""The reaper: a child that outlives its parent by a moment and leaves nothing of the stack behind.

Run as a plain file (``python -I -S reaper.py FOLDER PARENT_PID``) it needs only the standard library, so it is
watching some milliseconds after its start. It waits for the end of its standard input, a pipe whose other end only
the parent holds; a parent that dies for whatever reason closes it. Then everything whose working folder lies below
FOLDER is killed, and FOLDER is removed. That one rule needs no registration and has no race: every server of the
stack is started inside the folder, and children inherit it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_S = 2.0
"""How long PostgreSQL may take to stop on SIGQUIT, which also removes its shared memory, before SIGKILL."""
KILL_S = 2.0
"""How long to wait for the end of what has been killed."""
SHARED_MEMORY = "/dev/shm/PostgreSQL."
RAISED_THREADS = "raised-threads"
"""File in the folder with the kernel threads that run in real time for its sake, a number a line."""
KERNEL_PARENT = 2
"""kthreadd, the parent of all kernel threads."""


def processes_below(folder: Path) -> dict[int, int]:
    """Live processes without a terminal whose working folder is `folder` or below it, as {pid: parent's pid}.

    Servers are started in sessions of their own, so they have no terminal; a shell that looks at the logs has one.
    """
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            where = os.readlink(f"/proc/{entry}/cwd").removesuffix(" (deleted)")
            if where != str(folder) and not where.startswith(f"{folder}/"):
                continue
            state, parent, _, _, terminal = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:5]
        except (OSError, ValueError):
            continue
        if state != "Z" and terminal == "0":
            found[int(entry)] = int(parent)
    return found


def end_processes(folder: Path, grace_s: float = GRACE_S) -> None:
    """Kill everything below `folder`: PostgreSQL's postmasters by SIGQUIT first, all that is left by SIGKILL."""
    processes = processes_below(folder)
    memory = shared_memory(processes)
    postmasters = {pid for pid, parent in processes.items() if parent not in processes and _is_postgres(pid)}
    for pid, parent in processes.items():
        if pid in postmasters:
            _signal(pid, signal.SIGQUIT)
        elif parent not in postmasters:
            _signal(pid, signal.SIGKILL)
        _signal(pid, signal.SIGCONT)
    deadline = time.monotonic() + grace_s
    while processes_below(folder) and time.monotonic() < deadline:
        _pause()
    deadline = time.monotonic() + KILL_S
    while (rest := processes_below(folder)) and time.monotonic() < deadline:
        for pid in rest:
            _signal(pid, signal.SIGKILL)
        _pause()
    for file in memory:
        file.unlink(missing_ok=True)


def shared_memory(pids: Iterable[int]) -> set[Path]:
    """Files of POSIX shared memory that PostgreSQL processes have mapped; one that is killed leaves them behind."""
    files: set[Path] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
            files.update(Path(line[line.index(SHARED_MEMORY) :]) for line in lines if SHARED_MEMORY in line)
    return {file for file in files if file.exists()}


def remove_folder(folder: Path) -> None:
    """Remove `folder`, and undo what outlives it: raised kernel threads, and the shared memory segments of PostgreSQL
    servers in it that could not do so themselves."""
    restore_threads(folder)
    for pid_file in folder.glob("*/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            _remove_segment(int(pid_file.read_text().splitlines()[6].split()[1]))
    shutil.rmtree(folder, ignore_errors=True)


def raised_threads(folder: Path) -> list[int]:
    """The kernel threads that were raised for the sake of a runtime folder."""
    with contextlib.suppress(OSError, ValueError):
        return [int(line) for line in (folder / RAISED_THREADS).read_text().split()]
    return []


def restore_threads(folder: Path) -> None:
    """Give the kernel threads that were raised for this folder their ordinary priority back, but for those that were
    raised for another folder beside it as well."""
    others = {file.parent for file in folder.parent.glob(f"*/{RAISED_THREADS}")} - {folder}
    needed = {thread for other in others for thread in raised_threads(other)}
    for thread in raised_threads(folder):
        # The number may have gone to another process since.
        if thread not in needed and is_kernel_thread(thread):
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def is_kernel_thread(pid: int) -> bool:
    """Whether that is a thread of the kernel's own."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == KERNEL_PARENT
    except OSError:
        return False


def main(arguments: list[str]) -> None:
    folder, parent = Path(arguments[0]), int(arguments[1])
    for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(caught, signal.SIG_IGN)
    # A fork of the parent may hold the pipe open beyond the parent's life: then the changed parent tells.
    while os.getppid() == parent and not _ended(sys.stdin.fileno(), timeout_s=0.5):
        pass
    end_processes(folder)
    remove_folder(folder)


def _ended(descriptor: int, timeout_s: float) -> bool:
    ready, _, _ = select.select([descriptor], [], [], timeout_s)
    return bool(ready) and os.read(descriptor, 1024) == b""


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _pause() -> None:
    time.sleep(0.01)


def _remove_segment(segment: int) -> None:
    ipc_rmid = 0
    ctypes.CDLL(None).shmctl(segment, ipc_rmid, None)


if __name__ == "__main__":
    main(sys.argv[1:])
