"""Which stations the jobs of a path can come to: checked before anything runs, since compiled code does not look.

A selector turns a job's lane, shard or server into an offset within a group. A job whose offset lies beyond the group
would be served by a neighbour's station, or by memory that is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.engine import layout as c
from model.engine.compiler import Group, Use
from model.spec import InputError

OPERATION_KINDS = {
    c.OP_SERVE: (c.K_FIFO, c.K_LOOP, c.K_MULTI),
    c.OP_ACQUIRE: (c.K_POOL,),
    c.OP_RELEASE: (c.K_POOL,),
    c.OP_FLUSH: (c.K_BATCH,),
}
_WHAT = {c.SEL_LANE: "lane", c.SEL_SHARD: "shard", c.SEL_SERVER: "server", c.SEL_LANE_SERVER: "lane and server"}


@dataclass(frozen=True)
class Reach:
    """How far the jobs of a path go: lanes 0 .. `lanes` - 1, shards 0 .. `shards` - 1, servers -1 .. `servers` - 1."""

    lanes: int
    shards: int
    servers: int
    database_servers: int
    """The setting SET_SERVERS: how many pools one lane has."""

    def most(self, group: Group, servers: int) -> int:
        """The largest offset within the group."""
        match group.selector:
            case c.SEL_LANE:
                return self.lanes - 1
            case c.SEL_SHARD:
                return self.shards - 1
            case c.SEL_SERVER:
                return servers
            case c.SEL_LANE_SERVER:
                return (self.lanes - 1) * self.database_servers + servers
            case c.SEL_KEY:
                return group.size - 1
        return 0


def check_reach(uses: Iterable[Use], kinds: list[int], reach: Reach) -> None:
    """Raise InputError where a job may come to a station that its group does not have, or that cannot do what the
    path wants of it. `kinds` are those of all stations."""
    for use in uses:
        group = use.group
        most = reach.most(group, max(reach.servers, use.spawned))
        if not group.is_alias and most >= group.size:
            raise InputError(
                f"group {use.name!r} has {group.size} stations, chosen by {_WHAT[group.selector]}; a job may come for "
                f"number {most}, counted from 0"
            )
        # Another name may begin before the first station of its group, for a server (-1) that its jobs never have.
        if group.first + most >= len(kinds) or group.first + most < 0:
            raise InputError(f"station {use.name!r} has no number {most}")
        if kinds[max(group.first + most, 0)] not in OPERATION_KINDS[use.operation]:
            raise InputError(f"station {use.name!r} is of a kind that a path cannot use in this way")
