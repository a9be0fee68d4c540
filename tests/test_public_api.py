"""What `from model import ...` gives, and what importing does not load."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import model

HEAVY = ("numba", "simpy", "matplotlib", "scipy", "locust")


def loaded_after(code: str) -> set[str]:
    """The top-level packages in a fresh interpreter after running `code`."""
    report = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", model.__all__)
def test_every_public_name_is_its_home_s_own(name: str) -> None:
    value = getattr(model, name)
    assert value.__name__ == name
    assert value.__module__.startswith("model.")
    assert getattr(model, name) is value
    assert name in dir(model)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        model.simulat  # noqa: B018


def test_importing_the_library_loads_nothing_heavy() -> None:
    assert loaded_after("import model").isdisjoint({*HEAVY, "numpy", "polars", "pydantic"})
    assert loaded_after("from model import Scenario, Calibration, Run").isdisjoint(HEAVY)


def test_no_process_of_the_backend_loads_numba() -> None:
    pytest.importorskip("psycopg", reason="the backend extra is not installed")
    import real_backend

    modules = [found.name for found in pkgutil.walk_packages(real_backend.__path__, "real_backend.")]
    for process in ("real_backend.api.__main__", "real_backend.relay", "real_backend.workers.__main__"):
        assert process in modules
    # The two files that are run by path, before anything can be imported, are imported like the rest.
    assert "numba" not in loaded_after("\n".join(f"import {name}" for name in modules))
