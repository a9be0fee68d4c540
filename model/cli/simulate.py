"""`feedtwin simulate`: one scenario through the model."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import (
    CalibrationOption,
    ForceOption,
    JsonOption,
    ReplicationsOption,
    ScenarioArgument,
    SeedOption,
    SetOption,
    load_calibration,
    load_scenario,
)
from model.cli.output import engine_status, json_text, note, print_json, refuse_existing, write_file

if TYPE_CHECKING:
    from model.spec import Calibration, Scenario

SUMMARY = "replications.json"


class Warmup(StrEnum):
    """How the warm-up of a replication is found; see `model.analysis.replicate.WarmupRule`."""

    MSER_5 = "mser-5"
    SCENARIO = "scenario"


def simulate(
    scenario: ScenarioArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder to write the run into.")
    ] = None,
    calibration: CalibrationOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    replications: ReplicationsOption = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="SENTENCE",
            help='Add replications until this is known, as in "p99 of home_timeline within 5% at 95%". Repeatable.',
        ),
    ] = None,
    max_replications: Annotated[
        int, typer.Option("--max-replications", min=2, help="Give up on a --precision after so many.")
    ] = 1000,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds", metavar="S", help="Give up on more replications after so long.  [default: never]"
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Replications simulated at a time.")] = 1,
    warmup: Annotated[
        Warmup, typer.Option("--warmup", help="Of replications: found by MSER-5, or only what the scenario states.")
    ] = Warmup.MSER_5,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Simulate a scenario and print what its users would see; exit 1 if a stated SLO is missed.

    With --replications or --precision it is simulated with several seeds, and every figure has a 95 % interval.

    Example: feedtwin simulate celebrity-storm -o out/storm --set platform.workers.processes=2
    """
    if replications is not None or precision:
        folder = None if output is None else (output, force)
        _replicate(
            load_scenario(scenario, overrides, seed),
            load_calibration(calibration),
            folder,
            json_output=json_output,
            replications=replications,
            precisions=precision or [],
            max_replications=max_replications,
            max_seconds=math.inf if max_seconds is None else max_seconds,
            threads=threads,
            warmup=warmup,
        )
        return
    if threads > 1 or max_seconds is not None:
        from model.spec import InputError

        given = "--threads" if threads > 1 else "--max-seconds"
        raise InputError(f"{given} is for several replications; add --replications or --precision")
    refuse_existing(output, force=force)
    loaded = load_scenario(scenario, overrides, seed)
    costs = load_calibration(calibration)
    with engine_status(f"simulating {loaded.name}"):
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


def _replicate(
    scenario: Scenario,
    calibration: Calibration | None,
    folder: tuple[Path, bool] | None,
    *,
    json_output: bool,
    precisions: list[str],
    warmup: Warmup,
    **options: Any,
) -> None:
    """Several replications; `folder` is where to write, and whether it may be replaced."""
    if folder is not None:
        refuse_existing(folder[0], force=folder[1], holds=SUMMARY)
    from model.analysis.precision import Precision
    from model.analysis.replicate import replicate
    from model.analysis.slos import replicated_slos
    from model.cli.replication_tables import print_replications, replications_summary
    from model.spec import InputError, InvalidRunError

    wanted = [Precision.parse(text) for text in precisions]
    with engine_status(f"simulating {scenario.name}") as say:
        done = replicate(
            scenario,
            calibration,
            precisions=wanted,
            warmup=warmup.value,
            on_replication=lambda count: say(f"simulating {scenario.name}: {count} replications done"),
            **options,
        )
    slos = replicated_slos(done)
    summary = replications_summary(done, slos)
    if folder is not None:
        write_file(folder[0] / SUMMARY, json_text(summary))
    if json_output:
        print_json(summary)
    else:
        print_replications(done, slos)
    if folder is not None:
        note(f"all figures: {folder[0] / SUMMARY}")
    if not done.validity.valid:
        raise InvalidRunError("\n".join(done.validity.reasons))
    if done.partial:
        raise InputError(done.partial)
    if not all(slo.met for slo in slos):
        raise typer.Exit(1)
