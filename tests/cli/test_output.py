"""What goes to stderr for the eye."""

from __future__ import annotations

import pytest

from model.cli.output import engine_status
from model.rng import compiled


@pytest.mark.parametrize("cached", [True, False])
def test_that_the_engine_is_being_compiled_is_said_also_where_nobody_watches(
    cached: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "is_cached", lambda: cached)
    with engine_status("simulating") as say:
        say("still simulating")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("compiling the engine" in shown.err) is not cached
