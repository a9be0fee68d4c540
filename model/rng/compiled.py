"""Compilation with numba, cached on disk under a hash of every source that a kernel is made of.

numba's own cache looks at one file at a time, so an edit in a callee's file would run stale. Here the cache folder's
name is the hash of all engine, policy, rng and histogram sources and of the versions: an edited kernel is never found.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config

_ROOT = Path(__file__).resolve().parents[1]
KERNEL_FOLDERS = ("rng", "policy", "engine", "runs")


def source_hash() -> str:
    """Hash of the sources and versions that decide what the compiled kernels do."""
    digest = hashlib.sha256(f"{sys.version}|{numba.__version__}|{platform.machine()}".encode())
    for folder in KERNEL_FOLDERS:
        for path in sorted((_ROOT / folder).glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled kernels live: FEEDTWIN_CACHE_DIR, else the user's cache folder."""
    base = os.environ.get("FEEDTWIN_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "feedtwin"
    )
    return Path(base) / f"kernels-{source_hash()}"


config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]


def njit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile in nopython mode without the GIL, cached on disk. With NUMBA_DISABLE_JIT=1 the function stays plain."""
    compiled: Callable[..., Any] = numba.njit(nogil=True, cache=True)(function)
    return compiled
