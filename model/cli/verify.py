"""`feedtwin verify`: the engine against queueing theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.cli.options import JsonOption
from model.cli.output import engine_status, note, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.analysis.verification import Quantity, Result

_MILLI = {"s": "ms"}
_COLOURS = {"agrees": "green", "differs": "bold red", "too noisy": "bold yellow"}


def verify(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="One check, or all whose names begin with it. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other arrivals and service times.")] = 1,
    json_output: JsonOption = False,
) -> None:
    """Hold the engine to queueing theory: M/M/c, M/G/1, networks, loss, caches, hashing; exit 1 if it differs.

    Example: feedtwin verify --only mm1 --only jackson
    """
    with engine_status("loading the engine") as say:
        from model.analysis.verification import CHECKS, chosen
        from model.analysis.verification import verify as run_checks

        count = len(chosen(only or ()))
        done: list[str] = []

        def tell(check: Any) -> None:
            done.append(check.name)
            say(f"check {len(done)} of {count}: {check.model}")

        results = run_checks(only or (), seed=seed, on_check=tell)

    passed = all(result.passed for result in results)
    if json_output:
        print_json(_document(results, seed=seed, passed=passed))
    else:
        _print(results)
    n = sum(len(result.quantities) for result in results)
    wrong = sum(not quantity.passed for result in results for quantity in result.quantities)
    spent_s = sum(result.wall_s for result in results)
    note(f"{n - wrong} of {n} quantities agree; {len(results)} of {len(CHECKS)} checks run, {spent_s:.0f} s")
    if not passed:
        raise typer.Exit(1)


def _document(results: Sequence[Result], *, seed: int, passed: bool) -> dict[str, Any]:
    from model.analysis.verification import CONFIDENCE, FAMILY_LEVEL

    return {
        "passed": passed,
        "seed": seed,
        "family_level": FAMILY_LEVEL,
        "confidence": CONFIDENCE,
        "wall_s": sum(result.wall_s for result in results),
        "quantities": [
            {"check": result.check.name, **quantity.document()} for result in results for quantity in result.quantities
        ],
        "checks": [
            {
                "check": result.check.name,
                "model": result.check.model,
                "source": result.check.source,
                "passed": result.passed,
                "wall_s": result.wall_s,
            }
            for result in results
        ],
    }


def _print(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    from model.analysis.verification import FAMILY_LEVEL, N_QUANTITIES

    table = Table(box=None, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("quantity")
    for column in ("exact", "estimate", "±"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for result in results:
        for number, quantity in enumerate(result.quantities):
            table.add_row("" if number else f"[bold]{result.check.name}[/bold]", *_cells(quantity))
    console = Console()
    console.print(table, highlight=False)
    console.print(
        f"± is half of an interval; all {N_QUANTITIES} of the whole list hold together at {FAMILY_LEVEL:.1%} "
        "(Bonferroni). What each check runs, and how far its closed form may be off, is in docs/verification.md.",
        highlight=False,
        soft_wrap=True,
    )


def _cells(quantity: Quantity) -> list[str]:
    scale = 1e3 if quantity.unit in _MILLI else 1.0
    at_most = "≤ " if quantity.relation == "at most" else ""
    colour = _COLOURS[quantity.verdict]
    unit = _MILLI.get(quantity.unit, quantity.unit)
    return [
        f"{quantity.name} ({unit})" if unit else quantity.name,
        at_most + f"{quantity.exact * scale:.5g}",
        f"{quantity.estimate * scale:.5g}",
        f"{quantity.half_width * scale:.2g}" if quantity.half_width else "",
        f"[{colour}]{quantity.verdict}[/{colour}]",
    ]
