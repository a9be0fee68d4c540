"""The command line as a user meets it: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from model.cli import app

SMALL = tuple(
    argument
    for override in ("duration_s=6", "warmup_s=1", "population.users=200", "workload.rate_per_s=60")
    for argument in ("--set", override)
)
"""Options that make a shipped scenario small."""


@dataclass(frozen=True)
class Outcome:
    """What one call of `feedtwin` did."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON on stdout, which must be nothing but JSON."""
        return json.loads(self.stdout)


def feedtwin(*arguments: str | Path) -> Outcome:
    """Call the command in this process. An exception that is no expected error is raised here."""
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], prog_name="feedtwin", env={"COLUMNS": "160"}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
