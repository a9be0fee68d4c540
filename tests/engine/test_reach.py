"""A job that could come to a station that is not there is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model.engine import layout as c
from model.engine.dataplane import DataPlane
from model.engine.plant import Background, Plant
from model.engine.program import Acquire, Forever, Path, Release, Spawn, delay, flush, serve
from model.engine.tables import constant
from model.spec import InputError

NS = 1e-9
WAIT: Path = (delay(fixed_s=NS),)


def plant_of(declare: Callable[[Plant], None], path: Path = WAIT) -> Plant:
    plant = Plant()
    plant.step("work", NS)
    plant.wait("flush", constant(1.0))
    declare(plant)
    plant.endpoints.append(path)
    return plant


def worker(lane: int, server: int = -1) -> Background:
    return Background((Forever((delay(fixed_s=NS), serve("work", on="workers"))),), lane=lane, server=server)


def by_lane(count: int, lane: int) -> Callable[[Plant], None]:
    def declare(plant: Plant) -> None:
        plant.fifo("workers", count, selector=c.SEL_LANE)
        plant.backgrounds.append(worker(lane))

    return declare


def test_a_background_job_beyond_its_group() -> None:
    DataPlane(plant_of(by_lane(2, 1)), 1)
    with pytest.raises(InputError, match="group 'workers' has 2 stations, chosen by lane; a job may come for number 5"):
        DataPlane(plant_of(by_lane(2, 5)), 1)


def test_lanes_of_requests_and_shards() -> None:
    declare = lambda plant: plant.fifo("api", 2, selector=c.SEL_LANE)  # noqa: E731
    DataPlane(plant_of(declare, (serve("work", on="api"),)), 1, settings={c.SET_LANES: 2})
    with pytest.raises(InputError, match="chosen by lane; a job may come for number 2"):
        DataPlane(plant_of(declare, (serve("work", on="api"),)), 1, settings={c.SET_LANES: 3})
    shards = lambda plant: plant.fifo("redis", 3, selector=c.SEL_SHARD)  # noqa: E731
    DataPlane(plant_of(shards, (serve("work", on="redis"),)), 1, shards=3)
    with pytest.raises(InputError, match="chosen by shard; a job may come for number 3"):
        DataPlane(plant_of(shards, (serve("work", on="redis"),)), 1, shards=4)


def test_spawned_jobs_are_servers() -> None:
    declare = lambda plant: plant.fifo("db", 3, selector=c.SEL_SERVER)  # noqa: E731

    def path(count: int) -> Path:
        return (delay(fixed_s=NS), Spawn((serve("work", on="db"),), count))

    DataPlane(plant_of(declare, path(2)), 1)
    with pytest.raises(InputError, match="chosen by server; a job may come for number 3"):
        DataPlane(plant_of(declare, path(3)), 1)


def test_a_job_that_is_started() -> None:
    def declare(plant: Plant) -> None:
        plant.fifo("workers", 2, selector=c.SEL_LANE)
        plant.job("repair", (serve("work", on="workers"),))

    plane = DataPlane(plant_of(declare), 1)
    plane.start("repair", lane=1)
    with pytest.raises(InputError, match="may come for number 2"):
        plane.start("repair", lane=2)
    with pytest.raises(InputError, match="a job's lane is -1 and its server -1"):
        plane.start("repair", lane=-1)


@pytest.mark.parametrize(
    "path",
    [
        (serve("work", on="tokens"),),
        (delay(fixed_s=NS), Acquire("station"), Release("station")),
        (flush("work", on="station"),),
    ],
)
def test_a_station_of_another_kind(path: Path) -> None:
    def declare(plant: Plant) -> None:
        plant.fifo("station")
        plant.pool("tokens", 1)

    with pytest.raises(InputError, match="is of a kind that a path cannot use in this way"):
        DataPlane(plant_of(declare, path), 1)
