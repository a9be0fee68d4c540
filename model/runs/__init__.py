"""Run: what happened, simulated or measured, in one schema; histograms, storage and provenance."""

from model.runs.builder import RunBuilder
from model.runs.histogram import N_BUCKETS, Histogram, bucket_bounds_ns, bucket_index, bucket_indices
from model.runs.provenance import provenance
from model.runs.run import OUTCOMES, Run, Validity

__all__ = [
    "N_BUCKETS",
    "OUTCOMES",
    "Histogram",
    "Run",
    "RunBuilder",
    "Validity",
    "bucket_bounds_ns",
    "bucket_index",
    "bucket_indices",
    "provenance",
]
