"""Cores and priorities: planned from the scenario, applied to every thread, inherited by what comes later."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from model.spec import MachineError, Scenario
from model.spec import scenario as spec
from model.spec.steps import Process
from real_backend.stack import Rig, Stack, kernel_threads, reaper, speedometer
from real_backend.stack.proc import tree_threads
from real_backend.stack.rig import REALTIME_PRIORITY, may_use_realtime
from tests.real_backend.polling import eventually, schedules_of

CORES = sorted(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
realtime = pytest.mark.skipif(
    len(CORES) < 2 or not may_use_realtime(), reason="real-time scheduling is not permitted here"
)


@pytest.fixture
def not_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("real_backend.stack.rig.may_use_realtime", lambda: False)


def _settings(pid: int) -> set[tuple[frozenset[int], int]]:
    """(affinity, scheduling policy) of every thread of a process tree."""
    return {(frozenset(os.sched_getaffinity(tid)), os.sched_getscheduler(tid)) for _, tid in tree_threads(pid)}


@two_cores
def test_together_puts_the_backend_on_the_first_core_and_the_generator_on_the_last() -> None:
    rig = Rig.plan(spec.Rig(quiet="off"))
    assert {rig.core_of(kind) for kind in Process} == {CORES[0]}
    assert rig.generator_core == CORES[-1]
    assert not rig.realtime


@two_cores
def test_split_gives_standbys_and_workers_the_generators_core() -> None:
    rig = Rig.plan(spec.Rig(layout="split", quiet="off"))
    on_generators_core = {kind for kind in Process if rig.core_of(kind) == rig.generator_core}
    assert on_generators_core == {Process.STANDBY, Process.WORKER}


@pytest.mark.usefixtures("not_permitted")
def test_quiet_on_without_permission_says_what_is_needed() -> None:
    with pytest.raises(MachineError, match=r"rig\.quiet is 'on'.*use 'auto' or 'off'"):
        Rig.plan(spec.Rig(quiet="on"))


@two_cores
@pytest.mark.usefixtures("not_permitted")
def test_quiet_auto_without_permission_is_off_with_a_note() -> None:
    rig = Rig.plan(spec.Rig(quiet="auto"))
    assert not rig.realtime
    assert rig.notes == ("not quiet: real-time scheduling is not permitted here",)


def test_one_core_is_left_unpinned_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {3})
    rig = Rig.plan(spec.Rig())
    assert (rig.backend_core, rig.generator_core, rig.realtime) == (None, None, False)
    assert "one core only" in rig.notes[0]
    assert rig.provenance()["backend_core"] is None


@two_cores
def test_every_thread_is_pinned_and_so_is_a_later_backend(stores: Stack) -> None:
    expected = {(frozenset({CORES[0]}), os.SCHED_OTHER)}
    with psycopg.connect(stores.urls.postgres) as connection:
        assert _settings(connection.info.backend_pid) == expected
    for process in stores.processes:
        assert _settings(process.pids[0]) == expected, process.name


@realtime
def test_a_quiet_split_rig(small_scenario: Scenario) -> None:
    scenario = small_scenario.with_(platform__rig__quiet="on", platform__rig__layout="split", platform__redis__shards=1)
    quiet, beside = {(frozenset({CORES[0]}), os.SCHED_FIFO)}, {(frozenset({CORES[-1]}), os.SCHED_OTHER)}
    with Stack(scenario, stores_only=True) as stack:
        assert stack.config.freeze_gc
        for process in stack.processes:
            assert _settings(process.pids[0]) == (beside if process.kind is Process.STANDBY else quiet), process.name
        with psycopg.connect(stack.urls.postgres) as connection:
            assert _settings(connection.info.backend_pid) == quiet
        with psycopg.connect(stack.urls.standbys[0]) as connection:
            assert os.getpriority(os.PRIO_PROCESS, connection.info.backend_pid) > 0
        idle = {(frozenset({CORES[0]}), os.SCHED_IDLE)}
        helpers = [_helper("spinner.py"), _helper("speedometer.py")]
        for helper in helpers:
            eventually(lambda pid=helper.pid: _settings(pid) == idle, f"{helper} has idle priority")  # type: ignore[misc]
    assert not any(helper.is_running() for helper in helpers)


@realtime
def test_the_speedometer_counts_on_and_only_its_own_time(small_scenario: Scenario) -> None:
    scenario = small_scenario.with_(platform__rig__quiet="on", platform__redis__shards=1)
    with Stack(scenario, stores_only=True) as stack:
        eventually(lambda: (stack.speed_counts() or (0, 0))[0] > 0, "the first walk is made")
        before, began_s = stack.speed_counts(), time.monotonic()
        assert before is not None
        eventually(lambda: (stack.speed_counts() or (0, 0))[0] >= before[0] + 20, "twenty more walks are made")
        after = stack.speed_counts()
        assert after is not None
        assert 0 < after[1] - before[1] < time.monotonic() - began_s
        # 20 walks of some 60 us each, on cores up to ten times slower or faster.
        assert 0.1**speedometer.SENSITIVITY < speedometer.speed(before, after) < 10**speedometer.SENSITIVITY
    assert speedometer.speed(None, after) == speedometer.speed(after, after) == 0.0


@realtime
@pytest.mark.skipif(not kernel_threads.may_be_raised(CORES[0]), reason="the kernel's threads are out of reach")
def test_the_kernels_threads_go_first_while_a_quiet_stack_is_up(small_scenario: Scenario) -> None:
    scenario = small_scenario.with_(platform__rig__quiet="on", platform__redis__shards=1)
    with Stack(scenario, stores_only=True) as first:
        raised = reaper.raised_threads(first.runtime_dir)
        names = [Path(f"/proc/{thread}/comm").read_text() for thread in raised]
        assert any(name.startswith(f"kworker/{CORES[0]}:") for name in names)
        assert any(name.startswith(f"ksoftirqd/{CORES[0]}") for name in names)
        assert schedules_of(raised) == {(os.SCHED_FIFO, REALTIME_PRIORITY + 1)}
        with Stack(scenario, stores_only=True) as second:
            shared = set(raised) & set(reaper.raised_threads(second.runtime_dir))
            assert shared
        # The first still needs them.
        assert schedules_of(shared) == {(os.SCHED_FIFO, REALTIME_PRIORITY + 1)}
    assert schedules_of(raised) == {(os.SCHED_OTHER, 0)}


def _helper(program: str) -> psutil.Process:
    (found,) = [process for process in psutil.Process().children() if program in " ".join(process.cmdline())]
    return found


def test_trying_for_permission_changes_nothing() -> None:
    before = os.sched_getscheduler(0)
    may_use_realtime()
    assert os.sched_getscheduler(0) == before
