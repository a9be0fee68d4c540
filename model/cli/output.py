"""Where output goes: results on stdout, everything for the eye on stderr, files whole or not at all."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNSTEADY = "grows"
"""In place of a figure that would depend on when the run was stopped."""


def to_stderr(message: str) -> None:
    """Print a message, of one or more lines, on stderr as it is."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(message, markup=False, highlight=False)


def note(message: str) -> None:
    """Print a remark on stderr."""
    sys.stderr.write(message + "\n")


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; what is not a number (an empty histogram's quantile) becomes null."""
    sys.stdout.write(json_text(document))


def json_text(document: Any) -> str:
    """The document as `print_json` prints it."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False) + "\n"


def refuse_existing(path: Path | None, *, force: bool, holds: str = "") -> None:
    """Raise InputError where `path` exists and may not be replaced; called before any work is done.

    With `holds`, a folder is only replaced if it has a file of that name, so that nobody's home is.
    """
    if path is None or not path.exists():
        return
    from model.spec.errors import InputError

    if not force:
        raise InputError(f"{path} exists; choose another -o or replace it with --force")
    if holds and not (path / holds).is_file():
        raise InputError(f"{path} exists and holds no {holds}, so it is none of ours and is not replaced")


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content if isinstance(content, bytes) else content.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def status(message: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr while something runs; silent where stderr is not a terminal. Yields a function that
    changes the message."""
    from rich.console import Console

    with Console(stderr=True).status(message) as spinner:
        yield spinner.update


def plus_minus(value: float, half_width: float) -> str:
    """``12.3 ± 0.4``, with two digits of the half-width."""
    if not math.isfinite(half_width):
        return f"{value:.3g} ± ?"
    if half_width == 0:
        return f"{value:.3g} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(half_width)))
    return f"{value:,.{decimals}f} ± {half_width:,.{decimals}f}"


@contextmanager
def engine_status(message: str) -> Iterator[Callable[[str], None]]:
    """`status` for what needs the engine: says so where it has to be compiled first, also where nobody watches."""
    from model.rng.compiled import is_cached

    if not is_cached():
        note("compiling the engine: some 20 s, once for this version")
    with status(message) as say:
        yield say


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        return _finite(value.item())
    return value
