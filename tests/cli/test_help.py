"""Help, discovery, and what happens when a command cannot be there."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from importlib.metadata import EntryPoint, PackageNotFoundError

import pytest

from model.cli import plugins
from tests.cli.run_cli import feedtwin

BUILT_IN = ("simulate", "compare", "sweep", "verify", "bench", "scenarios", "schema", "doctor")
PLUG_INS = ("demo", "up", "load", "calibrate", "regress")
HEAVY = ("numba", "numpy", "polars", "simpy", "pydantic", "matplotlib", "gevent", "locust", "psycopg", "faststream")


@pytest.mark.parametrize("command", [*BUILT_IN, *PLUG_INS])
def test_every_command_has_help_with_an_example_and_json(command: str) -> None:
    outcome = feedtwin(command, "--help")
    assert outcome.code == 0
    assert f"Example: feedtwin {command}" in " ".join(outcome.stdout.split())
    assert "--json" in outcome.stdout


def test_the_group_lists_every_command() -> None:
    outcome = feedtwin("--help")
    assert outcome.code == 0
    assert all(f" {command} " in outcome.stdout for command in (*BUILT_IN, *PLUG_INS))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from model.cli import app\n"
        "try:\n    app(['--help'], prog_name='feedtwin')\n"
        f"finally:\n    print('LOADED', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "LOADED []" in done.stderr


def test_a_misspelt_command_or_option_is_near_something() -> None:
    outcome = feedtwin("simulat", "baseline")
    assert outcome.code == 2
    assert "Did you mean 'simulate'" in outcome.stderr
    outcome = feedtwin("simulate", "baseline", "--sead", "3")
    assert outcome.code == 2
    assert "--seed" in outcome.stderr


def test_a_command_whose_extra_is_missing_stays_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = metadata.version

    def version(distribution: str) -> str:
        if distribution == "locust":
            raise PackageNotFoundError(distribution)
        return found(distribution)

    monkeypatch.setattr(metadata, "version", version)
    assert " load " in feedtwin("--help").stdout
    outcome = feedtwin("load", "baseline", "-o", "nowhere", "--no-such-option")
    assert outcome.code == 4
    assert outcome.stdout == ""
    assert outcome.stderr == "error: feedtwin load lacks locust; install with: pip install 'feedtwin[backend,load]'\n"


def test_a_plug_in_that_cannot_be_imported_does_not_hurt_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="broken", value="no_such_package.commands:register", group=plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    outcome = feedtwin("--help")
    assert outcome.code == 0
    assert " broken " in outcome.stdout
    outcome = feedtwin("broken")
    assert outcome.code == 4
    assert "no_such_package" in outcome.stderr


def test_version() -> None:
    outcome = feedtwin("--version")
    assert outcome.code == 0
    assert outcome.stdout.startswith("feedtwin ")
