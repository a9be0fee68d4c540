"""The feed platform as a Plant: hosts, processes, pools, queues, paths. A scenario sizes it, a Calibration costs it."""

from __future__ import annotations

import numpy as np

from model.engine import layout as c
from model.engine.dataplane import trace_mask
from model.engine.plant import Background, Plant
from model.engine.program import Forever, delay, serve
from model.engine.tables import constant, exponential_from_mean, from_wait
from model.platform.endpoints import endpoint_paths
from model.platform.fanout import relay, worker
from model.platform.replication import replay_poll
from model.spec import Calibration, Scenario
from model.spec.steps import Process

HOUSEKEEPING_PERIOD_S = 0.005
"""Timers and housekeeping of a kind of process are modelled as short tasks at random instants, this far apart."""


COMMIT_WAKE = "db.commit_wake"
"""A turn on the core and nothing more: what a backend does in it is part of its statement's measured cost."""


def is_internal(step: str) -> bool:
    """Whether a step is the model's own device, and none that a request visits."""
    return step == COMMIT_WAKE or step.startswith("housekeeping.")


def feed_plant(scenario: Scenario, calibration: Calibration) -> Plant:
    """Everything but the data: what runs where, and what it costs."""
    plant = Plant()
    _costs(plant, calibration)
    side = "backend" if scenario.platform.rig.layout == "together" else "side"
    plant.host("backend")
    if side != "backend":
        plant.host(side)
    _processes(plant, scenario, calibration, side)
    for endpoint, path in endpoint_paths(scenario.platform.postgres.standbys).items():
        plant.endpoint(endpoint.value, path)
    plant.backgrounds.append(Background(relay(scenario, plant)))
    for index in range(scenario.platform.workers.processes):
        plant.backgrounds.append(Background(worker(scenario), lane=index))
    poll = replay_poll(scenario.platform.api.replica_poll_interval_s)
    for lane in range(scenario.platform.api.processes):
        for standby in range(scenario.platform.postgres.standbys):
            plant.backgrounds.append(Background(poll, lane=lane, server=standby))
    return plant


def _costs(plant: Plant, calibration: Calibration) -> None:
    for name, cost in calibration.steps.items():
        per_item_s = cost.per_item_s.value if cost.per_item_s else 0.0
        plant.step(name, cost.base_s.value, per_item_s, cost.cv)
    for name, wait in calibration.waits.items():
        plant.wait(name, from_wait(wait))
    # Flushes are a station of their own; as steps they only give their residence times a row.
    plant.step("db.commit_flush", 0.0)
    plant.step("db.wal_flush", 0.0)
    stall = calibration.stalls.duration
    plant.wait("stall", from_wait(stall) if stall else constant(0.0))


def _processes(plant: Plant, scenario: Scenario, calibration: Calibration, side: str) -> None:
    platform = scenario.platform
    standbys = platform.postgres.standbys
    costs = {kind: (cost.wake_s.value, cost.poll_s.value) for kind, cost in calibration.processes.items()}

    def loop(group: str, process: Process, host: str, count: int = 1, selector: int = c.SEL_FIRST) -> None:
        wake_s, poll_s = costs[process]
        plant.loop(group, host=host, wake_s=wake_s, poll_s=poll_s, count=count, selector=selector, kind=process.value)

    loop("api", Process.API, "backend", platform.api.processes, c.SEL_LANE)
    loop("redis", Process.REDIS, "backend", platform.redis.shards, c.SEL_SHARD)
    loop("broker", Process.BROKER, "backend")
    loop("relay", Process.RELAY, "backend")
    loop("worker", Process.WORKER, side, platform.workers.processes, c.SEL_LANE)
    plant.multi("primary", host="backend", wake_s=costs[Process.PRIMARY][0], kind=Process.PRIMARY.value)
    if standbys:
        plant.multi("standby", host=side, wake_s=costs[Process.STANDBY][0], count=standbys, kind=Process.STANDBY.value)
        loop("wal_sender", Process.PRIMARY, "backend", standbys)
        loop("replay", Process.STANDBY, side, standbys)
        for standby in range(standbys):
            plant.group_commit(f"standby_wal{standby}", "db.commit_write")
        plant.alias("standby_wal", "standby_wal0", -1, c.SEL_SERVER)
        # A replica's own processes are chosen by the standby a job is about: server 0 is the first of them.
        plant.alias("wal_sender", "wal_sender", -1, c.SEL_SERVER)
        plant.alias("replay", "replay", -1, c.SEL_SERVER)
    # The primary and its standbys stand side by side, so that server -1, 0, 1, ... selects among them.
    plant.alias("db", "primary", 0, c.SEL_SERVER)
    plant.group_commit("wal", "db.commit_write", leader=True)
    plant.step(COMMIT_WAKE, 0.0)
    servers = 1 + standbys
    plant.pool("pool", platform.api.database_pool, platform.api.processes * servers, c.SEL_LANE_SERVER)
    plant.queue("outbox")
    plant.queue("fanout")
    _housekeeping(plant, calibration, side)


def _housekeeping(plant: Plant, calibration: Calibration, side: str) -> None:
    """CPU that the processes use without any request, as one small task per kind and period."""
    plant.wait("housekeeping", exponential_from_mean(HOUSEKEEPING_PERIOD_S * 1e9))
    on_side = {Process.STANDBY, Process.WORKER}
    for process, share in calibration.background_cpu_share.items():
        if share <= 0:
            continue
        host = side if process in on_side else "backend"
        name = f"housekeeping.{process.value}"
        plant.step(name, share * HOUSEKEEPING_PERIOD_S, cv=1.0)
        plant.multi(name, host=host, wake_s=0.0, kind=process.value)
        plant.backgrounds.append(Background((Forever((delay("housekeeping"), serve(name, on=name))),)))


def settings(scenario: Scenario) -> dict[int, int]:
    """The integer settings that the kernel and the effects read."""
    from model.policy import ROUTING_CODES

    policies, platform = scenario.policies, scenario.platform
    return {
        c.SET_TIMEOUT_NS: int(np.rint(platform.api.request_timeout_s * 1e9)),
        c.SET_LANES: platform.api.processes,
        c.SET_SERVERS: 1 + platform.postgres.standbys,
        c.SET_TIMELINE_CAP: policies.timeline_cap,
        c.SET_PAGE: policies.page_size,
        c.SET_ROUTING: ROUTING_CODES[policies.replica_routing],
        c.SET_STANDBYS: platform.postgres.standbys,
        c.SET_TRACE_MASK: trace_mask(scenario.workload.rate_per_s * scenario.duration_s),
        c.SET_HORIZON_NS: int(np.rint(scenario.duration_s * 1e9)),
    }
