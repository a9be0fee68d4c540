"""Keeps one core awake at idle priority (``python -I -S spinner.py CORE``), so that it neither sleeps nor slows down.

Whatever else is runnable on the core goes first. Only for a rig whose backend runs in real time: under ordinary
scheduling even an idle-priority competitor delays wake-ups.
"""

from __future__ import annotations

import os
import sys


def main(core: int) -> None:
    # The priority first: on a busy core the second call might have to wait long.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {core})
    while True:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
