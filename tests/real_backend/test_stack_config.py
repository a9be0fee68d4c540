"""The backend's configuration: what the scenario says arrives in every process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.policy import FANOUT_CODES, ROUTING_CODES
from model.spec import InputError, MachineError, Scenario
from real_backend.config import CONFIG_VARIABLE, BackendConfig
from real_backend.stack import Stack


def _config(**overrides: object) -> BackendConfig:
    return BackendConfig.of(
        Scenario.load("baseline", overrides),
        runtime_dir="/tmp/feedtwin-test",
        postgres_url="postgresql://p",
        standby_urls=("postgresql://s0", "postgresql://s1"),
        redis_urls=("redis://r0",),
        broker_url="redis://b",
    )


def test_a_saved_configuration_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "backend.json"
    _config().save(path)
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    assert BackendConfig.load() == _config()


@pytest.mark.parametrize("mode", ["push", "pull", "hybrid"])
def test_fanout_codes_are_those_of_the_policy(mode: str) -> None:
    assert _config(**{"policies.fanout": mode}).fanout_code == FANOUT_CODES[mode]


@pytest.mark.parametrize("mode", ["primary", "any", "read_your_writes"])
def test_routing_codes_are_those_of_the_policy(mode: str) -> None:
    assert _config(**{"policies.replica_routing": mode}).routing_code == ROUTING_CODES[mode]


def test_without_a_configuration_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    with pytest.raises(MachineError, match="feedtwin up"):
        BackendConfig.load()


def test_a_cluster_is_refused_before_anything_starts() -> None:
    scenario = Scenario.load("twitter-2013", {"population.kind": "explicit", "population.users": 2_000})
    with pytest.raises(InputError, match=r"platform\.kind is 'cluster', which only the model has"):
        Stack(scenario)


def test_a_foreign_file_is_refused_by_field(tmp_path: Path) -> None:
    path = tmp_path / "backend.json"
    _config().save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "colour": "red"}), encoding="utf-8")
    with pytest.raises(MachineError, match="unknown field 'colour'"):
        BackendConfig.load(path)
