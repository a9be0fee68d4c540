"""What a second core gives to independent replications, which run on threads of one process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from model.analysis.replicate import replicate
from model.spec import Scenario

SCENARIO = "twitter-2013"
OVERRIDES: dict[str, Any] = {"population.users": 2_000_000, "duration_s": 4.0, "warmup_s": 1.0}
REPLICATIONS = 4


@dataclass(frozen=True)
class Turn:
    """The same replications twice."""

    one_thread_s: float
    two_threads_s: float
    digests: tuple[str, ...]

    @property
    def speedup(self) -> float:
        return self.one_thread_s / self.two_threads_s


def measure(threads: int = 2) -> Turn:
    """Replications on one thread and on several; they must be the same to the bit."""
    scenario = Scenario.load(SCENARIO, OVERRIDES)
    seconds, digests = [], []
    for count in (1, threads):
        began = time.perf_counter()
        done = replicate(scenario, replications=REPLICATIONS, threads=count)
        seconds.append(time.perf_counter() - began)
        digests.append(tuple(member.digest for member in done.members))
    assert digests[0] == digests[1], "the number of threads changed a result"
    return Turn(seconds[0], seconds[1], digests[0])
