"""CPU time and wake-ups: charged to the right name, never falling."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
import redis

from real_backend.stack import Stack
from real_backend.stack.proc import tree
from real_backend.stack.usage import UsageMeter
from tests.real_backend.polling import eventually

SPIN = "sum(i * i for i in range(3_000_000))"


@pytest.fixture
def idle() -> Iterator[subprocess.Popen[str]]:
    """A process that runs a line of Python per line of its input and then prints "done"."""
    program = "import sys\nfor line in sys.stdin: exec(line); print('done', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def _run(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_work_is_charged_and_idling_is_not(idle: subprocess.Popen[str]) -> None:
    _run(idle, "pass")
    meter = UsageMeter({"worker0": idle.pid})
    before = meter.sample()["worker0"]
    assert meter.sample()["worker0"].cpu_s == before.cpu_s
    _run(idle, SPIN)
    after = meter.sample()["worker0"]
    assert after.cpu_s > before.cpu_s + 0.01


def test_every_wait_for_work_is_a_wake(idle: subprocess.Popen[str]) -> None:
    meter = UsageMeter({"worker0": idle.pid})
    before = meter.sample()["worker0"].wakes

    def woken_again() -> bool:
        _run(idle, "pass")
        return meter.sample()["worker0"].wakes >= before + 3

    eventually(woken_again, "waiting for a line, again and again, is counted")


def test_threads_and_children_count_alive_and_ended(idle: subprocess.Popen[str]) -> None:
    meter = UsageMeter({"worker0": idle.pid})
    _run(idle, "import threading, subprocess, sys, time")
    spent = [meter.sample()["worker0"].cpu_s]
    for line in (
        f"t = threading.Thread(target=lambda: {SPIN}); t.start(); t.join()",
        f"p = subprocess.Popen([sys.executable, '-c', '{SPIN}; input()'], stdin=subprocess.PIPE)",
        "p.stdin.write(b'\\n'); p.stdin.flush(); p.wait()",
        f"subprocess.run([sys.executable, '-c', '{SPIN}'])",
        "pass",
    ):
        _run(idle, line)
        spent.append(meter.sample()["worker0"].cpu_s)
    assert spent == sorted(spent)
    # The last child began and ended between two samples.
    assert spent[5] - spent[3] > 0.05


def test_ended_backends_keep_their_time(stores: Stack) -> None:
    with psycopg.connect(stores.urls.postgres) as connection:
        children = len(tree(next(p for p in stores.processes if p.name == "primary").pids[0]))
        connection.execute("SELECT sum(i) FROM generate_series(1, 300000) AS i")
        busy = stores.sample()["primary"]
    eventually(lambda: len(next(p for p in stores.processes if p.name == "primary").pids) < children, "it has ended")
    rested = stores.sample()["primary"]
    assert rested.cpu_s >= busy.cpu_s
    assert rested.wakes >= busy.wakes


def test_each_process_is_charged_for_its_own_work(stores: Stack) -> None:
    before = stores.sample()
    with redis.Redis.from_url(stores.urls.redis[1]) as client:
        client.eval("local x = 0; for i = 1, 3000000 do x = x + i end; return x", 0)
    after = stores.sample()
    used = {name: after[name].cpu_s - before[name].cpu_s for name in after}
    assert max(used, key=lambda name: used[name]) == "redis1"
    assert used["redis0"] < used["redis1"] / 2


def test_a_process_that_is_gone_keeps_its_last_record(idle: subprocess.Popen[str]) -> None:
    meter = UsageMeter({"worker0": idle.pid})
    _run(idle, SPIN)
    alive = meter.sample()["worker0"]
    idle.kill()
    idle.wait()
    assert meter.sample()["worker0"] == alive
