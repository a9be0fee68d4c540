"""Random numbers: every draw is keyed by the root seed and the name of what it is for."""

from model.rng.streams import generator

__all__ = ["generator"]
