"""`feedtwin scenarios` and `feedtwin schema`: what can be run, and how a scenario is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.cli.options import ForceOption, JsonOption
from model.cli.output import print_json, refuse_existing, write_file


def scenarios(json_output: JsonOption = False) -> None:
    """List the shipped scenarios, each with the question it answers.

    Example: feedtwin scenarios
    """
    from model.spec import Scenario
    from model.spec.load import shipped_scenarios

    shipped = {name: Scenario.load(path) for name, path in shipped_scenarios().items()}
    if json_output:
        print_json(
            [
                {
                    "name": name,
                    "question": scenario.question,
                    "description": scenario.description.strip(),
                    "duration_s": scenario.duration_s,
                    "users": scenario.population.users,
                    "mode": scenario.workload.mode,
                    "rate_per_s": scenario.workload.rate_per_s,
                }
                for name, scenario in shipped.items()
            ]
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("scenario", "question", box=None, pad_edge=False)
    for name, scenario in shipped.items():
        table.add_row(f"[bold]{name}[/bold]", scenario.question)
    Console().print(table)


def schema(
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it to a file.")] = None,
    force: ForceOption = False,
    json_output: Annotated[bool, typer.Option("--json", help="Accepted for uniformity: it always is JSON.")] = False,
) -> None:
    """Print the scenario's JSON Schema, so that editors complete and check scenario files.

    Name it in the first line of a scenario: # yaml-language-server: $schema=scenario.schema.json

    Example: feedtwin schema -o scenario.schema.json
    """
    import json

    from model.spec import Scenario

    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Scenario.model_json_schema()}
    if output is None:
        print_json(document)
        return
    refuse_existing(output, force=force)
    write_file(output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
