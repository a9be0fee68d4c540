"""A large scenario in a process of its own, so that its memory can be told: time, and the most memory it held.

python -m model.bench.large SCENARIO OVERRIDES
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from model.spec import MachineError, Scenario

LONGEST_S = 900.0


def measure(scenario: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Simulate a shipped scenario in a fresh process; the counts must agree with each other.

    Raises MachineError, with the end of its output, where it fails.
    """
    command = [sys.executable, "-m", "model.bench.large", scenario, json.dumps(dict(overrides or {}))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    if done.returncode:
        raise MachineError(f"simulating {scenario} ended with {done.returncode}: {done.stderr[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["deliveries_expected"] == found["deliveries_seen"] + found["deliveries_uncached"], found
    return found


def _here(name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    from model.platform import simulate

    scenario = Scenario.load(name, overrides)
    simulate(scenario.with_({"duration_s": 1.0, "warmup_s": 0.0, "population.users": 100_000}))  # compiles
    began, cpu_began = time.perf_counter(), time.process_time()
    run = simulate(scenario)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "simulated_s": scenario.duration_s,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "realtime_factor": scenario.duration_s / wall_s,
        "requests": run.n_requests,
        "deliveries": int(run.counters["deliveries_expected"]),
        "deliveries_expected": int(run.counters["deliveries_expected"]),
        "deliveries_seen": int(run.counters["deliveries_seen"]),
        "deliveries_uncached": int(run.counters["deliveries_uncached"]),
        "events": run.provenance["events"],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_here(sys.argv[1], json.loads(sys.argv[2]))))
