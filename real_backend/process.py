"""What the processes of the backend have in common."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Coroutine
from typing import Any


async def until_signalled(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run the jobs until SIGTERM or SIGINT and cancel them; what a job raises ends all of them."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    waiting = asyncio.create_task(stopped.wait())
    tasks = [asyncio.create_task(job) for job in jobs]
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (waiting, *tasks):
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def freeze_garbage(*, collecting: bool) -> None:
    """Quiet rig: what exists stays out of every later collection; without `collecting` there is none at all.

    Requests of the API leave no cyclic garbage, so it can do without. A message leaves some twenty objects of
    FastStream's; collecting those alone takes microseconds.
    """
    gc.collect()
    gc.freeze()
    if not collecting:
        gc.disable()
