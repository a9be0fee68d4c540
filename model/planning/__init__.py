"""Questions asked of the model: what happens over a grid of configurations."""

from model.planning.sweep import Axis, grid, sweep

__all__ = ["Axis", "grid", "sweep"]
