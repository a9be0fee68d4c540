"""The cache of compiled kernels: an edited source is never served stale, and old caches go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.rng import compiled, philox

ROOT = Path(__file__).resolve().parents[2]
EDIT = "\n_EDITED = 1\n"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A checkout of the model elsewhere."""
    shutil.copytree(ROOT / "model", tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def hash_in(checkout: Path) -> str:
    """`source_hash()` as a process in that checkout finds it."""
    return _run(checkout, "from model.rng.compiled import source_hash; sys.stdout.write(source_hash())")


def _run(checkout: Path, program: str) -> str:
    environment = {**os.environ, "FEEDTWIN_CACHE_DIR": str(checkout / "cache"), "PYTHONPATH": str(checkout)}
    # Python itself takes a file of the same size that was edited within the same second for unchanged.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}"], cwd=checkout, env=environment, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_sources_have_the_same_hash_anywhere(copied: Path) -> None:
    assert hash_in(copied) == compiled.source_hash()


@pytest.mark.parametrize(
    "module", ["engine/kernel", "engine/effects", "engine/tables", "policy/sharding", "rng/philox"]
)
def test_an_edited_kernel_source_has_a_cache_of_its_own(copied: Path, module: str) -> None:
    with (copied / "model" / f"{module}.py").open("a") as source:
        source.write(EDIT)
    assert hash_in(copied) != compiled.source_hash()


def test_an_edited_callee_does_not_run_stale(copied: Path) -> None:
    """numba's own cache would serve the caller as it was: it looks at the caller's file alone."""
    (copied / "model" / "engine" / "caller.py").write_text(
        "from model.engine.heap import probe\nfrom model.rng.compiled import njit\n\n"
        "@njit\ndef ask():\n    return probe()\n"
    )
    heap = copied / "model" / "engine" / "heap.py"
    original = heap.read_text()
    answers = []
    for answer in (1, 2, 1):
        heap.write_text(original + f"\n\n@inlined\ndef probe():\n    return {answer}\n")
        answers.append(_run(copied, "from model.engine.caller import ask; sys.stdout.write(str(ask()))"))
    assert answers == ["1", "2", "1"]
    assert len(list((copied / "cache").glob("kernels-*"))) == 2


def test_old_caches_are_pruned_but_those_in_use_stay(tmp_path: Path) -> None:
    day_s = 24 * 3600
    ages_s = {"kernels-own": 90 * day_s, "kernels-recent": 10.0, "kernels-busy": day_s / 2}
    ages_s |= {f"kernels-old{i}": (2 + i) * day_s for i in range(6)}
    ages_s["something else"] = 90 * day_s
    for name, age_s in ages_s.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "kernel.nbc").write_text("code")
        os.utime(folder, (time.time() - age_s,) * 2)
    compiled.prune(tmp_path, keep=tmp_path / "kernels-own")
    left = {folder.name for folder in tmp_path.iterdir()}
    newest = {"kernels-recent", "kernels-busy", "kernels-old0", "kernels-old1"}
    assert left == {"something else", "kernels-own", *newest}
    assert len(newest) == compiled.KEPT_FOLDERS


def test_recent_caches_stay_however_many(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"kernels-{i}").mkdir()
    compiled.prune(tmp_path, keep=tmp_path / "kernels-0")
    assert len(list(tmp_path.iterdir())) == 10


def test_a_cache_that_cannot_be_written_is_done_without(copied: Path) -> None:
    (copied / "cache").write_text("a file where the folder should be")
    program = "from model.rng import compiled, philox; print(philox.u01(1, 2, 3, 4), compiled.is_cached(), end='')"
    assert _run(copied, program) == f"{philox.u01(1, 2, 3, 4)} False"
