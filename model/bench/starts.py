"""How long `feedtwin simulate` takes from the shell: with an empty cache of kernels, and with a warm one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from model.spec import MachineError

COMMAND = (sys.executable, "-m", "model.cli", "simulate", "baseline", "--json")
LONGEST_S = 300.0


def start_s(cache: Path) -> float:
    """Seconds of one `feedtwin simulate baseline` whose compiled kernels are in `cache`, a folder that may be empty.

    Raises MachineError, with the end of its output, where it fails.
    """
    environment = {**os.environ, "FEEDTWIN_CACHE_DIR": str(cache)}
    started = time.perf_counter()
    done = subprocess.run(
        COMMAND, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if done.returncode:
        raise MachineError(f"feedtwin simulate baseline ended with {done.returncode}: {done.stderr[-400:]}")
    return seconds
