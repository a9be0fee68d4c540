"""The lags that a process measures, as it appends them to a file of its own in the runtime folder.

A record is three little-endian int64: when (ns since the epoch), how long after the post's row was written, just before
its commit (ns), and how often.
A fan-out worker writes one per batch and the number of timelines that it newly reached, before it acknowledges the
message; the relay one per post, when the broker has it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

RECORD: Final = struct.Struct("<qqq")


class LagLog:
    """Appends records to a process's file; `flush` hands them to the operating system. A context manager."""

    def __init__(self, folder: Path, name: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(lag_path(folder, name), flags, 0o644)
        self._pending = b""

    def add(self, time_ns: int, lag_ns: int, count: int = 1) -> None:
        self._pending += RECORD.pack(time_ns, lag_ns, count)

    def flush(self) -> None:
        if self._pending:
            os.write(self._file, self._pending)
            self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.flush()
        os.close(self._file)


def lag_path(folder: Path, name: str) -> Path:
    return folder / f"lags-{name}.bin"
