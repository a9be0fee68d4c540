"""Bad input: one clear message that names what is wrong and what is allowed, no traceback, nothing written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.run_cli import feedtwin, files_below

SCENARIO = """
version: 1
name: mine
duration_s: 6
warmup_s: 1
"""

FIELDS = {
    "misspelt field": ("workload: {rate_per_sec: 20}", ["mine.yaml", "workload.rate_per_sec", "'rate_per_s'"]),
    "misspelt section": ("workloads: {rate_per_s: 20}", ["mine.yaml", "workloads", "'workload'"]),
    "unknown field": ("platform: {api: {colour: red}}", ["mine.yaml", "platform.api.colour", "processes"]),
    "wrong unit in the name": ("population: {graph: null}\nwarmup_ms: 100", ["mine.yaml", "warmup_ms", "'warmup_s'"]),
    "unit in the value": ("workload: {rate_per_s: 20/min}", ["mine.yaml", "workload.rate_per_s", "20/min", "per_s"]),
    "negative rate": ("workload: {rate_per_s: -5}", ["mine.yaml", "workload.rate_per_s", "-5", "greater than 0"]),
    "weights that do not sum": ("workload: {mix: {react: 0.5}}", ["mine.yaml", "workload.mix", "1.42", "sum to 1"]),
    "unknown choice": ("policies: {fanout: pushy}", ["mine.yaml", "policies.fanout", "pushy", "'hybrid'"]),
    "out of range": ("population: {users: 3}", ["mine.yaml", "population.users", "3", "10"]),
    "infinite": ("workload: {rate_per_s: .inf}", ["mine.yaml", "workload.rate_per_s", "inf"]),
    "a fault of a part that is not there": (
        "faults: [{kind: worker_pause, at_s: 1, duration_s: 1, target: 7}]",
        ["mine.yaml", "faults.0.target", "7", "workers"],
    ),
    "not YAML": ("workload: [", ["mine.yaml", "YAML"]),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_bad_scenario(case: str, tmp_path: Path) -> None:
    addition, fragments = FIELDS[case]
    path = tmp_path / "mine.yaml"
    path.write_text(SCENARIO + addition + "\n")
    check_refused(tmp_path, ["simulate", path, "-o", tmp_path / "run"], fragments)


def test_a_scenario_that_is_not_there(tmp_path: Path) -> None:
    check_refused(
        tmp_path, ["simulate", tmp_path / "none.yaml", "-o", tmp_path / "run"], ["none.yaml", "cannot be read"]
    )
    check_refused(tmp_path, ["simulate", "basline", "-o", tmp_path / "run"], ["basline", "did you mean 'baseline'"])


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("workload.rate_per_sec=20", ["workload.rate_per_sec", "'rate_per_s'"]),
        ("workload.rate_per_s=fast", ["workload.rate_per_s", "'fast'"]),
        ("workload.rate_per_s", ["workload.rate_per_s", "path.to.field=value"]),
        ("workload.rate_per_s=[", ["YAML"]),
        ("name.first=x", ["name.first"]),
    ],
)
def test_a_bad_override(override: str, fragments: list[str], tmp_path: Path) -> None:
    check_refused(tmp_path, ["simulate", "baseline", "--set", override, "-o", tmp_path / "run"], fragments)


@pytest.mark.parametrize(
    ("line", "fragments"),
    [("7 x", ["'7 x'"]), ("7", ["'7'"]), ("7 8 9", ["'7 8 9'"]), ("7 7", ["'7 7'"]), ("-1 4", ["'-1 4'"])],
)
def test_an_edge_list_with_a_bad_line(line: str, fragments: list[str], tmp_path: Path) -> None:
    edges = tmp_path / "edges.txt"
    good = "".join(f"{follower} {followee}\n" for follower in range(12) for followee in range(follower))
    edges.write_text("# follower followee\n" + good + line + "\n")
    (tmp_path / "mine.yaml").write_text(SCENARIO + "population: {graph: edges.txt}\n")
    number = 2 + good.count("\n")
    check_refused(
        tmp_path,
        ["simulate", tmp_path / "mine.yaml", "-o", tmp_path / "run"],
        ["edges.txt", f"line {number}", *fragments],
    )


def test_an_edge_list_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCENARIO + "population: {graph: edges.txt}\n")
    check_refused(tmp_path, ["simulate", tmp_path / "mine.yaml", "-o", tmp_path / "run"], ["edges.txt"])


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (json.dumps({"version": 99}), ["version is 99", "reads version 2", "feedtwin calibrate"]),
        (json.dumps({"steps": {}}), ["version is None", "reads version 2"]),
        (json.dumps({"version": 2, "created": "now"}), ["machine"]),
        ("no json", ["cannot be read"]),
    ],
)
def test_a_bad_calibration(content: str, fragments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(content)
    arguments: list[str | Path] = ["simulate", "baseline", "--calibration", path, "-o", tmp_path / "run"]
    check_refused(tmp_path, arguments, ["costs.json", *fragments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "baseline"],
        ["sweep", "baseline", "--over", "seed=1,2"],
        ["compare", "a", "b"],
        ["schema"],
    ],
)
def test_an_output_that_exists(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    check_refused(tmp_path, [*arguments, "-o", tmp_path / "out"], [str(tmp_path / "out"), "exists", "--force"])


@pytest.mark.parametrize(
    ("over", "fragments"),
    [
        (["policies.fanout"], ["policies.fanout", "A,B,C"]),
        (["policies.fanout="], ["policies.fanout", "A,B,C"]),
        (["policies.fanout=push,pushy"], ["policies.fanout", "pushy", "'hybrid'"]),
        (["policies.fan_out=push,pull"], ["policies.fan_out", "'fanout'"]),
        (["seed=1,2", "seed=3,4"], ["seed", "twice"]),
    ],
)
def test_a_bad_sweep(over: list[str], fragments: list[str], tmp_path: Path) -> None:
    options = [option for text in over for option in ("--over", text)]
    check_refused(tmp_path, ["sweep", "baseline", *options, "-o", tmp_path / "sweep"], fragments)


def test_comparing_what_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_refused(
        tmp_path, ["compare", tmp_path / "none", tmp_path / "empty"], [str(tmp_path / "none"), "no such folder"]
    )
    check_refused(tmp_path, ["compare", tmp_path / "empty", tmp_path / "none"], [str(tmp_path / "empty"), "not a run"])


def test_debug_shows_where_it_came_from() -> None:
    with pytest.raises(Exception, match="neither a file nor shipped"):
        feedtwin("--debug", "simulate", "nothing-like-it")


def check_refused(folder: Path, arguments: Sequence[str | Path], fragments: list[str], code: int = 2) -> None:
    """The call ends with `code` and a message on stderr with all fragments, and changes no file in `folder`."""
    before = files_below(folder)
    outcome = feedtwin(*arguments)
    assert outcome.code == code, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert "Traceback" not in outcome.stderr
    assert [fragment for fragment in fragments if fragment not in outcome.stderr] == [], outcome.stderr
    assert files_below(folder) == before
