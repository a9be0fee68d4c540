"""How a command that made a Run ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from model.analysis.slos import slo_results
from model.cli.output import note, print_json
from model.cli.run_tables import print_run, run_summary
from model.runs import Run
from model.spec import InvalidRunError


def conclude(
    run: Run, *, output: Path | None, force: bool, json_output: bool, remarks: Sequence[str] = (), **extra: Any
) -> None:
    """Save the run, show it, and end with the exit code that it deserves.

    `remarks` stand below the tables, and `extra` joins the JSON.

    Raises InvalidRunError for an invalid run, and exits with 1 where a stated SLO is missed.
    """
    slos = slo_results(run)
    if output is not None:
        run.save(output, force=force)
    if json_output:
        print_json({**run_summary(run, slos), **extra, "run": None if output is None else str(output)})
    else:
        print_run(run, slos, remarks)
    if output is not None:
        note(f"the run: {output}")
    if not run.validity.valid:
        raise InvalidRunError("\n".join(["the run is not valid:", *run.validity.reasons]))
    if not all(slo.met for slo in slos):
        raise typer.Exit(1)
