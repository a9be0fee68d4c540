"""Scenario, Calibration, step names and errors."""

from model.spec.calibration import Calibration
from model.spec.errors import FeedtwinError, InputError, InvalidRunError, MachineError
from model.spec.scenario import ENDPOINTS, Endpoint, Scenario

__all__ = [
    "ENDPOINTS",
    "Calibration",
    "Endpoint",
    "FeedtwinError",
    "InputError",
    "InvalidRunError",
    "MachineError",
    "Scenario",
]
