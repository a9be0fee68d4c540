"""Waking gevent greenlets at precise instants.

libev rounds its timers up to whole milliseconds, which alone would put half a millisecond of slip on every
request. A Linux timerfd is precise to tens of microseconds and is just another file descriptor to the loop.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import sys
import time
from itertools import count
from typing import Any

import gevent
from gevent.hub import Waiter

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
_PR_SET_TIMERSLACK = 29
_READ = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class AlarmClock:
    """`wait_until(instant_ns)` for any number of greenlets; instants are those of `time.monotonic_ns`."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Waiter[Any]]] = []
        self._sequence = count()
        self._armed_ns = 0
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._fd >= 0:
            loop = gevent.get_hub().loop
            self._watcher = loop.io(self._fd, _READ)
            self._watcher.priority = loop.MAXPRI
            self._watcher.start(self._ring)

    def wait_until(self, instant_ns: int) -> None:
        """Suspend the calling greenlet until the instant; return at once if it is past."""
        now_ns = time.monotonic_ns()
        if instant_ns <= now_ns:
            return
        if self._fd < 0:
            gevent.sleep((instant_ns - now_ns) * 1e-9)
            return
        waiter: Waiter[Any] = Waiter()
        heapq.heappush(self._heap, (instant_ns, next(self._sequence), waiter))
        if self._armed_ns == 0 or instant_ns < self._armed_ns:
            self._arm(instant_ns)
        waiter.get()

    def close(self) -> None:
        if self._fd >= 0:
            self._watcher.stop()
            os.close(self._fd)
            self._fd = -1

    def _arm(self, instant_ns: int) -> None:
        self._armed_ns = instant_ns
        value = _Timespec(*divmod(instant_ns, 1_000_000_000))
        self._libc.timerfd_settime(
            self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(_Itimerspec(_Timespec(0, 0), value)), None
        )

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        now_ns = time.monotonic_ns()
        due = []
        while self._heap and self._heap[0][0] <= now_ns:
            due.append(heapq.heappop(self._heap)[2])
        self._armed_ns = 0
        if self._heap:
            self._arm(self._heap[0][0])
        for waiter in due:
            waiter.switch(None)
