"""What is shipped: the wheel's content, the lock, and documents that name what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from typer.main import get_group

from model.cli import app

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Package -> the text of its entry in the lock, hashes included."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
    return {canonical(re.match(r"[A-Za-z0-9._-]+", entry).group()): entry for entry in entries}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    path = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]))
    return zipfile.ZipFile(path)


@pytest.mark.parametrize("folder", ["model", "real_backend", "loadtests", "scenarios"])
def test_the_wheel_has_every_file_of_the_packages(wheel: zipfile.ZipFile, folder: str) -> None:
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours
    assert ours - set(wheel.namelist()) == set()


def test_the_wheel_has_the_data_that_code_reads(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    for suffix in (".yaml", ".sql", ".lua", ".json"):
        assert any(name.endswith(suffix) for name in names), suffix
    assert not [name for name in names if name.startswith(("tests/", "out/", ".venv/"))]


def test_the_wheel_declares_the_commands(wheel: zipfile.ZipFile) -> None:
    declared = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(declared).decode()
    assert "feedtwin = model.cli:main" in text
    for command in ("demo", "up", "load", "calibrate", "regress"):
        assert re.search(rf"^{command} = loadtests\.\w+:register \[backend,load", text, re.MULTILINE)


def test_every_dependency_is_locked_with_hashes() -> None:
    locked = pins()
    extras = PROJECT["optional-dependencies"].values()
    declared = [*PROJECT["dependencies"], *(requirement for extra in extras for requirement in extra)]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", text).group()) for text in declared} - {"feedtwin"}  # type: ignore[union-attr]
    assert names - set(locked) == set()
    for entry in locked.values():
        assert re.search(r"==[^ ]+", entry)
        assert "--hash=sha256:" in entry


def test_the_lock_names_no_index_and_no_machine() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text
    assert not re.search(r"(^|\s)/\w", text)


def test_the_build_backend_is_locked() -> None:
    assert {"hatchling", "editables"} <= set(pins())


def test_the_readme_names_every_command_and_no_other() -> None:
    group = get_group(app)
    context = group.make_context("feedtwin", ["doctor"])
    named = set(re.findall(r"`feedtwin ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == set(group.list_commands(context))


def test_documents_name_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / document).read_text(encoding="utf-8")))
        assert named & targets
        assert {name for name in named if f"`make {name}" in (ROOT / document).read_text(encoding="utf-8")} <= targets


@pytest.mark.parametrize("script", ["run", "setup", "core-alone", "demo-gate"])
def test_ci_scripts_can_be_run(script: str) -> None:
    assert (ROOT / ".ci" / script).stat().st_mode & 0o111


def set_up_with(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/setup, away from this project's own environment."""
    (folder / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "setup", folder / ".ci" / "setup")
    environment = {**os.environ, "PYTHON": python}
    return subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_setup_without_the_venv_module_names_the_debian_package(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = set_up_with(str(python), tmp_path)
    package = f"python3.{sys.version_info.minor}-venv"
    assert done.returncode == 4
    assert f"sudo apt-get install {package}" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_setup_without_a_python_that_fits_says_which_fit(tmp_path: Path) -> None:
    done = set_up_with("/bin/false", tmp_path)
    assert done.returncode == 4
    assert "Python 3.11, 3.12 or 3.13" in done.stderr
