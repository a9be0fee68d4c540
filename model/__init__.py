"""The library of feedtwin: what to run, what it costs, the model, and what came out.

    from model import Scenario, simulate

    run = simulate(Scenario.load("baseline"))
    run.latency("home_timeline").quantile(0.99)  # seconds

Names are loaded at their first use, so that who only needs `model.spec` (the real backend's processes) does not load
the compiled engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.analysis.compare import compare
    from model.analysis.replicate import replicate
    from model.engine.plant import Plant
    from model.platform import simulate
    from model.platform.custom import simulate_plant
    from model.runs import Run
    from model.spec import Calibration, Scenario
    from model.workload.open_load import OpenLoad

__all__ = [
    "Calibration", "OpenLoad", "Plant", "Run", "Scenario", "compare", "replicate", "simulate", "simulate_plant",
]  # fmt: skip

_HOMES = {
    "Calibration": "model.spec",
    "OpenLoad": "model.workload.open_load",
    "Plant": "model.engine.plant",
    "Run": "model.runs",
    "Scenario": "model.spec",
    "compare": "model.analysis.compare",
    "replicate": "model.analysis.replicate",
    "simulate": "model.platform",
    "simulate_plant": "model.platform.custom",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
