"""`feedtwin doctor`: what this machine can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.cli.options import JsonOption
from model.cli.output import print_json

if TYPE_CHECKING:
    from model.machine.facts import Machine

_USES = {
    "simulate": "simulate, sweep, compare",
    "report": "HTML reports and plots",
    "load": "demo, up, load, calibrate, regress",
    "quiet rig": "steady measurements (quiet rig)",
}


def doctor(json_output: JsonOption = False) -> None:
    """Say what this machine can run, and what is missing; exit 4 if not even the model runs.

    Example: feedtwin doctor
    """
    from model.machine.facts import inspect_machine

    machine = inspect_machine()
    if json_output:
        print_json(machine.document())
    else:
        _print(machine)
    if machine.obstacles["simulate"]:
        from model.spec import MachineError

        raise MachineError("\n".join(["this machine cannot run the model:", *machine.obstacles["simulate"]]))


def _print(machine: Machine) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from model.machine.extras import install_hint

    console = Console()
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_row("system", f"{machine.system}, Python {machine.python}")
    quota = f", quota {machine.cpu_quota_cores:g}" if machine.cpu_quota_cores is not None else ""
    facts.add_row("cores", f"{len(machine.cores)}{quota}")
    if machine.memory_total_bytes is not None and machine.memory_available_bytes is not None:
        total, available = machine.memory_total_bytes / 1e9, machine.memory_available_bytes / 1e9
        facts.add_row("memory", f"{total:.1f} GB, {available:.1f} GB available")
    facts.add_row("free disk", f"{machine.disk_free_bytes / 1e9:.1f} GB in {machine.temporary_directory}")
    facts.add_row("open files", "unlimited" if machine.open_files is None else str(machine.open_files))
    facts.add_row("real time", "permitted" if machine.real_time else "not permitted")
    for extra, missing in machine.extras.items():
        state = f"lacks {', '.join(missing)}: {install_hint([extra])}" if missing else "installed"
        facts.add_row(f"extra {extra}", escape(state))
    for server in machine.servers:
        facts.add_row(server.name, f"{server.version} ({server.origin})".strip())
    console.print(facts, highlight=False)
    console.print()
    verdicts = Table(box=None, pad_edge=False, show_header=False)
    for use, obstacles in machine.obstacles.items():
        verdicts.add_row(
            _USES[use], "[red]no[/red]: " + escape("; ".join(obstacles)) if obstacles else "[green]yes[/green]"
        )
    console.print(verdicts, highlight=False)
