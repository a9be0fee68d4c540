"""`feedtwin bench`: how fast the engine is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from model.cli.options import ForceOption, JsonOption
from model.cli.output import engine_status, note, print_json, refuse_existing, write_file


def bench(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.svg", help="Where to draw how cost grows with size.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Turns; every figure is the median of them.")] = 5,
    scale: Annotated[
        float, typer.Option("--scale", min=0.002, help="Requests per run, against the usual number.")
    ] = 1.0,
    whole: Annotated[
        bool,
        typer.Option("--whole/--quick", help="The large scenario, replications on threads and cold starts as well."),
    ] = True,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Measure the engine: against a SimPy process per request, feature by feature, as it grows, from cold and warm.

    Example: feedtwin bench --json
    """
    refuse_existing(output, force=force)
    if output is not None:
        from model.machine.extras import require

        require("explore", purpose="the plot of a benchmark (-o)")

    from model.bench import run_suite

    with engine_status("preparing") as say:
        found = run_suite(repeats=repeats, scale=scale, whole=whole, say=say)
    if output is not None:
        from model.report.scaling_plot import plot_scaling

        write_file(output, plot_scaling(found["scaling"]))
        note(f"the plot: {output}")
    if json_output:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("path", box=None, pad_edge=False)
    for column in ("requests per s", "SimPy per s", "ratio", "events per s"):
        table.add_column(column, justify="right")
    for name, title in (("reference_path", "reference path"), ("mm_c", "M/M/4 at 0.8")):
        row = found[name]
        table.add_row(
            title, f"{row['feedtwin_requests_per_s']:,.0f}", f"{row['simpy_requests_per_s']:,.0f}",
            f"{row['ratio']:.1f}", f"{row['events_per_s']:,.0f}",
        )  # fmt: skip
    console.print(table)
    features = Table("\nreference path with", box=None, pad_edge=False)
    for column in ("\nns per request", "\non top"):
        features.add_column(column, justify="right")
    for name, row in found["features"].items():
        features.add_row(name.replace("_", " "), f"{row['ns_per_request']:.0f}", f"{row['ns_on_top']:+.0f}")
    console.print(features)
    growth = Table("\nin flight", box=None, pad_edge=False)
    for column in ("\nkeys", "\nns per request"):
        growth.add_column(column, justify="right")
    for row in found["scaling"]:
        growth.add_row(f"{row['in_flight']:,.0f}", f"{row['keys']:,}", f"{row['ns_per_request']:.0f}")
    console.print(growth)
    if "twitter_2013" in found:
        big = found["twitter_2013"]
        console.print(
            f"\ntwitter-2013: {big['realtime_factor']:.2f} x real time, {big['simulated_s']:g} s simulated, "
            f"{big['requests']:,} requests, {big['deliveries']:,} deliveries, {big['peak_rss_mb']:.0f} MB",
            highlight=False,
        )
        console.print(f"replications on 2 threads: {found['replications']['speedup']:.2f} times as fast")
        console.print(f"feedtwin simulate: {found['cold_start_s']:.1f} s cold, {found['warm_start_s']:.2f} s warm")
