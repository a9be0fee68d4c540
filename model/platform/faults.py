"""A scenario's faults as SimPy processes that change the running platform and undo it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from model.engine.environment import NS_PER_S, Environment
from model.policy import KEY_POST, shards_of
from model.spec.scenario import Fault, FaultKind

if TYPE_CHECKING:
    from model.platform.simulate import Platform


def inject(env: Environment, platform: Platform) -> Generator[simpy.Event, Any, None]:
    """Start every fault of the scenario at its time."""
    for fault in platform.scenario.faults:
        env.process(_one(env, platform, fault))
    yield env.timeout(0)


def _one(env: Environment, platform: Platform, fault: Fault) -> Generator[simpy.Event, Any, None]:
    yield env.timeout(fault.at_s)
    state = platform.plane.state
    match fault.kind:
        case FaultKind.STANDBY_DELAY:
            state.replay_delay[fault.target] = round(fault.value * NS_PER_S)
            yield env.timeout(fault.duration_s)
            platform.plane.state.replay_delay[fault.target] = 0
        case FaultKind.STANDBY_PAUSE:
            platform.replay[fault.target].pause()
            yield env.timeout(fault.duration_s)
            platform.replay[fault.target].resume()
        case FaultKind.WORKER_PAUSE:
            platform.workers[fault.target].pause()
            yield env.timeout(fault.duration_s)
            platform.workers[fault.target].resume()
        case FaultKind.CACHE_FLUSH:
            flush_shard(platform, fault.target)


def flush_shard(platform: Platform, shard: int) -> None:
    """One Redis shard loses every key: timelines, post hashes and hot lists."""
    state = platform.plane.state
    state.timeline_exists[state.timeline_shard == shard] = False
    posts = np.arange(len(state.post_cached))
    state.post_cached[shards_of(KEY_POST, posts, state.ring_points, state.ring_owners) == shard] = False
    hot = (state.hot_shard == shard) & (state.hot_row >= 0)
    state.hot_pages[state.hot_row[hot]] = 0
