"""What runs a platform besides its users: control processes for autoscaling, circuit breakers, refreshes, failover.

Each function returns a SimPy process function ``process(env, platform)``, to be passed to a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from model.engine.environment import Environment
from model.engine.running import Running
from model.spec import InputError

Steps = Generator[simpy.Event, Any, None]
Operation = Callable[[Environment, Running], Steps]


def autoscale(
    group: str,
    *,
    lowest: int,
    highest: int,
    above: float = 0.7,
    below: float = 0.4,
    interval_s: float = 5.0,
    cooldown_s: float = 30.0,
    delay_s: float = 0.0,
    on_change: Callable[[float, int], None] = lambda time_s, servers: None,
) -> Operation:
    """Give each station of `group` one server more where its utilisation over `interval_s` was `above`, one less where
    it was `below`, between `lowest` and `highest`.

    A service counts when it begins, so it should be short against `interval_s`. A new server serves `delay_s` after the
    decision; after one decision there is none for `cooldown_s`. `on_change` is told the time and the number of servers.
    Raises InputError for bounds that exclude each other.
    """
    if not (1 <= lowest <= highest and 0 <= below < above <= 1 and interval_s > 0 and min(cooldown_s, delay_s) >= 0):
        raise InputError(
            f"autoscale {group!r}: needs 1 <= lowest ({lowest}) <= highest ({highest}), 0 <= below ({below}) < above "
            f"({above}) <= 1, a positive interval_s ({interval_s}) and no negative time"
        )

    def process(env: Environment, platform: Running) -> Steps:
        for station in platform.stations(group):
            env.process(scale(env, station))
        yield env.timeout(0)

    def scale(env: Environment, station: Any) -> Steps:
        not_before_s, began_s = 0.0, 0.0
        while True:
            yield env.timeout(interval_s)
            utilisation = (station.busy_s - began_s) / (interval_s * station.servers)
            began_s = station.busy_s
            step = 1 if utilisation > above else -1 if utilisation < below else 0
            servers = min(max(station.servers + step, lowest), highest)
            if env.now < not_before_s or servers == station.servers:
                continue
            not_before_s = env.now + cooldown_s
            if servers > station.servers and delay_s:
                yield env.timeout(delay_s)
                began_s = station.busy_s
            station.set_servers(servers)
            on_change(env.now, servers)

    return process


def circuit_breaker(
    switch: str, *, failures: float = 0.5, fewest: int = 20, interval_s: float = 1.0, open_s: float = 5.0
) -> Operation:
    """Turn `switch` on (open) for `open_s` where more than the share `failures` of at least `fewest` requests that
    ended within `interval_s` failed; then it closes and looks again. What was turned away does not count.

    The path looks at it: ``Switch("open"), when((Fail("rejected"),), call)``.
    """
    if not (0 <= failures < 1 and fewest >= 1 and interval_s > 0 and open_s > 0):
        raise InputError(
            f"circuit breaker {switch!r}: failures is {failures}, fewest {fewest}, interval_s {interval_s}, open_s "
            f"{open_s}; failures must lie in 0 .. 1 and the others be positive"
        )

    def process(env: Environment, platform: Running) -> Steps:
        while True:
            failed, ended = platform.failed - platform.rejected, platform.completed - platform.rejected
            yield env.timeout(interval_s)
            failed = platform.failed - platform.rejected - failed
            ended = platform.completed - platform.rejected - ended
            if ended >= fewest and failed > failures * ended:
                platform.switch(switch, on=True)
                yield env.timeout(open_s)
                platform.switch(switch, on=False)

    return process


def every(period_s: float, job: str, *, first_s: float = 0.0, server: int = -1) -> Operation:
    """Start `job` at `first_s` and then every `period_s`: the refresh of a materialized view, a repair."""
    if not (period_s > 0 and first_s >= 0):
        raise InputError(
            f"every: period_s is {period_s} and first_s {first_s}; they must be positive, or 0 for the first"
        )

    def process(env: Environment, platform: Running) -> Steps:
        yield env.timeout(first_s)
        while True:
            platform.start(job, server=server)
            yield env.timeout(period_s)

    return process


def fail_over(group: str, switch: str, *, at_s: float, detected_s: float, index: int = 0) -> Operation:
    """A station stops for good at `at_s`; `detected_s` later `switch` is turned on, by which paths go elsewhere.

    Whoever visits it in between waits for ever, unless the path gives up (`Attempt`).
    """
    if min(at_s, detected_s) < 0:
        raise InputError(
            f"fail over of {group!r}: at_s is {at_s} and detected_s {detected_s}; both must not be negative"
        )

    def process(env: Environment, platform: Running) -> Steps:
        yield env.timeout(at_s)
        platform.stations(group)[index].pause()
        yield env.timeout(detected_s)
        platform.switch(switch, on=True)

    return process


def faults(*plan: tuple[float, float, Callable[[Running], None], Callable[[Running], None]]) -> Operation:
    """A schedule of faults: (begin in s, length in s, what breaks, what mends it)."""

    def process(env: Environment, platform: Running) -> Steps:
        for begin_s, length_s, break_it, mend_it in plan:
            env.process(one(env, platform, begin_s, length_s, break_it, mend_it))
        yield env.timeout(0)

    def one(env: Environment, platform: Running, begin_s: float, length_s: float, break_it: Any, mend_it: Any) -> Steps:
        yield env.timeout(begin_s)
        break_it(platform)
        yield env.timeout(length_s)
        mend_it(platform)

    return process
