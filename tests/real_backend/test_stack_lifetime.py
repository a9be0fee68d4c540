"""Whatever ends a stack, nothing of it is left: no process, no folder, no shared memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from model.spec import InputError, MachineError, Scenario
from model.spec.steps import Process
from real_backend.stack import Stack, kernel_threads, ports, reaper
from real_backend.stack.rig import REALTIME_PRIORITY, may_use_realtime
from real_backend.stack.runtime import RuntimeFolder, StartCancelledError
from tests.real_backend.polling import eventually, schedules_of

PARENT = """
import json, sys
from model.spec import Scenario
from real_backend.stack import Stack
from real_backend.stack.proc import tree
with Stack(Scenario.model_validate_json(sys.argv[1]), stores_only=True) as stack:
    pids = [pid for process in stack.processes for pid in process.pids]
    print(json.dumps({"folder": str(stack.runtime_dir), "pids": pids}), flush=True)
    if sys.argv[2] == "suspend":
        stack.suspend()
    sys.stdin.read()
"""


@pytest.fixture
def tiny_scenario(small_scenario: Scenario) -> Scenario:
    return small_scenario.with_(platform__redis__shards=1)


@pytest.fixture
def single_servers(small_scenario: Scenario) -> Scenario:
    return small_scenario.with_(platform__redis__shards=1, platform__postgres__standbys=0)


@contextlib.contextmanager
def _parent(scenario: Scenario, then: str = "wait") -> Iterator[tuple[subprocess.Popen[str], Path, list[int]]]:
    """A process that runs a stack in its with-block; its pids and folder."""
    command = [sys.executable, "-c", PARENT, scenario.model_dump_json(), then]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as parent:
        assert parent.stdout is not None
        line = parent.stdout.readline()
        assert line, parent.stderr and parent.stderr.read()
        report = json.loads(line)
        assert report["pids"]
        yield parent, Path(report["folder"]), report["pids"]


def _status(pid: int) -> str:
    """A process's status; an ended one that nobody has collected yet is as good as gone."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "gone"
    return "gone" if status == psutil.STATUS_ZOMBIE else str(status)


def _assert_ended(pids: Sequence[int]) -> None:
    eventually(lambda: all(_status(pid) == "gone" for pid in pids), "all processes are gone")


def _assert_nothing_left(folder: Path, pids: Sequence[int]) -> None:
    _assert_ended(pids)
    eventually(lambda: not folder.exists(), "the folder is gone")


def _segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


@pytest.mark.parametrize("then", ["wait", "suspend"])
def test_a_killed_parent_leaves_nothing(tiny_scenario: Scenario, then: str) -> None:
    with _parent(tiny_scenario, then) as (parent, folder, pids):
        if then == "suspend":
            eventually(lambda: {_status(pid) for pid in pids} <= {"stopped", "gone"}, "all are stopped")
        segments = _own_segments(folder)
        memory = reaper.shared_memory(pids)
        assert segments <= _segments()
        assert memory
        parent.kill()
        _assert_nothing_left(folder, pids)
        assert not segments & _segments()
        assert not any(file.exists() for file in memory)


@pytest.mark.skipif(
    not may_use_realtime() or not kernel_threads.may_be_raised(min(os.sched_getaffinity(0))),
    reason="the kernel's threads are out of reach",
)
def test_a_killed_parent_gives_the_kernels_threads_their_priority_back(single_servers: Scenario) -> None:
    with _parent(single_servers.with_(platform__rig__quiet="on")) as (parent, folder, pids):
        raised = reaper.raised_threads(folder)
        assert schedules_of(raised) == {(os.SCHED_FIFO, REALTIME_PRIORITY + 1)}
        parent.kill()
        _assert_nothing_left(folder, pids)
        assert schedules_of(raised) == {(os.SCHED_OTHER, 0)}


def test_killed_servers_leave_no_shared_memory(single_servers: Scenario) -> None:
    with Stack(single_servers, stores_only=True) as stack:
        pids = next(process.pids for process in stack.processes if process.name == "primary")
        memory, segments = reaper.shared_memory(pids), _own_segments(stack.runtime_dir)
        # Without grace it cannot heed the polite signal in time; its end is SIGKILL.
        reaper.end_processes(stack.runtime_dir, grace_s=0.0)
        _assert_ended(pids)
    assert memory
    assert segments
    assert not any(file.exists() for file in memory)
    assert not segments & _segments()


def test_ctrl_c_leaves_nothing(single_servers: Scenario) -> None:
    with _parent(single_servers) as (parent, folder, pids):
        parent.send_signal(signal.SIGINT)
        parent.wait(10)
        assert not folder.exists()
        _assert_nothing_left(folder, pids)


def test_ctrl_c_during_the_start_leaves_nothing(tiny_scenario: Scenario, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, tiny_scenario.model_dump_json(), "wait"]
    environment = {**os.environ, "TMPDIR": str(_open_folder(tmp_path))}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as parent:
        eventually(lambda: list(tmp_path.glob("feedtwin-*/logs/*")), "a server has been started")
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=10)
        assert "KeyboardInterrupt" in errors
    assert not list(tmp_path.glob("feedtwin-*"))


