"""Streaming replication: each commit's WAL is sent, shipped, flushed and applied by one process per standby.

A standby applies only what it has flushed; one process receives and flushes whatever came meanwhile at once.

Replay on a standby is a single process, so it is a queue: a paused or delayed standby builds a backlog and catches up
at the rate its process gets of the host.
"""

from __future__ import annotations

from model.engine import effects as e
from model.engine.program import Effect, Forever, Path, Spawn, Turn, UntilReplayDelay, delay, flush, serve, spawn

COMMIT_FLUSH = flush("db.commit_flush", on="wal", turn=Turn("db.commit_wake", "primary", then_wait="db.commit_sync"))
"""The backend that flushes for the others holds the write lock until it runs again. `fdatasync` sleeps twice, until the
data are written and until they are durable: on a busy core its two turns are longer than the disk takes."""


def replicate(standbys: int) -> tuple[Spawn, ...]:
    """What a commit starts: nobody waits for it (synchronous_commit = local)."""
    if standbys == 0:
        return ()
    path: Path = (
        serve("db.wal_send", on="wal_sender"),
        delay("db.wal_ship"),
        flush("db.wal_flush", on="standby_wal"),
        delay("db.commit_sync"),
        UntilReplayDelay(),
        serve("db.wal_apply", on="replay"),
        Effect(e.E_REPLAYED),
    )
    return (spawn(path, standbys),)


def replay_poll(interval_s: float) -> Path:
    """An API process asks one standby, again and again, how far it has replayed."""
    return (
        Forever((
            delay(fixed_s=interval_s),
            serve("api.replay_poll", on="api"),
            serve("db.replay_poll", on="db"),
            Effect(e.E_LEARN),
        )),
    )  # fmt: skip
