"""How fast the engine is, measured against one SimPy process per request and against itself."""

from model.bench.suite import Progress, run_suite

__all__ = ["Progress", "run_suite"]
