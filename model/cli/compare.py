"""`feedtwin compare`: any two runs, simulated or real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.cli.options import ForceOption, JsonOption
from model.cli.output import note, print_json, refuse_existing


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The reference: errors are relative to it.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The run that is judged.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a self-contained HTML report.")
    ] = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Compare two runs: throughput, latencies, lags, hit ratio, utilisation and failures.

    Example: feedtwin compare out/real out/model -o out/report.html
    """
    refuse_existing(output, force=force)
    if output is not None:
        from model.machine.extras import require

        require("explore", purpose="the HTML report (-o)")
    from model.analysis.compare import compare as compare_runs
    from model.runs import Run

    comparison = compare_runs(Run.load(first), Run.load(second))
    if output is not None:
        from model.report import write_report

        write_report(comparison, output, force=force)
        note(f"the report: {output}")
    if json_output:
        print_json(comparison.to_json())
    else:
        from rich.console import Console

        from model.report.tables import render

        Console().print(render(comparison))
