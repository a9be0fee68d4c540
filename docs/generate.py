"""Writes what can be derived from the code into the documents: between `<!-- generated: NAME -->` and `<!-- end -->`.

make docs                        rewrite the documents
python docs/generate.py --check  exit 1 if one of them is out of date
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model.analysis.verification import CHECKS
from model.spec import Scenario
from model.spec.steps import STEPS, WAITS

FOLDER = Path(__file__).resolve().parent
REGION = re.compile(r"(?P<begin><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
UNITS = {"_per_s": "1/s", "_per_h": "per hour", "_s": "s", "_mb": "MB"}

Schema = Mapping[str, Any]


def scenario_tables() -> str:
    """One table per section of a scenario, from its JSON Schema."""
    schema = Scenario.model_json_schema()
    return "\n".join(_sections("", schema, schema["$defs"]))


def steps_table() -> str:
    rows = ((f"`{step.name}`", ", ".join(step.processes), step.items) for step in STEPS.values())
    return _table(("step", "on", "`per_item_s` counts"), rows)


def waits_table() -> str:
    return _table(("wait", "is"), ((f"`{name}`", meaning) for name, meaning in WAITS.items()))


def checks_table() -> str:
    """What `feedtwin verify` compares."""
    rows = ((f"`{check.name}`", check.model, "; ".join(check.quantities), check.source) for check in CHECKS)
    return _table(("check", "model", "quantities", "source"), rows)


REGIONS: Mapping[str, Callable[[], str]] = {
    "scenario": scenario_tables,
    "steps": steps_table,
    "waits": waits_table,
    "checks": checks_table,
}


def updated(text: str) -> str:
    """A document with its regions written anew. Raises KeyError for one that nobody generates."""
    return REGION.sub(lambda found: found["begin"] + REGIONS[found["name"]]() + "\n" + found["end"], text)


def out_of_date() -> dict[Path, str]:
    """Documents that would change, with their new text."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
    return {path: updated(text) for path, text in texts.items() if updated(text) != text}


def _sections(path: str, schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    """The table of one object, then those of the objects in it."""
    nested: list[tuple[str, Schema]] = []
    rows = []
    for name, field in schema["properties"].items():
        inner = _object_of(field, definitions)
        if inner is None:
            rows.append(_row(name, field, definitions))
        else:
            nested.append((f"{path}.{name}".lstrip(".") + ("[ ]" if "items" in field else ""), inner))
    if path:
        yield "\n\n".join([f"### `{path}`", *([schema["description"]] if "description" in schema else [])]) + "\n"
    if rows:
        yield _table(("field", "unit", "allowed", "default", "meaning"), rows) + "\n"
    for inner_path, inner in nested:
        yield from _sections(inner_path, inner, definitions)


def _object_of(field: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    """The schema of a field that is a section, or a list of sections."""
    reference = field.get("$ref") or field.get("items", {}).get("$ref", "")
    found = definitions.get(reference.rpartition("/")[2])
    return found if found is not None and "properties" in found else None


def _row(name: str, field: Schema, definitions: Mapping[str, Schema]) -> tuple[str, ...]:
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    default = "required" if "default" not in field else _value(field["default"])
    meaning = str(field.get("description", "")).replace("\n", " ")
    return f"`{name}`", unit, _allowed(field, definitions), default, meaning


def _allowed(field: Schema, definitions: Mapping[str, Schema]) -> str:
    if "$ref" in field:
        return _allowed(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in field:
        return " or ".join("none" if kind["type"] == "null" else _allowed(kind, definitions) for kind in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "object":
        inner = field["additionalProperties"]
        named = inner.get("$ref", "").rpartition("/")[2]
        if "properties" in definitions.get(named, {}):
            fields = definitions[named]["properties"]
            parts = ", ".join(f"{name}: {_allowed(part, definitions)}" for name, part in fields.items())
            return f"step: {{{parts}}}"
        return f"endpoint: {_allowed(inner, definitions)}"
    if field["type"] == "boolean":
        return "`true`, `false`"
    if field["type"] == "string":
        return field.get("format", "text")
    kind = "integer" if field["type"] == "integer" else "number"
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{kind}, {low:,} to {high:,}".replace(",", " ").replace("  ", ", ", 1)
    bounds = [
        f"{sign} {_number(bound)}"
        for sign, bound in (("≥", low), (">", above), ("≤", high), ("<", below))
        if bound is not None
    ]
    return ", ".join([kind, *bounds])


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:g}"


def _value(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "none"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = out_of_date()
    for path, text in stale.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{path.name}: {'out of date' if check else 'written'}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
