"""Reading scenarios: YAML in, one clear error out."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from model.spec.errors import InputError
from model.spec.scenario import Scenario

UNITS = ("_s", "_ms", "_us", "_min", "_h", "_per_s", "_per_min", "_mb", "_kb", "_gb")


SHIPPED = Path(__file__).resolve().parents[2] / "scenarios"
"""The scenarios and calibrations that come with feedtwin."""


def shipped_scenarios() -> dict[str, Path]:
    """Names and paths of the scenarios that come with feedtwin."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_scenario(source: str | Path, overrides: Mapping[str, Any]) -> Scenario:
    path = Path(source)
    if not path.suffix and not path.exists():
        shipped = shipped_scenarios()
        if str(source) not in shipped:
            near = _near(str(source), shipped)
            raise InputError(
                f"scenario {str(source)!r} is neither a file nor shipped{near}; shipped: {', '.join(shipped)}"
            )
        path = shipped[str(source)]
    document = _read_yaml(path)
    for dotted, value in overrides.items():
        # What was typed is relative to where it was typed, what a file says to the file.
        typed = str(Path(value).resolve()) if dotted == "population.graph" and isinstance(value, str) else value
        _set(document, dotted, typed, path.name)
    scenario = _validate(document, path.name)
    graph = scenario.population.graph
    if graph is not None and not graph.is_absolute():
        scenario = override_scenario(scenario, {"population.graph": str((path.parent / graph).resolve())})
    return scenario


def override_scenario(scenario: Scenario, overrides: Mapping[str, Any]) -> Scenario:
    document = scenario.model_dump(mode="json")
    for dotted, value in overrides.items():
        _set(document, dotted, value.model_dump(mode="json") if isinstance(value, BaseModel) else value, scenario.name)
    return _validate(document, scenario.name)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``path.to.field=value``; the value is read as YAML, so numbers, booleans and lists work."""
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise InputError(f"--set {text!r}: expected path.to.field=value, for example workload.rate_per_s=200")
    try:
        return dotted, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text!r}: the value is not valid YAML ({_first_line(error)})") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"scenario {path}: cannot be read ({error})") from None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"scenario {path}: not valid YAML ({_first_line(error)})") from None
    if not isinstance(document, dict):
        raise InputError(f"scenario {path}: expected a mapping of fields, got {type(document).__name__}")
    return document


def _set(document: dict[str, Any], dotted: str, value: Any, origin: str) -> None:
    *parents, leaf = dotted.split(".")
    node: Any = document
    for key in parents:
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
            continue
        if not isinstance(node, dict):
            raise InputError(f"{origin}: {dotted}: {key!r} is not a section")
        node = node.setdefault(key, {})
    if isinstance(node, list) and leaf.isdigit() and int(leaf) < len(node):
        node[int(leaf)] = value
    elif isinstance(node, dict):
        node[leaf] = value
    else:
        raise InputError(f"{origin}: {dotted}: {leaf!r} is not a field there")


def _validate(document: Mapping[str, Any], origin: str) -> Scenario:
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        problems = [_explain(dict(item), document) for item in error.errors()]
        raise InputError("\n".join(f"{origin}: {problem}" for problem in problems)) from None


def _explain(item: dict[str, Any], document: Mapping[str, Any]) -> str:
    location = [str(part) for part in item["loc"]]
    field = ".".join(location) or "scenario"
    if item["type"] == "extra_forbidden":
        siblings = _fields_at(location[:-1])
        return f"{field}: no such field{_near(location[-1], siblings)}; allowed here: {', '.join(siblings)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{field}: is required"
    if item["type"] == "value_error":
        return f"{field}: {message}" if location else message
    unit = next((u for u in sorted(UNITS, key=len, reverse=True) if location and location[-1].endswith(u)), None)
    if item["type"] in ("float_parsing", "int_parsing", "float_type", "int_type") and unit:
        return f"{field}: {item['input']!r} is not allowed: a plain number of {unit[1:]} is expected"
    return f"{field}: {item['input']!r} is not allowed: {message[0].lower() + message[1:]}"


def _fields_at(location: list[str]) -> list[str]:
    node: Any = Scenario
    for part in location:
        field = node.model_fields.get(part) if hasattr(node, "model_fields") else None
        if field is not None:
            node = field.annotation
        elif part.isdigit() and typing.get_args(node):
            node = typing.get_args(node)[0]
    return list(node.model_fields) if hasattr(node, "model_fields") else []


def _near(name: str, known: typing.Iterable[str]) -> str:
    stem = name
    for unit in sorted(UNITS, key=len, reverse=True):
        stem = stem.removesuffix(unit)
    known = list(known)
    close = difflib.get_close_matches(name, known, 1, 0.6) or difflib.get_close_matches(stem, known, 1, 0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
