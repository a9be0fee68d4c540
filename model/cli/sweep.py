"""`feedtwin sweep`: the model over a grid, as a table and a plot."""

from __future__ import annotations

import math
import statistics
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
from model.cli.output import UNSTEADY, engine_status, note, plus_minus, print_json, refuse_existing, write_file

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
    replications: Annotated[
        int,
        typer.Option(
            "--replications",
            metavar="N",
            min=1,
            help="Simulate each point with the same N seeds: intervals, and the change from the first point.",
        ),
    ] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Simulations at a time on this machine.")] = 1,
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

    from model.machine.extras import require
    from model.planning import grid
    from model.planning import sweep as run_sweep

    axes = [_axis(text) for text in over]
    grid(loaded, axes)
    if output is not None:
        require("explore", purpose="the plot of a sweep (-o)")
    with engine_status("simulating") as say:

        def tell(done: int, points: int) -> None:
            what = "point" if replications == 1 else "replication"
            say(f"simulating {what} {done + 1} of {points}")

        table = run_sweep(
            loaded,
            axes,
            calibration=costs,
            threads=threads,
            cluster=cluster,
            replications=replications,
            on_point=tell,
        )
    if replications > 1:
        _warn_of_warmup(table, loaded.warmup_s)
    fields = [axis.field for axis in axes]
    _write(folder, table, fields, loaded.name)
    if json_output:
        print_json({"scenario": loaded.name, "over": fields, "points": table.to_dicts()})
    else:
        _print(table, fields)


def _write(folder: Path, table: pl.DataFrame, fields: list[str], title: str) -> None:
    """Every figure, and the plot where what it needs is installed."""
    from model.machine.extras import install_hint, missing_packages

    write_file(folder / "sweep.csv", table.write_csv())
    note(f"every figure: {folder / 'sweep.csv'}")
    if missing_packages(["explore"]):
        note(f"no plot, which needs: {install_hint(['explore'])}")
        return
    from model.report.sweep_plot import plot_sweep

    write_file(folder / "sweep.svg", plot_sweep(table, fields, title=title))
    note(f"the plot: {folder / 'sweep.svg'}")


def _warn_of_warmup(table: pl.DataFrame, warmup_s: float) -> None:
    """Points are scored from the scenario's own warm-up on, so that they stay paired; say where that is too short."""
    steady = table.filter(table["valid"])["mser5_s"].drop_nulls().to_list()
    if steady and max(steady) > warmup_s:
        late = f"at {max(steady):g} s at one of the points"
        note(f"MSER-5 puts the end of the warm-up {late} (median); the scenario scores from {warmup_s:g} s on")


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
        cells = [_cell(row, column) if row["valid"] or row[column] is not None else UNSTEADY for column in columns]
        shown.add_row(*(str(row[field]) for field in fields), *cells, *slos)
    console = Console()
    console.print(shown)
    if not table["valid"].all():
        console.print(f"{UNSTEADY}: work piles up, there is no steady state")
    if "replications" in table.columns:
        console.print(_legend(table, columns), highlight=False)


def _cell(row: dict[str, Any], column: str) -> str:
    """The figure; of replications with its half-width, and below it the change from the first point."""
    value, half_width = row[column], row.get(f"{column}_half_width")
    if value is None:
        return "too few"
    if half_width is None:
        return f"{value:.3g}"
    change, around = row[f"{column}_change"], row[f"{column}_change_half_width"]
    lines = [plus_minus(value, half_width)]
    if change is not None:
        lines.append(("" if change < 0 else "+") + plus_minus(change, around))
    return "\n".join(lines)


def _legend(table: pl.DataFrame, columns: list[str]) -> str:
    replications = table["replications"][0]
    line = f"± at 95 %, {replications} replications"
    if table.height == 1:
        return line
    names = [f"{column}_variance_reduction" for column in columns]
    gains = [gain for name in names if name in table.columns for gain in table[name] if gain and math.isfinite(gain)]
    line += "; second lines: change from the first point, paired under common random numbers"
    return line + (f" (variance {statistics.median(gains):.3g} times smaller in the median)" if gains else "")
