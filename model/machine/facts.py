"""Cores, memory, disk, permissions and limits, read from the operating system with the standard library alone."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.machine.extras import missing_packages, packages_of_extras
from model.machine.servers import Server, servers

PYTHON_RANGE = ((3, 11), (3, 13))
MIN_OPEN_FILES = 4_096
"""The generator keeps 512 connections and more, and so do the servers."""
MIN_FREE_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found. Sizes in bytes; None where the system does not say."""

    python: str
    system: str
    cores: tuple[int, ...]
    """Cores this process may run on."""
    cpu_quota_cores: float | None
    """What a container's quota allows, in cores."""
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    temporary_directory: str
    disk_free_bytes: int
    real_time: bool
    """Whether real-time scheduling is permitted, which the quiet rig needs."""
    open_files: int | None
    missing_core: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]
    """Packages that are missing, by extra; empty where the extra is complete."""
    servers: tuple[Server, ...]

    @property
    def python_fits(self) -> bool:
        low, high = PYTHON_RANGE
        return low <= tuple(int(part) for part in self.python.split(".")[:2]) <= high

    @property
    def obstacles(self) -> dict[str, list[str]]:
        """What stands in the way of each use: "simulate", "report", "load", "quiet rig"; empty lists mean it works."""
        core = [] if self.python_fits else [f"Python is {self.python}; 3.11 to 3.13 is needed"]
        core += [f"the package {name} is missing" for name in self.missing_core]
        report, backend = self._lacking("explore"), self._lacking("backend") + self._lacking("load")
        if len(self.cores) < 2:
            backend.append("one core only; the backend and the generator need one each")
        if self.cpu_quota_cores is not None and self.cpu_quota_cores < 2:
            backend.append(f"a CPU quota of {self.cpu_quota_cores:g} cores; 2 are needed")
        if self.disk_free_bytes < MIN_FREE_BYTES:
            backend.append(f"less than {MIN_FREE_BYTES / 1e9:g} GB free in {self.temporary_directory}")
        if self.open_files is not None and self.open_files < MIN_OPEN_FILES:
            backend.append(
                f"{self.open_files} open files allowed; {MIN_OPEN_FILES} are needed (ulimit -n {MIN_OPEN_FILES})"
            )
        quiet = [] if self.real_time else ["real-time scheduling is not permitted (root or CAP_SYS_NICE)"]
        return {
            "simulate": core,
            "report": core + report,
            "load": core + backend,
            "quiet rig": core + backend + quiet,
        }

    def document(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "obstacles": self.obstacles}

    def _lacking(self, extra: str) -> list[str]:
        missing = self.extras.get(extra, ())
        return [f"the extra {extra} is not installed (lacks {', '.join(missing)})"] if missing else []


def inspect_machine() -> Machine:
    """Look at this machine; starts nothing but the servers' ``--version``."""
    memory = _memory()
    temporary = tempfile.gettempdir()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else tuple(range(os.cpu_count() or 1)),
        cpu_quota_cores=_cpu_quota(),
        memory_total_bytes=memory.get("MemTotal"),
        memory_available_bytes=memory.get("MemAvailable"),
        temporary_directory=temporary,
        disk_free_bytes=shutil.disk_usage(temporary).free,
        real_time=_real_time_permitted(),
        open_files=_open_files(),
        missing_core=tuple(missing_packages([""])),
        extras={extra: tuple(missing_packages([extra])) for extra in packages_of_extras() if extra},
        servers=tuple(servers()),
    )


def _cpu_quota() -> float | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def memory_available_bytes() -> int | None:
    """Memory that a process could take now: what the system has left, or what a container's limit leaves; None where
    the system does not say."""
    available = _memory().get("MemAvailable")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return available
    if limit == "max":
        return available
    left = max(int(limit) - used, 0)
    return left if available is None else min(left, available)


def _memory() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


def _real_time_permitted() -> bool:
    """Whether this thread may switch to real-time scheduling; it switches back at once."""
    if sys.platform != "linux":
        return False
    before, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    os.sched_setscheduler(0, before, priority)
    return True


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft, hard) if resource.RLIM_INFINITY not in (soft, hard) else None
