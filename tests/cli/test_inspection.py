"""`scenarios`, `schema`, `doctor`: what there is."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import yaml

from model.spec import Scenario
from model.spec.load import shipped_scenarios
from tests.cli.run_cli import feedtwin


def test_every_shipped_scenario_is_valid_and_says_its_question() -> None:
    document = feedtwin("scenarios", "--json").document
    assert [entry["name"] for entry in document] == list(shipped_scenarios())
    assert all(entry["question"].endswith("?") and entry["description"] for entry in document)
    table = " ".join(feedtwin("scenarios").stdout.split())
    assert all(name in table for name in shipped_scenarios())


def test_the_schema_describes_what_is_accepted(tmp_path: Path) -> None:
    schema = feedtwin("schema").document
    assert schema == feedtwin("schema", "--json").document
    assert set(schema["properties"]) == set(Scenario.model_fields)
    assert schema["additionalProperties"] is False
    for path in shipped_scenarios().values():
        assert set(yaml.safe_load(path.read_text())) <= set(schema["properties"])
    target = tmp_path / "scenario.schema.json"
    assert feedtwin("schema", "-o", target).code == 0
    assert json.loads(target.read_text()) == schema
    assert feedtwin("schema", "-o", target, "--force").code == 0


def test_doctor_sees_this_machine() -> None:
    outcome = feedtwin("doctor", "--json")
    assert outcome.code == 0
    document = outcome.document
    assert document["obstacles"]["simulate"] == []
    assert document["missing_core"] == []
    assert len(document["cores"]) >= 1
    assert {"PostgreSQL", "Valkey"} <= {server["name"] for server in document["servers"]}
    assert {"backend", "load", "explore", "notebooks", "cluster", "dev"} == set(document["extras"])
    assert feedtwin("doctor").code == 0


def test_doctor_is_exit_4_where_the_core_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.18")
    outcome = feedtwin("doctor")
    assert outcome.code == 4
    assert "Python is 3.9.18; 3.11 to 3.13 is needed" in outcome.stderr
