"""Documents that cannot rot: what is generated is up to date, what is written names what exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from model.runs.tables import TABLES
from model.spec import Scenario

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SECTION = re.compile(r"^### `(\w+)`\n\n((?:\|.*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generate: ModuleType) -> None:
    assert not generate.out_of_date(), "run: make docs"


def test_a_part_that_is_out_of_date_is_noticed(generate: ModuleType) -> None:
    text = "before\n<!-- generated: waits -->\nold\n<!-- end -->\nafter\n"
    fresh = generate.updated(text)
    assert "old" not in fresh
    assert "db.commit_sync" in fresh
    assert fresh.startswith("before\n")
    assert fresh.endswith("after\n")
    assert generate.updated(fresh) == fresh


def test_every_field_of_a_scenario_is_documented() -> None:
    schema = Scenario.model_json_schema()
    definitions: dict[str, Any] = {"Scenario": schema, **schema["$defs"]}

    def is_section(field: dict[str, Any]) -> bool:
        reference = field.get("$ref") or field.get("items", {}).get("$ref", "")
        return "properties" in definitions.get(reference.rpartition("/")[2], {})

    undocumented = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        for field, content in definition.get("properties", {}).items()
        if not content.get("description") and not is_section(content)
    ]
    assert undocumented == []


def test_the_example_of_a_scenario_is_one() -> None:
    text = (ROOT / "docs" / "scenario.md").read_text(encoding="utf-8")
    example = re.search(r"(?:^    .*\n)+", text, re.MULTILINE)
    assert example is not None
    assert Scenario.model_validate(yaml.safe_load(example.group())).name == "evening"


def test_the_page_of_a_run_has_every_table_and_column() -> None:
    text = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    documented = {
        name: {
            cells[1].strip(" `"): cells[2].strip()
            for cells in (line.split("|") for line in rows.splitlines()[2:])
        }
        for name, rows in SECTION.findall(text)
    }  # fmt: skip
    assert documented == {
        name: {column: str(dtype) for column, dtype in table.columns.items()} for name, table in TABLES.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    # Paths in backticks are given from the root; what starts with out/ is made by running something.
    for target in re.findall(r"`((?:model|real_backend|loadtests|notebooks|docs|tests|scenarios)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target


def test_the_map_has_every_folder_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = re.search(r"## The map\n\n((?:    .*\n)+)", text)
    assert block is not None
    mapped: list[str] = []
    parents: list[str] = []
    for line in block.group(1).splitlines():
        name = line.split()[0].rstrip("/")
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        parents = [*parents[:depth], name]
        mapped.append("/".join(parents))
    kept = (".py", ".yaml", ".json", ".lua", ".j2", ".html", ".css", ".md", ".sql")
    folders = {
        parent.relative_to(ROOT).as_posix()
        for top in ("scenarios", "model", "real_backend", "loadtests", "notebooks", "docs", "tests")
        for path in (ROOT / top).rglob("*")
        if path.suffix in kept and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
        for parent in (path.parent,)
    }
    folders = {folder for folder in folders if not folder.startswith("tests/")} | {".ci"}
    assert set(mapped) == folders
