"""The platform of a social feed, built from the engine's parts."""

from model.platform.simulate import Platform, shipped_calibration, simulate

__all__ = ["Platform", "shipped_calibration", "simulate"]
