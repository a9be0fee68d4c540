"""The `feedtwin` command: its group, what an error becomes, and where plug-in commands join."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from model.cli import bench, compare, doctor, plugins, scenarios, simulate, sweep, verify
from model.cli.errors import exit_code_of, explain


class Commands(TyperGroup):
    """The group of all commands: plug-ins are loaded when one is asked for, expected errors end without a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        plugins.add_to(self.commands)
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            plugins.add_to(self.commands)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            code = exit_code_of(error)
            if code is None or ctx.params.get("debug"):
                raise
            explain(error)
            raise typer.Exit(code) from None


app = typer.Typer(
    name="feedtwin",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"feedtwin {version('feedtwin')}")
        raise typer.Exit


@app.callback()
def feedtwin(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A digital twin of a social feed: simulate a platform, measure the real one, compare the two.

    Example: feedtwin simulate baseline -o out/baseline

    Exit codes: 0 met, 1 SLO missed or regression found, 2 bad input, 3 invalid run, 4 this machine cannot do it.
    """


for _command in (
    simulate.simulate,
    compare.compare,
    sweep.sweep,
    scenarios.scenarios,
    scenarios.schema,
    verify.verify,
    bench.bench,
    doctor.doctor,
):
    app.command(rich_help_panel="Commands with the model alone")(_command)


def main() -> None:
    """The console script."""
    app(prog_name="feedtwin")
