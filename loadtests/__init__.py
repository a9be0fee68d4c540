"""The load test: Locust driven by a Schedule, gauges and faults beside it, and the Run made of what was seen."""
