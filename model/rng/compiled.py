"""Compilation with numba, cached on disk under a hash of every source that a kernel is made of.

numba's own cache looks at one file at a time, so an edit in a callee's file would run stale. Here the cache folder's
name is the hash of all their sources and of the versions: an edited kernel is never found.

Kernels own no memory: every array belongs to Python, which holds it while they run. So they are compiled without
numba's reference counting, whose atomic increments took half the time of an event when they were measured.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config

_ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "kernels-"
_MODES = {"nogil": True, "_nrt": False, "error_model": "numpy", "no_cfunc_wrapper": True}
_compiler: Any = numba.njit  # its stubs do not know all of these options
KERNEL_SOURCES = ("rng/*.py", "policy/*.py", "engine/*.py", "workload/implicit/*.py", "runs/histogram.py")
"""All that is compiled, and what it calls."""
KEPT_FOLDERS = 4
"""Caches of other versions of the sources that stay on disk."""
KEPT_S = 24 * 3600.0
"""None is removed that was in use this lately: its process may still be compiling."""


def source_hash() -> str:
    """Hash of the sources and versions that decide what the compiled kernels do."""
    digest = hashlib.sha256(f"{sys.version}|{numba.__version__}|{platform.machine()}".encode())
    for pattern in KERNEL_SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Where the caches of all versions live: FEEDTWIN_CACHE_DIR, else the user's cache folder."""
    base = os.environ.get("FEEDTWIN_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "feedtwin"
    )
    return Path(base)


def cache_folder() -> Path:
    """Where the kernels of these sources are cached."""
    return cache_root() / (_PREFIX + source_hash())


def is_cached() -> bool:
    """Whether the event loop has been compiled before; if not, the first simulation takes some seconds longer."""
    return next(cache_folder().glob("**/*.advance-*.nbc"), None) is not None


def prune(root: Path, *, keep: Path) -> None:
    """Remove the caches of old sources in `root`: all but `keep`, the newest few and those in use lately.

    Another process may do the same at the same time, or use what is kept.
    """
    folders = []
    for folder in root.glob(_PREFIX + "*"):
        try:
            folders.append((folder.stat().st_mtime, folder))
        except OSError:  # another process removed it
            continue
    folders.sort(reverse=True)
    for used, folder in folders[KEPT_FOLDERS:]:
        if folder != keep and time.time() - used > KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)


def _open_cache() -> bool:
    """Point numba to the cache folder, marking it as used; False where it cannot be written: then nothing is cached."""
    folder = cache_folder()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            prune(folder.parent, keep=folder)
        os.utime(folder)
    except OSError:
        return False
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return os.access(folder, os.W_OK)


_CACHED = _open_cache()


def njit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that Python calls, in nopython mode, without the GIL, cached on disk. With NUMBA_DISABLE_JIT=1
    it stays plain."""
    compiled: Callable[..., Any] = _compiler(cache=_CACHED, **_MODES)(function)
    return compiled


def subroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that compiled code calls: it needs no cache of its own."""
    compiled: Callable[..., Any] = _compiler(**_MODES)(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A subroutine that goes into its callers' code; passing the tables would cost more than its work."""
    compiled: Callable[..., Any] = _compiler(forceinline=True, **_MODES)(function)
    return compiled


@inlined
def unsigned(index):  # type: ignore[no-untyped-def]
    """An index that is known not to be negative: a signed one would be checked for that at each use."""
    return np.uint64(index)
