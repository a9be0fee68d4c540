"""The commands that need the real backend: `feedtwin up`, `feedtwin load`, `feedtwin regress`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.cli.options import ForceOption, JsonOption, ScenarioArgument, SeedOption, SetOption, load_scenario
from model.cli.output import print_json, refuse_existing

if TYPE_CHECKING:
    from loadtests.regress import Regression
    from real_backend.stack import StackUrls

PANEL = "Commands with the real backend"
_CHECK_INTERVAL_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the commands to the `feedtwin` application."""
    for command in (up, load, regress):
        app.command(rich_help_panel=PANEL)(command)


def up(
    scenario: ScenarioArgument,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Port of the first API process (default: a free one)."),
    ] = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    json_output: JsonOption = False,
) -> None:
    """Run the scenario's real backend, seeded, in the foreground until Ctrl-C.

    Example: feedtwin up baseline --port 8000
    """
    loaded = load_scenario(scenario, overrides, seed)

    from loadtests.progress import ProgressLine
    from model.workload.graph import graph_of
    from model.workload.seeding import seed_state
    from real_backend.stack import Stack

    with ProgressLine() as line:
        line.say("drawing the population")
        tables = seed_state(loaded, graph_of(loaded))
        ports = {} if port is None else {f"api{i}": port + i for i in range(loaded.platform.api.processes)}
        stack = Stack(loaded, ports=ports, on_progress=line.say)
        stack.start()
    try:
        with ProgressLine() as line:
            line.say("seeding")
            stack.seed(tables)
        _print_urls(stack.urls, json_output)
        idle = threading.Event()
        while not idle.wait(_CHECK_INTERVAL_S):
            stack.check()
    except KeyboardInterrupt:
        return
    finally:
        stack.stop()


def load(
    scenario: ScenarioArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder to write the run into.")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Serve Locust's own page during the run.")] = False,
    web_port: Annotated[int, typer.Option("--web-port", min=1, max=65_535, help="Port of Locust's page.")] = 8089,
    overrides: SetOption = None,
    seed: SeedOption = None,
    force: ForceOption = False,
    json_output: JsonOption = False,
) -> None:
    """Load-test the real backend with a scenario and print what its users saw; exit 1 if a stated SLO is missed.

    Example: feedtwin load baseline -o out/load --set workload.rate_per_s=200
    """
    refuse_existing(output, force=force)
    loaded = load_scenario(scenario, overrides, seed)

    from loadtests.measure import measure_scenario
    from loadtests.progress import ProgressLine
    from real_backend.stack.ports import assign_ports

    if web:
        assign_ports(["Locust's page"], {"Locust's page": web_port})

    def hold() -> None:
        if web:
            _say(f"Locust's page stays open at http://127.0.0.1:{web_port}; Ctrl-C closes it")
            _until_interrupted()

    with ProgressLine() as line:
        if web:
            _say(f"Locust's page: http://127.0.0.1:{web_port}")
        run = measure_scenario(
            loaded,
            on_message=line.say,
            on_progress=lambda done, total: line.count("requests", done, total),
            web_port=web_port if web else None,
            hold=hold,
        )
    if output is not None:
        run.save(output, force=force)

    from model.analysis.slos import slo_results
    from model.cli.run_tables import print_run, run_summary
    from model.spec import InvalidRunError

    slos = slo_results(run)
    if json_output:
        summary = run_summary(run, slos)
        print_json({**summary, "generator": run.provenance["generator"], "run": str(output) if output else None})
    else:
        print_run(run, slos)
    if not run.validity.valid:
        raise InvalidRunError("\n".join(["the run is not valid:", *run.validity.reasons]))
    if not all(slo.met for slo in slos):
        raise typer.Exit(1)


def regress(
    base: Annotated[Path, typer.Option("--base", metavar="DIR", help="Checkout to compare with.")],
    candidate: Annotated[Path, typer.Option("--candidate", metavar="DIR", help="Checkout to judge.")],
    scenario: Annotated[str, typer.Argument(metavar="[SCENARIO]", help="The load (default: baseline).")] = "baseline",
    slices: Annotated[int, typer.Option("--slices", min=4, help="Slices of load per checkout.")] = 20,
    slice_s: Annotated[float, typer.Option("--slice-s", min=0.5, help="Seconds per slice.")] = 3.0,
    threshold: Annotated[float, typer.Option("--threshold", min=1.0, help="Allowed ratio candidate / base.")] = 1.10,
    overrides: SetOption = None,
    seed: SeedOption = None,
    json_output: JsonOption = False,
) -> None:
    """Load-test two checkouts of the backend in alternating slices; exit 1 if the candidate is slower or
    fails more requests.

    Example: feedtwin regress --base ../main --candidate . --set workload.rate_per_s=150
    """
    loaded = load_scenario(scenario, overrides, seed)

    from loadtests.progress import ProgressLine
    from loadtests.regress import Plan, summary
    from loadtests.regress import regress as compare_checkouts
    from model.spec import InvalidRunError

    plan = Plan(slices=slices, slice_s=slice_s, threshold=threshold)
    with ProgressLine() as line:
        result = compare_checkouts(base, candidate, loaded, plan, on_progress=line.count)
    if json_output:
        print_json(summary(result))
    else:
        _print_regression(result)
    if not result.validity.valid:
        raise InvalidRunError("\n".join(["the comparison is not valid:", *result.validity.reasons]))
    if result.regressed:
        raise typer.Exit(1)


def _print_urls(urls: StackUrls, json_output: bool) -> None:
    from dataclasses import asdict

    if json_output:
        print_json(asdict(urls))
        sys.stdout.flush()
        return
    for name, value in asdict(urls).items():
        for url in [value] if isinstance(value, str) else value:
            typer.echo(f"{name:10} {url}")
    _say("ready; Ctrl-C stops it")


def _print_regression(result: Regression) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("endpoint", box=None, pad_edge=False)
    for column in ("quantile", "base ms", "candidate ms", "ratio", "interval", "requests", "verdict"):
        table.add_column(column, justify="right")
    styles = {"slower": "bold red", "faster": "green", "ok": "", "too few": "dim"}
    for line in result.lines:
        ratio = line.ratio
        table.add_row(
            line.endpoint,
            f"p{line.quantile * 100:g}",
            f"{ratio.base * 1e3:.2f}",
            f"{ratio.candidate * 1e3:.2f}",
            f"{ratio.ratio:.3f}",
            f"{ratio.low:.3f} - {ratio.high:.3f}",
            str(ratio.n),
            f"[{styles[line.verdict]}]{line.verdict}[/]" if styles[line.verdict] else line.verdict,
        )
    console = Console()
    console.print(table)
    for side, kinds in zip(("base", "candidate"), result.failures, strict=True):
        for kind, count in kinds.items():
            console.print(f"failed in the {side}: {count} of {result.requests} ({kind.replace('_', ' ')})")
    if result.fails_more:
        console.print("[bold red]the candidate fails more often[/]")
    slower = any(line.verdict == "slower" for line in result.lines)
    verdict = "[bold red]slower[/]" if slower else "[green]not slower[/]"
    console.print(f"the candidate is {verdict} (threshold {result.threshold:g}, {result.slices} slices each)")


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def _until_interrupted() -> None:
    idle = threading.Event()
    try:
        while not idle.wait(_CHECK_INTERVAL_S):
            pass
    except KeyboardInterrupt:
        return
