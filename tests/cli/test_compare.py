"""`feedtwin compare`: two saved runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.run_cli import feedtwin
from tests.synthetic import make_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    make_run("real").save(tmp_path / "real")
    make_run("model", latency_factor=1.1).save(tmp_path / "model")
    return tmp_path / "real", tmp_path / "model"


def test_json_has_the_error_of_the_second_against_the_first(runs: tuple[Path, Path]) -> None:
    outcome = feedtwin("compare", *runs, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.document["error"]["home_timeline"]["mean"] == pytest.approx(0.1, abs=0.001)


def test_table_and_report(runs: tuple[Path, Path], tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    outcome = feedtwin("compare", *runs, "-o", report)
    assert outcome.code == 0, outcome.stderr
    assert "home_timeline" in outcome.stdout
    assert "+10" in outcome.stdout
    page = report.read_text()
    assert page.startswith("<!")
    assert "http-equiv" not in page or 'src="http' not in page
    refused = feedtwin("compare", *runs, "-o", report)
    assert refused.code == 2
    assert report.read_text() == page
    assert feedtwin("compare", *runs, "-o", report, "--force").code == 0


def test_an_invalid_run_is_exit_3(runs: tuple[Path, Path], tmp_path: Path) -> None:
    make_run("real", valid=False).save(tmp_path / "invalid")
    outcome = feedtwin("compare", tmp_path / "invalid", runs[1])
    assert outcome.code == 3
    assert "generator slip" in outcome.stderr
