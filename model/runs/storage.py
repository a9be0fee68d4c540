"""A Run as a folder: `run.json` and one Parquet file per table, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from model.runs.run import Run, Validity
from model.runs.tables import TABLES
from model.spec import InputError, Scenario

RUN_VERSION = 2
HEADER = "run.json"


def save_run(run: Run, directory: Path, *, force: bool) -> Path:
    if directory.exists():
        if not force:
            raise InputError(f"run {directory}: exists already; choose another place, or replace it with --force")
        if not (directory / HEADER).is_file():
            raise InputError(f"run {directory}: exists and is not a run (no {HEADER}), so it is not replaced")
    partial = directory.with_name(directory.name + ".partial")
    replaced = directory.with_name(directory.name + ".replaced")
    try:
        for leftover in (partial, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, frame in run.tables().items():
            frame.write_parquet(partial / f"{name}.parquet", compression="zstd")
        (partial / HEADER).write_text(json.dumps(_header(run), indent=1) + "\n", encoding="utf-8")
        if directory.exists():
            directory.rename(replaced)
        partial.rename(directory)
    except OSError as error:
        raise InputError(f"run {directory}: cannot be written ({error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not directory.exists():
            replaced.rename(directory)
        shutil.rmtree(replaced, ignore_errors=True)
    return directory


def load_run(directory: Path) -> Run:
    header = _read_header(directory)
    if header.get("kind") not in ("model", "real"):
        raise InputError(f"run {directory / HEADER}: kind is {header.get('kind')!r}; allowed: model, real")
    tables = {name: _read_table(directory / f"{name}.parquet", name) for name in TABLES}
    try:
        run = Run(
            kind=header["kind"],
            scenario=Scenario.model_validate(header["scenario"]),
            provenance=header["provenance"],
            validity=Validity(
                bool(header["valid"]), tuple(header["invalid_because"]), bool(header.get("stationary", True))
            ),
            counters=header["counters"],
            failures=header["failures"],
            latency_table=tables.pop("latency"),
            duration_s=float(header["duration_s"]),
            window_s=float(header["window_s"]),
            **tables,
        )
        stated = header["content_digest"]
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"run {directory / HEADER}: scenario.{field} cannot be read by this feedtwin") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"run {directory / HEADER}: damaged ({type(error).__name__}: {error})") from None
    if run.content_digest != stated:
        found = run.content_digest
        raise InputError(f"run {directory}: damaged (its content has digest {found}, {HEADER} says {stated})")
    return run


def _header(run: Run) -> dict[str, Any]:
    return {
        "version": RUN_VERSION,
        "kind": run.kind,
        "digest": run.digest,
        "content_digest": run.content_digest,
        "valid": run.validity.valid,
        "invalid_because": list(run.validity.reasons),
        "stationary": run.validity.stationary,
        "duration_s": run.duration_s,
        "window_s": run.window_s,
        "counters": dict(run.counters),
        "failures": {endpoint: dict(kinds) for endpoint, kinds in run.failures.items()},
        "scenario": run.scenario.model_dump(mode="json"),
        "provenance": dict(run.provenance),
    }


def _read_header(directory: Path) -> Mapping[str, Any]:
    path = directory / HEADER
    if not path.is_file():
        what = f"has no {HEADER}, so it is not a run" if directory.is_dir() else "no such folder"
        raise InputError(f"run {directory}: {what}")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"run {path}: damaged ({error})") from None
    version = header.get("version") if isinstance(header, dict) else None
    if version != RUN_VERSION:
        raise InputError(f"run {path}: version is {version!r}; this feedtwin reads version {RUN_VERSION}")
    return dict(header)


def _read_table(path: Path, name: str) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"run {path}: the file is missing")
    try:
        # hive_partitioning and glob off: the path is one plain file, whatever characters it has.
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"run {path}: damaged ({str(error).splitlines()[0]})") from None
    expected = dict(TABLES[name].columns)
    if dict(frame.schema) != expected:
        raise InputError(f"run {path}: its columns are {', '.join(frame.columns)}; expected {', '.join(expected)}")
    return frame
