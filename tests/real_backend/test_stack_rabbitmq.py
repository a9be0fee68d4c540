"""RabbitMQ as the broker, where Debian's package is installed."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from model.spec import MachineError, Scenario
from model.spec.steps import Process
from real_backend.stack import Stack, rabbitmq
from real_backend.stack.reaper import processes_below

installed = pytest.mark.skipif(not rabbitmq.SERVER_SCRIPT.exists(), reason="rabbitmq-server is not installed")


@pytest.fixture
def on_rabbitmq(small_scenario: Scenario) -> Scenario:
    return small_scenario.with_(
        platform__broker__kind="rabbitmq", platform__postgres__standbys=0, platform__redis__shards=1
    )


def test_where_it_is_missing_the_package_is_named(on_rabbitmq: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "SERVER_SCRIPT", Path("/no/such/script"))
    with pytest.raises(MachineError, match="apt-get install rabbitmq-server, or name a running one"):
        Stack(on_rabbitmq, stores_only=True).start()


@installed
def test_all_of_it_is_on_loopback_and_gone_afterwards(on_rabbitmq: Scenario) -> None:
    with Stack(on_rabbitmq, stores_only=True) as stack:
        folder = stack.runtime_dir
        broker = next(process for process in stack.processes if process.kind is Process.BROKER)
        assert psutil.Process(broker.pids[0]).name() == "beam.smp"
        below = processes_below(folder)
        assert "epmd" in {psutil.Process(pid).name() for pid in below}
        listening = {
            connection.laddr.ip
            for pid in below
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening <= {"127.0.0.1", "::1"}
        rabbitmq.purge(stack.urls.broker, "a queue that does not exist")
    assert not processes_below(folder)
    assert not folder.exists()
