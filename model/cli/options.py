"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.spec import Calibration, Scenario

ScenarioArgument = Annotated[
    str,
    typer.Argument(metavar="SCENARIO", help="A YAML file, or a shipped scenario by name (see 'feedtwin scenarios')."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Override one field, for example workload.rate_per_s=200. Repeatable."
    ),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Replace the scenario's seed.")]
CalibrationOption = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="Costs to simulate with, instead of the shipped ones."),
]
ReplicationsOption = Annotated[
    int | None,
    typer.Option("--replications", metavar="N", min=2, help="Independent replications; figures then have intervals."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]


def load_scenario(source: str, overrides: list[str] | None, seed: int | None = None) -> Scenario:
    """The scenario with all overrides applied and validated."""
    from model.spec import Scenario
    from model.spec.load import parse_override

    fields = dict(parse_override(text) for text in overrides or ())
    if seed is not None:
        fields["seed"] = seed
    return Scenario.load(source, fields)


def load_calibration(path: Path | None) -> Calibration | None:
    """The given calibration; None stands for the shipped one."""
    from model.spec import Calibration

    return None if path is None else Calibration.load(path)
