"""The Redis shards: placement by the shared policy, one pool of connections per shard, pipelines without ceremony.

Connections are redis-py's, parsed by hiredis; a pipeline's commands go out in one write and its replies are read by the
parser directly. That is a quarter of the CPU of redis-py's own pipelines, and a scatter needs no task per shard: all
shards get their commands first, then the replies are collected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import hiredis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import NoScriptError, RedisError

from model.policy.sharding import key_hash, ring_points, shard_of
from real_backend.telemetry import Trace

PLACEMENTS_CACHED = 262_144
"""Keys whose shard is remembered: hashing in Python takes microseconds, looking up tens of nanoseconds."""


def pack(command: Sequence[str | int]) -> bytes:
    """One command in Redis' protocol."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class ShardConnection(Connection):
    """A redis-py connection that sends packed commands and reads a known number of replies."""

    def transmit(self, commands: bytes) -> None:
        """Hand commands to the transport; they leave without waiting."""
        self._writer.write(commands)  # type: ignore[union-attr]

    async def collect(self, replies: int) -> list[Any]:
        """The next `replies` replies; an error reply is a RedisError in its place. Interrupted, it disconnects."""
        read = self._parser.read_response  # type: ignore[attr-defined]
        try:
            return [await read() for _ in range(replies)]
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    @property
    def usable(self) -> bool:
        """False once the server has closed it."""
        return self.is_connected and not self._reader.at_eof()  # type: ignore[union-attr]


class Script:
    """A Lua script on disk, called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("real_backend.stores").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Pipeline(NamedTuple):
    """Packed commands for one shard, how many replies they have, and how many items the step's cost counts."""

    commands: bytes
    replies: int
    items: int


class Shards:
    """All shards. `urls` in the order of the policy's shard numbers."""

    def __init__(self, urls: Sequence[str], virtual_nodes: int) -> None:
        self.count = len(urls)
        self.names = [f"redis{shard}" for shard in range(len(urls))]
        self._scripts: tuple[Script, ...] = ()
        self._pools = [
            ConnectionPool.from_url(url, connection_class=ShardConnection, protocol=2, decode_responses=True)
            for url in urls
        ]
        self._idle: list[list[ShardConnection]] = [[] for _ in urls]
        self._opened = [0] * len(urls)
        points, owners = ring_points(len(urls), virtual_nodes)
        ring = points.tolist(), owners.tolist()
        self.shard = lru_cache(PLACEMENTS_CACHED)(lambda kind, ident: int(shard_of(key_hash(kind, ident), *ring)))
        """`shard(kind, ident)`: the number of the shard that holds a key."""

    async def open(self, connections: int, scripts: Iterable[Script] = ()) -> None:
        """Make `connections` to each shard ahead of need, and load the scripts."""
        self._scripts = tuple(scripts)
        for shard in range(self.count):
            warm = [await self._acquire(shard) for _ in range(connections)]
            self._idle[shard].extend(warm)
            await self._load_scripts(shard)

    async def close(self) -> None:
        for idle in self._idle:
            while idle:
                await idle.pop().disconnect(nowait=True)

    def pool_sizes(self) -> list[tuple[int, int]]:
        """Per shard: connections open, and how many of them are idle."""
        return [(opened, len(idle)) for opened, idle in zip(self._opened, self._idle, strict=True)]

    def group(self, kind: int, idents: Iterable[int]) -> dict[int, list[int]]:
        """The idents by shard, in their order."""
        groups: dict[int, list[int]] = {}
        shard = self.shard
        for ident in idents:
            groups.setdefault(shard(kind, ident), []).append(ident)
        return groups

    async def call(
        self,
        shard: int,
        commands: bytes,
        replies: int,
        trace: Trace | None = None,
        ending: int = 0,
        ending_items: int = 0,
    ) -> list[Any]:
        """One pipeline on one shard; the trace's step `ending` ends as the commands leave.

        Raises RedisError where any of its replies is an error (the others took effect).
        """
        connection = await self._acquire(shard)
        try:
            connection.transmit(commands)
            if trace is not None:
                trace.mark(ending, ending_items)
            result = await connection.collect(replies)
        finally:
            self._release(shard, connection)
        for reply in result:
            if isinstance(reply, RedisError):
                raise reply
        return result

    async def run(
        self,
        shard: int,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[str | int],
        trace: Trace,
        ending: int,
        ending_items: int = 0,
    ) -> Any:
        """One call of a script, as `call`; it is loaded again where a restarted shard has forgotten it."""
        command = pack(("EVALSHA", script.sha, len(keys), *keys, *arguments))
        try:
            return (await self.call(shard, command, 1, trace, ending, ending_items))[0]
        except NoScriptError:
            await self._load_scripts(shard)
            return (await self.call(shard, command, 1))[0]

    async def scatter(
        self, pipelines: Mapping[int, Pipeline], trace: Trace, ending: int, ending_items: int, step: int
    ) -> dict[int, list[Any]]:
        """Pipelines on several shards at once; replies by shard.

        The trace's step `ending` ends as the commands leave; then each shard is one visit of `step`.
        Raises RedisError where any reply is an error.
        """
        under_way: dict[int, ShardConnection] = {}
        results: dict[int, list[Any]] = {}
        try:
            for shard in pipelines:
                under_way[shard] = await self._acquire(shard)
            for shard, pipeline in pipelines.items():
                under_way[shard].transmit(pipeline.commands)
            trace.mark(ending, ending_items)
            for shard, pipeline in pipelines.items():
                results[shard] = await under_way[shard].collect(pipeline.replies)
                trace.visit(step, pipeline.items, self.names[shard])
            trace.resume()
        except BaseException:
            for shard, connection in under_way.items():
                if shard not in results:
                    await connection.disconnect(nowait=True)
            raise
        finally:
            for shard, connection in under_way.items():
                self._release(shard, connection)
        for shard, replies_of_shard in results.items():
            for reply in replies_of_shard:
                if isinstance(reply, NoScriptError):
                    await self._load_scripts(shard)
                    results[shard] = await self.call(shard, pipelines[shard].commands, pipelines[shard].replies)
                    break
                if isinstance(reply, RedisError):
                    raise reply
        return results

    async def _load_scripts(self, shard: int) -> None:
        for script in self._scripts:
            await self.call(shard, pack(("SCRIPT", "LOAD", script.text)), 1)

    async def _acquire(self, shard: int) -> ShardConnection:
        idle = self._idle[shard]
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            self._opened[shard] -= 1
            await connection.disconnect(nowait=True)
        made: ShardConnection = self._pools[shard].make_connection()  # type: ignore[no-untyped-call]
        await made.connect()  # type: ignore[no-untyped-call]
        self._opened[shard] += 1
        return made

    def _release(self, shard: int, connection: ShardConnection) -> None:
        if connection.is_connected:
            self._idle[shard].append(connection)
        else:
            self._opened[shard] -= 1
