"""`feedtwin up`, `load`, `demo` and `regress` as a user meets them: refusals, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
FEEDTWIN = [sys.executable, "-m", "model.cli"]
SMALL = ["--set", "population.users=200", "--set", "population.mean_followers=10"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FEEDTWIN, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [*FEEDTWIN, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def runtime_folder(descendants: list[psutil.Process]) -> Path:
    """The folder in which all servers run."""
    top = Path(tempfile.gettempdir()).resolve()
    for process in descendants:
        with contextlib.suppress(psutil.Error):
            below = Path(process.cwd())
            if below.is_relative_to(top) and below != top:
                return top / below.relative_to(top).parts[0]
    raise AssertionError("no server runs in a runtime folder")


def assert_gone(descendants: list[psutil.Process], folder: Path) -> None:
    _, alive = psutil.wait_procs(descendants, timeout=5)
    assert not [process for process in alive if process.is_running()]
    deadline = time.monotonic() + 5
    while folder.exists():
        assert time.monotonic() < deadline


def test_up_serves_until_interrupted_and_leaves_nothing() -> None:
    process = start("up", "baseline", "--json", *SMALL)
    assert process.stdout is not None
    document = ""
    for line in process.stdout:
        document += line
        if line == "}\n":
            break
    urls = json.loads(document)
    with urllib.request.urlopen(f"{urls['api'][0]}/home/1") as response:
        assert response.status == 200
    descendants = psutil.Process(process.pid).children(recursive=True)
    assert len(descendants) >= 10
    folder = runtime_folder(descendants)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert_gone(descendants, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("command", ["load", "demo"])
def test_an_interrupted_command_leaves_nothing(command: str, number: signal.Signals, tmp_path: Path) -> None:
    process = start(command, "baseline", "-o", str(tmp_path / "out"), *SMALL)
    parent = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while True:
        descendants = parent.children(recursive=True)
        if any("loadtests.generator" in " ".join(_command(child)) for child in descendants):
            break
        assert time.monotonic() < deadline
        psutil.wait_procs([parent], timeout=0.1)
    folder = runtime_folder(descendants)
    process.send_signal(number)
    process.communicate(timeout=15)
    assert process.returncode != 0
    assert_gone(descendants, folder)
    assert list(tmp_path.iterdir()) == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_taken_port_ends_with_exit_4() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments in (["up", "baseline", "--port", port], ["load", "baseline", "--web", "--web-port", port]):
            done = run(*arguments, *SMALL)
            assert done.returncode == 4
            assert f"port {port}" in done.stderr
            assert "Traceback" not in done.stderr


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = run("load", "baseline", "-o", str(tmp_path))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_demo_replaces_only_a_demo(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = run("demo", "-o", str(tmp_path), "--force")
    assert done.returncode == 2
    assert "holds no summary.json" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_regress_names_the_folder_that_is_no_checkout(tmp_path: Path) -> None:
    done = run("regress", "--base", str(ROOT), "--candidate", str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "not a checkout" in done.stderr
