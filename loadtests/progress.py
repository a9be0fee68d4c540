"""Progress on stderr: a message while servers start, a bar while requests are served."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class ProgressLine:
    """A context manager; one line that says what goes on. Silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.disable = not self._progress.console.is_terminal

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """What goes on now, of unknown length."""
        self._progress.update(self._task, description=message, total=None, completed=0)

    def count(self, message: str, done: int, total: int) -> None:
        """`done` of `total`; a total of 0 is unknown."""
        self._progress.update(self._task, description=message, completed=done, total=total or None)
