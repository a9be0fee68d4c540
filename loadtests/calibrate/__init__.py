"""Measuring a Calibration: `loadtests.calibrate.procedure` is the way through it."""
