"""`feedtwin sweep`: the model over a grid, as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import (
    CalibrationOption,
    ForceOption,
    JsonOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    load_calibration,
    load_scenario,
)
from model.cli.output import note, print_json, refuse_existing, status, write_file

if TYPE_CHECKING:
    import polars as pl

    from model.planning import Axis

_SHOWN = {
    "home_timeline_mean_ms": "home mean ms",
    "home_timeline_p95_ms": "home p95 ms",
    "cpu_ms_per_request": "CPU ms each",
    "delivery_p50_s": "delivery p50 s",
    "delivery_p99_s": "delivery p99 s",
    "replica_lag_p99_s": "replica p99 s",
    "timeline_hit_ratio": "hit ratio",
    "backend_utilisation": "utili- sation",
    "cost_per_h": "cost per h",
}
_DEFAULT_OUTPUT = Path("out/sweep")
_ONLY_WHERE_IT_VARIES = ("cost_per_h", "timeline_hit_ratio")


def sweep(
    scenario: ScenarioArgument,
    over: Annotated[
        list[str],
        typer.Option(
            "--over", metavar="FIELD=A,B,C", help="A field and its values. Repeatable: all combinations are run."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help=f"Folder for sweep.csv, with every figure, and the plot, sweep.svg.  [default: {_DEFAULT_OUTPUT}]",
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Points simulated at a time on this machine.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler whose workers simulate the points."),
    ] = None,
    calibration: CalibrationOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Simulate a scenario over a grid of values and show the trade-off.

    Example: feedtwin sweep celebrity-storm --over policies.celebrity_threshold_followers=50,200,1000 -o out/threshold
    """
    folder = output or _DEFAULT_OUTPUT
    refuse_existing(folder, force=force)
    loaded = load_scenario(scenario, overrides, seed)
    costs = load_calibration(calibration)

    from model.machine.extras import install_hint, missing_packages, require
    from model.planning import grid
    from model.planning import sweep as run_sweep

    axes = [_axis(text) for text in over]
    grid(loaded, axes)
    if output is not None:
        require("explore", purpose="the plot of a sweep (-o)")
    with status("simulating (the first run compiles the engine, about half a minute)") as say:

        def tell(done: int, points: int) -> None:
            say(f"simulating point {done + 1} of {points}")

        table = run_sweep(loaded, axes, calibration=costs, threads=threads, cluster=cluster, on_point=tell)
    write_file(folder / "sweep.csv", table.write_csv())
    note(f"every figure: {folder / 'sweep.csv'}")
    if missing_packages(["explore"]):
        note(f"no plot, which needs: {install_hint(['explore'])}")
    else:
        from model.report.sweep_plot import plot_sweep

        write_file(folder / "sweep.svg", plot_sweep(table, [axis.field for axis in axes], title=loaded.name))
        note(f"the plot: {folder / 'sweep.svg'}")
    if json_output:
        print_json({"scenario": loaded.name, "over": [axis.field for axis in axes], "points": table.to_dicts()})
    else:
        _print(table, [axis.field for axis in axes])


def _axis(text: str) -> Axis:
    from model.planning import Axis
    from model.spec import InputError
    from model.spec.load import parse_override

    field, equals, values = text.partition("=")
    if not equals or not field or not values:
        raise InputError(f"--over {text!r}: expected path.to.field=A,B,C, for example policies.fanout=push,pull,hybrid")
    return Axis(field, tuple(parse_override(f"{field}={value}")[1] for value in values.split(",")))


def _print(table: pl.DataFrame, fields: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = [
        column
        for column in _SHOWN
        if table[column].count() and (column not in _ONLY_WHERE_IT_VARIES or table[column].n_unique() > 1)
    ]
    shown = Table(box=None, pad_edge=False)
    for field in fields:
        shown.add_column(field.rpartition(".")[2].replace("_", " "), justify="right")
    for column in columns:
        shown.add_column(_SHOWN[column], justify="right", min_width=7)
    stated = bool(table["slos_met"].count())
    if stated:
        shown.add_column("SLOs", justify="right")
    for row in table.iter_rows(named=True):
        slos = ["met" if row["slos_met"] else "[red]missed[/red]"] if stated else []
        shown.add_row(*(str(row[field]) for field in fields), *(_figure(row[column]) for column in columns), *slos)
    Console().print(shown)


def _figure(value: Any) -> str:
    return "too few" if value is None else f"{value:.3g}"
