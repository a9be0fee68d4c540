"""Cores and priorities: planned from the scenario, applied to every thread, inherited by what comes later."""

from __future__ import annotations

import os

import psutil
import psycopg
import pytest

from model.spec import MachineError, Scenario
from model.spec import scenario as spec
from model.spec.steps import Process
from real_backend.stack import Rig, Stack
from real_backend.stack.proc import tree_threads
from real_backend.stack.rig import may_use_realtime
from tests.real_backend.polling import eventually

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
        spinners = [process for process in psutil.Process().children() if "spinner.py" in " ".join(process.cmdline())]
        idle = [{(frozenset({CORES[0]}), os.SCHED_IDLE)}]
        eventually(lambda: [_settings(process.pid) for process in spinners] == idle, "one spinner, at idle priority")
    assert not spinners[0].is_running()


def test_trying_for_permission_changes_nothing() -> None:
    before = os.sched_getscheduler(0)
    may_use_realtime()
    assert os.sched_getscheduler(0) == before