def test_an_exception_leaves_nothing(single_servers: Scenario) -> None:
    stack = Stack(single_servers, stores_only=True)

    def fail_inside() -> list[int]:
        with stack:
            pids.extend(pid for process in stack.processes for pid in process.pids)
            raise RuntimeError("something went wrong")

    pids: list[int] = []
    with pytest.raises(RuntimeError, match="something went wrong"):
        fail_inside()
    assert pids
    _assert_nothing_left(stack.runtime_dir, pids)


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log() -> None:
    runtime = RuntimeFolder()
    try:
        command = ["sh", "-c", "echo reading the stars; echo the stars are wrong >&2; exit 3"]
        server = runtime.launch(Process.REDIS, "redis7", command, environment={"PATH": "/usr/bin:/bin"})
        with pytest.raises(MachineError, match=r"(?s)redis7 ended with exit code 3.*the stars are wrong"):
            runtime.wait_ready(server, lambda: False)
    finally:
        runtime.close()


def test_a_program_that_is_missing_is_named() -> None:
    runtime = RuntimeFolder()
    try:
        with pytest.raises(MachineError, match="redis0 cannot be started: /no/such/server: No such file or directory"):
            runtime.launch(Process.REDIS, "redis0", ["/no/such/server"], environment={})
    finally:
        runtime.close()


def test_a_server_that_is_never_ready_is_named_with_its_log() -> None:
    runtime = RuntimeFolder()
    try:
        command = ["sh", "-c", "echo thinking; exec sleep 60"]
        server = runtime.launch(Process.API, "api0", command, environment={"PATH": "/usr/bin:/bin"})
        eventually(lambda: server.log.read_text(), "it has logged")
        with pytest.raises(MachineError, match=r"(?s)api0 was not ready within 0.05 s.*thinking"):
            runtime.wait_ready(server, lambda: False, deadline_s=0.05)
    finally:
        runtime.close()
    assert not psutil.pid_exists(server.pid)
    assert not runtime.path.exists()


def test_a_cancelled_start_gives_up() -> None:
    runtime = RuntimeFolder()
    server = runtime.launch(Process.API, "api0", ["sleep", "60"], environment={"PATH": "/usr/bin:/bin"})
    closing = threading.Timer(0.1, runtime.close)
    closing.start()
    with pytest.raises(StartCancelledError):
        runtime.wait_ready(server, lambda: False)
    closing.join()


def test_a_server_that_dies_later_is_noticed(single_servers: Scenario) -> None:
    with Stack(single_servers, stores_only=True) as stack:
        stack.check()
        redis0 = next(process for process in stack.processes if process.name == "redis0")
        os.kill(redis0.pids[0], signal.SIGKILL)
        messages: list[str] = []

        def noticed() -> bool:
            try:
                stack.sample()
            except MachineError as error:
                messages.append(str(error))
            return bool(messages)

        eventually(noticed, "sampling notices it")
    assert "redis0 has died" in messages[0]
    assert "Ready to accept connections" in messages[0]


def test_a_taken_port_is_refused_by_name_before_anything_starts(tiny_scenario: Scenario) -> None:
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        stack = Stack(tiny_scenario, stores_only=True, ports={"redis0": port})
        with pytest.raises(MachineError, match=f"port {port} for redis0 cannot be used: Address already in use"):
            stack.start()


def test_a_requested_port_is_used_and_free_afterwards(single_servers: Scenario) -> None:
    port = ports.assign_ports(["redis0"], {})["redis0"]
    with Stack(single_servers, stores_only=True, ports={"redis0": port}) as stack:
        assert stack.urls.redis == (f"redis://127.0.0.1:{port}/0",)
    assert not ports.accepts(port)
    assert ports.assign_ports(["redis0"], {"redis0": port}) == {"redis0": port}


def test_an_impossible_port_or_name_is_bad_input(tiny_scenario: Scenario) -> None:
    with pytest.raises(InputError, match="'redis9'; this stack has"):
        Stack(tiny_scenario, stores_only=True, ports={"redis9": 7000}).start()
    with pytest.raises(InputError, match="1 to 65535"):
        Stack(tiny_scenario, stores_only=True, ports={"redis0": 70_000}).start()


def test_an_existing_runtime_folder_is_left_alone(tiny_scenario: Scenario, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(InputError, match="it must be new"):
        Stack(tiny_scenario, stores_only=True, runtime_dir=tmp_path).start()
    assert (tmp_path / "precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_a_folder_that_nobody_can_enter_is_refused(tiny_scenario: Scenario, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(MachineError, match="set TMPDIR"):
        Stack(tiny_scenario, stores_only=True, runtime_dir=tmp_path / "run").start()
    assert not (tmp_path / "run").exists()


def test_start_and_stop_are_quick_and_a_stop_may_be_repeated(single_servers: Scenario) -> None:
    stack = Stack(single_servers, stores_only=True)
    stack.start()
    assert stack.startup_s < 10
    began = time.monotonic()
    stack.stop()
    assert time.monotonic() - began < 5
    stack.stop()
    assert stack.processes == []


def _own_segments(folder: Path) -> set[str]:
    """Shared memory of the PostgreSQL servers in `folder`, as their pid files name it."""
    return {file.read_text().splitlines()[6].split()[1] for file in folder.glob("*/postmaster.pid")}


def _open_folder(path: Path) -> Path:
    """`path`, such that other users can enter it."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == os.getuid() and len(folder.parts) > 2:
            folder.chmod(0o755)
    return path
