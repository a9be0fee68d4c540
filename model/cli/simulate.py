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
from model.cli.output import refuse_existing, status


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

    from model.analysis.theory import theory_of
    from model.cli.outcome import conclude
    from model.cli.theory import theory_lines

    theory = theory_of(run, costs)
    conclude(
        run, output=output, force=force, json_output=json_output, remarks=tuple(theory_lines(theory)),
        closed_forms=theory.document(),
    )  # fmt: skip
