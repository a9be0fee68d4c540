"""`feedtwin simulate`: one scenario through the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from model.cli.output import print_json, refuse_existing, status


def simulate(
    scenario: ScenarioArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder to write the run into.")
    ] = None,
    calibration: CalibrationOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Simulate a scenario and print what its users would see; exit 1 if a stated SLO is missed.

    Example: feedtwin simulate celebrity-storm -o out/storm --set platform.workers.processes=2
    """
    refuse_existing(output, force=force)
    loaded = load_scenario(scenario, overrides, seed)
    costs = load_calibration(calibration)
    with status(f"simulating {loaded.name} (the first run compiles the engine, about half a minute)"):
        from model.platform import simulate as simulate_scenario

        run = simulate_scenario(loaded, costs)
    if output is not None:
        run.save(output, force=force)

    from model.analysis.slos import slo_results
    from model.cli.run_tables import print_run, run_summary

    slos = slo_results(run)
    if json_output:
        print_json({**run_summary(run, slos), "run": str(output) if output else None})
    else:
        print_run(run, slos)
    if not run.validity.valid:
        from model.spec import InvalidRunError

        raise InvalidRunError("\n".join(["the run is not valid:", *run.validity.reasons]))
    if not all(slo.met for slo in slos):
        raise typer.Exit(1)
