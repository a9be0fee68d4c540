"""The platform of a social feed, built from the engine's parts."""

from model.platform.simulate import Platform, shipped_calibration, simulate
from model.platform.station import Station

__all__ = ["Platform", "Station", "shipped_calibration", "simulate"]
