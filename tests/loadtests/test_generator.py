"""The generator process against a small real HTTP server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from loadtests.process import GeneratorOptions, GeneratorProcess
from loadtests.records import ClosedSessions, OpenArrivals, Outcome, Records
from model.spec.errors import MachineError
from model.spec.scenario import Endpoint

OPTIONS = GeneratorOptions(request_timeout_s=5.0, connections=16)
READ = Endpoint.READ_POST.code


def arrivals(rows: list[tuple[float, int, int, int]]) -> OpenArrivals:
    """Rows of (time in seconds, endpoint, user, target)."""
    time_s, endpoint, user, target = zip(*rows, strict=True)
    return OpenArrivals(
        (np.array(time_s) * 1e9).astype(np.int64),
        np.array(endpoint, np.uint8),
        np.array(user, np.int32),
        np.array(target, np.int64),
    )


def play_all(schedule: OpenArrivals, urls: list[str], folder: Path, options: GeneratorOptions = OPTIONS) -> Records:
    with GeneratorProcess(schedule, [urls], folder, options) as generator:
        generator.play(last=len(schedule.time_ns), timeout_s=30)
        return generator.finish()


def seen_by(url: str) -> list[dict[str, str | None]]:
    with urllib.request.urlopen(url + "/seen") as response:
        return list(json.load(response))


def test_every_arrival_is_sent_once_near_its_instant(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server()
    schedule = arrivals([(0.002 * i, i % 5, i % 7, 1 + i % 11) for i in range(400)])
    records = play_all(schedule, [url], tmp_path)
    assert records.ordinal.tolist() == list(range(400))
    assert records.scheduled_ns.tolist() == schedule.time_ns.tolist()
    assert records.endpoint.tolist() == schedule.endpoint.tolist()
    assert set(records.outcome.tolist()) == {Outcome.OK}
    assert (records.slip_ns >= 0).all()
    assert np.median(records.slip_ns) < 5e6
    assert (records.latency_ns > 0).all()
    assert len(seen_by(url)) == 400
    assert records.info["pool_dry"] == 0
    assert records.info["connections"] >= 16


def test_requests_follow_the_routes_and_carry_the_session(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server()
    schedule = arrivals(
        [
            (0.00, Endpoint.HOME_TIMELINE.code, 3, 3),
            (0.05, Endpoint.PROFILE.code, 3, 9),
            (0.10, Endpoint.CREATE_POST.code, 3, 77),
            (0.30, Endpoint.READ_POST.code, 3, 77),
            (0.30, Endpoint.READ_POST.code, 4, 77),
            (0.40, Endpoint.REACT.code, 4, 77),
        ]
    )
    play_all(schedule, [url], tmp_path)
    seen = seen_by(url)
    assert [(request["method"], request["path"]) for request in seen] == [
        ("GET", "/home/3"),
        ("GET", "/profile/9?viewer=3"),
        ("POST", "/posts"),
        ("GET", "/posts/77?viewer=3"),
        ("GET", "/posts/77?viewer=4"),
        ("POST", "/posts/77/reactions"),
    ]
    assert [request["lsn"] for request in seen] == [None, None, None, "16", None, None]
    post = json.loads(seen[2]["body"] or "")
    assert (post["id"], post["author"]) == (77, 3)
    assert json.loads(seen[5]["body"] or "") == {"user": 4}


def test_outcomes_are_told_apart_and_none_is_dropped(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server()
    rows = [(0.0, READ, 1, 1), (0.0, READ, 1, 404404), (0.0, READ, 1, 500), (0.0, READ, 1, 999), (0.0, READ, 1, 666)]
    options = GeneratorOptions(request_timeout_s=0.5, connections=8)
    records = play_all(arrivals(rows), [url], tmp_path, options)
    assert records.outcome.tolist() == [
        Outcome.OK,
        Outcome.MISSING,
        Outcome.HTTP_ERROR,
        Outcome.TIMEOUT,
        Outcome.CONNECTION_ERROR,
    ]
    assert 0.5e9 <= records.latency_ns[3] < 1.5e9


def test_requests_go_round_robin_over_api_processes(start_server: Callable[..., str], tmp_path: Path) -> None:
    urls = [start_server(), start_server()]
    play_all(arrivals([(0.002 * i, READ, 1, i) for i in range(20)]), urls, tmp_path)
    assert [len(seen_by(url)) for url in urls] == [10, 10]
    assert all(int(str(request["path"]).split("/")[2].split("?")[0]) % 2 == 0 for request in seen_by(urls[0]))


def test_an_exhausted_pool_is_detected(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server("--delay-s", "0.3")
    records = play_all(arrivals([(0.0, READ, 1, 1)] * 80), [url], tmp_path, GeneratorOptions(request_timeout_s=5))
    assert records.info["pool_dry"] == 0
    smaller = tmp_path / "smaller"
    smaller.mkdir()
    records = play_all(arrivals([(0.0, READ, 1, 1)] * 80), [url], smaller, OPTIONS)
    assert records.info["pool_dry"] > 0
    assert len(records) == 80


def test_segments_go_to_their_own_targets(start_server: Callable[..., str], tmp_path: Path) -> None:
    urls = [start_server(), start_server()]
    schedule = arrivals([(1.0 + 0.001 * i, READ, 1, i) for i in range(30)])
    with GeneratorProcess(schedule, [[urls[0]], [urls[1]]], tmp_path, OPTIONS) as generator:
        generator.play(number=0, first=0, last=10, origin_ns=10**9, target=1, timeout_s=10)
        generator.play(number=1, first=10, last=30, origin_ns=10**9, target=0, timeout_s=10)
        records = generator.finish()
    assert [len(seen_by(url)) for url in urls] == [20, 10]
    assert records.segment.tolist() == [0] * 10 + [1] * 20
    assert [segment["sent"] for segment in records.info["segments"]] == [10, 20]


def test_closed_sessions_wait_for_their_answers(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server("--delay-s", "0.05")
    shape = (6, 100)
    sessions = ClosedSessions(
        np.full(shape, READ, np.uint8),
        np.broadcast_to(np.arange(6, dtype=np.int32)[:, None], shape),
        np.ones(shape, np.int64),
        np.full(shape, 50_000_000, np.int64),
    )
    options = GeneratorOptions(request_timeout_s=5, connections=16, duration_s=1.0)
    with GeneratorProcess(sessions, [[url]], tmp_path, options) as generator:
        generator.play(timeout_s=10)
        records = generator.finish()
    # One request takes 50 ms of thinking and 50 ms of waiting: about ten in a second, never more.
    per_session = np.bincount(records.ordinal // 100)
    assert len(per_session) == 6
    assert per_session.max() <= 10
    assert per_session.min() >= 5
    first = records.ordinal < 100
    ended = (records.sent_ns + records.latency_ns)[first]
    assert (records.sent_ns[first][1:] - ended[:-1] >= 50_000_000).all()


def test_locusts_own_page_shows_the_run(start_server: Callable[..., str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = GeneratorOptions(request_timeout_s=5, connections=4, web_port=port)
    schedule = arrivals([(0.01 * i, READ, 1, 404404 if i == 7 else 500 if i == 8 else 1) for i in range(50)])
    with GeneratorProcess(schedule, [[start_server()]], tmp_path, options) as generator:
        generator.play(last=50, timeout_s=10)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"Locust" in page.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats/requests") as response:
            document = json.load(response)
    (row,) = [row for row in document["stats"] if row["name"] == "read_post"]
    # A post that does not exist yet is an answer like any other; a broken server is not.
    assert (row["num_requests"], row["num_failures"]) == (50, 1)
    assert document["state"] == "stopped"


def test_an_unreachable_backend_is_an_environment_error(tmp_path: Path) -> None:
    with (
        pytest.raises(MachineError, match="cannot be reached"),
        GeneratorProcess(arrivals([(0.0, READ, 1, 1)]), [["http://127.0.0.1:9"]], tmp_path, OPTIONS),
    ):
        pass


def test_it_stops_when_its_controller_dies(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server()
    arrivals([(30.0, READ, 1, 1)]).save(tmp_path / "s.npz")
    controller = (
        "import sys, pathlib, time\n"
        "from loadtests.process import GeneratorOptions, GeneratorProcess\n"
        "from loadtests.records import load_schedule\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "options = GeneratorOptions(request_timeout_s=5, connections=4)\n"
        f"with GeneratorProcess(load_schedule(folder / 's.npz'), [[{url!r}]], folder, options) as generator:\n"
        "    generator.play(last=1, timeout_s=60, on_start=lambda start: print(generator.pid, flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", controller], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    generator = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()
    psutil.wait_procs([generator], timeout=5)
    assert not generator.is_running()


def test_ctrl_c_ends_a_generator_that_runs_alone(start_server: Callable[..., str], tmp_path: Path) -> None:
    url = start_server()
    arrivals([(0.01 * i, READ, 1, 1) for i in range(3000)]).save(tmp_path / "s.npz")
    command = [sys.executable, "-m", "loadtests.generator", "--schedule", str(tmp_path / "s.npz"), "--api", url]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "o.npz"), "--connections", "4"])
    deadline = time.monotonic() + 20
    while not seen_by(url) and time.monotonic() < deadline:
        pass
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(5) == 130
