"""Commands that other packages bring, by the entry point group ``feedtwin.commands``.

An entry point is named for its command and loads ``register(app: typer.Typer)``; several commands may share one
function. Extras in its brackets are what the command needs: while one is missing, the command stays in the help and
says what to install.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from rich.markup import escape

from model.machine.extras import install_hint, missing_packages

GROUP = "feedtwin.commands"
PANEL = "Commands with the real backend"


def add_to(commands: MutableMapping[str, Any]) -> None:
    """Add every installed plug-in command that is not there yet."""
    loaded: dict[str, dict[str, Any]] = {}
    for point in entry_points(group=GROUP):
        if point.name in commands:
            continue
        if point.value not in loaded:
            loaded[point.value] = _registered(point)
        command = loaded[point.value].get(point.name)
        missing = missing_packages(point.extras)
        if missing or command is None:
            command = _unavailable(point, missing, command.help if command else "")
        command.rich_help_panel = getattr(command, "rich_help_panel", None) or PANEL
        commands[point.name] = command


def _registered(point: EntryPoint) -> dict[str, Any]:
    """The commands that a plug-in registers, by name; none where it cannot be imported."""
    try:
        register = point.load()
    except ImportError:
        return {}
    app = typer.Typer(rich_markup_mode="rich")
    register(app)
    return dict(typer.main.get_group(app).commands)


def _unavailable(point: EntryPoint, missing: list[str], help_text: str | None) -> Any:
    """A command that says why it cannot run, whatever its arguments."""
    app = typer.Typer(rich_markup_mode="rich")
    hint = install_hint(point.extras) if point.extras else f"reinstall the package that brings {point.value}"
    lacks = f"lacks {', '.join(missing)}" if missing else f"cannot load {point.module}"

    @app.command(
        point.name,
        help=help_text or escape(f"Needs an extra: {hint}"),
        rich_help_panel=PANEL,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def unavailable(ctx: typer.Context) -> None:
        from model.spec.errors import MachineError

        if not missing:
            point.load()  # as an installed plug-in that is broken: let its own error be seen
        raise MachineError(f"feedtwin {point.name} {lacks}; install with: {hint}")

    return typer.main.get_group(app).commands[point.name]
