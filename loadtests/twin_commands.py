"""The commands that hold model and backend against each other: `feedtwin demo`, `feedtwin calibrate`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import ForceOption, JsonOption, ScenarioArgument, SeedOption, SetOption, load_scenario
from model.cli.output import note, print_json, refuse_existing

if TYPE_CHECKING:
    from loadtests.progress import ProgressLine
    from model.spec import Calibration

PANEL = "Commands with the real backend"


def register(app: typer.Typer) -> None:
    """Add the commands to the `feedtwin` application."""
    for command in (demo, calibrate):
        app.command(rich_help_panel=PANEL)(command)


def demo(
    scenario: Annotated[
        str, typer.Argument(metavar="[SCENARIO]", help="What to run; its rate is chosen for a core about 65 % busy.")
    ] = "demo",
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for everything.")] = Path(
        "out/demo"
    ),
    overrides: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Do the main job: start the real backend, calibrate, simulate, load-test the same requests, compare, report.

    Example: feedtwin demo -o out/demo --force
    """
    refuse_existing(output, force=force, holds="summary.json")
    loaded = load_scenario(scenario, overrides, seed)

    from loadtests.demo import INTENDED_UTILISATION, intended, write
    from loadtests.demo import demo as run_demo
    from loadtests.progress import ProgressLine
    from model.report.tables import render
    from model.spec import InvalidRunError

    with ProgressLine() as line:
        result = run_demo(loaded, say=lambda what, share: _show(line, what, share))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as partial:
        write(result, Path(partial) / "demo")
        # The old one goes with the temporary folder, after the new one has taken its place.
        if output.exists():
            output.rename(Path(partial) / "replaced")
        (Path(partial) / "demo").rename(output)
    if json_output:
        print_json(result.summary())
    else:
        from rich.console import Console

        Console().print(render(result.comparison))
    note(f"the report: {output / 'report.html'}")
    busy = result.real.utilisation.get("backend", 0.0)
    for earlier in result.set_aside:
        note(f"a first run found the backend's core {earlier:.1%} busy and was set aside; this is the second")
    if not intended(busy):
        lowest, highest = INTENDED_UTILISATION
        note(
            f"the backend's core was {busy:.1%} busy, not {lowest:.0%} to {highest:.0%} as intended: its speed changed"
        )
    if not result.real.validity.valid:
        raise InvalidRunError("\n".join(["the measured run is not valid:", *result.real.validity.reasons]))


def calibrate(
    scenario: ScenarioArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the calibration goes (JSON).")],
    overrides: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Measure what each operation costs on this machine, and write it down as a Calibration.

    Example: feedtwin calibrate baseline -o calibration.json
    """
    refuse_existing(output, force=force)
    loaded = load_scenario(scenario, overrides, seed)

    from loadtests.calibrate.procedure import calibrate as measure_costs
    from loadtests.progress import ProgressLine
    from model.workload import graph_of, seed_state
    from real_backend.stack import Stack

    with ProgressLine() as line:
        line.say("drawing the population")
        graph = graph_of(loaded)
        seeds = seed_state(loaded, graph)
        with Stack(loaded, on_progress=line.say) as stack:
            stack.seed(seeds)
            costs = measure_costs(
                stack, loaded, graph, seeds, on_progress=lambda what, share: _show(line, f"calibrating: {what}", share)
            )
    output.parent.mkdir(parents=True, exist_ok=True)
    costs.save(output)
    if json_output:
        print_json(costs.model_dump(mode="json"))
    else:
        _print_calibration(costs)
    note(f"the calibration: {output}")


def _show(line: ProgressLine, what: str, share: float | None) -> None:
    if share is None:
        line.say(what)
    else:
        line.count(what, round(100 * share), 100)


def _print_calibration(costs: Calibration) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("step", box=None, pad_edge=False)
    for column in ("base us", "90 % interval", "per item us", "cv"):
        table.add_column(column, justify="right")
    for name, cost in costs.steps.items():
        base, item = cost.base_s, cost.per_item_s
        table.add_row(
            name, f"{base.value * 1e6:.1f}", f"{base.low * 1e6:.1f} - {base.high * 1e6:.1f}",
            f"{item.value * 1e6:.2f}" if item else "", f"{cost.cv:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for process, cost_of in costs.processes.items():
        if cost_of.wake_s.value:
            console.print(f"wake-up of {process.value}: {cost_of.wake_s.value * 1e6:.1f} us")
    for wait_name, wait in costs.waits.items():
        median = wait.quantiles_s[len(wait.quantiles_s) // 2]
        console.print(f"{wait_name}: median {median * 1e6:.0f} us ({wait.samples} samples)")
    console.print(f"stalls: {costs.stalls.rate_per_s:.2f} per second")
    console.print(f"telemetry: {costs.telemetry_s_per_request * 1e6:.1f} us of a request's CPU in the API")
    if costs.unidentified:
        console.print("not told apart by the data: " + ", ".join(costs.unidentified))
