"""From paths to the rows of operations that the kernel runs, and which stations they want something of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.engine import layout as c
from model.engine.program import (
    LONGEST_S,
    Serve,
    Delay,
    Flush,
    Acquire,
    Release,
    Effect,
    When,
    Scatter,
    Spawn,
    While,
    Forever,
    Put,
    Get,
    UntilReplayDelay,
    Fail,
    Lookup,
    Store,
    Forget,
    Admit,
    Switch,
    Coalesce,
    Attempt,
    Part,
    Path,
    serve,
    delay,
)
from model.engine.state import IntArray
from model.spec import InputError


@dataclass(frozen=True)
class Group:
    """Stations that share a role: the first one's row, how one is selected, how many there are."""

    first: int
    selector: int
    size: int
    led: bool = False
    """A group commit whose leader releases the others."""
    is_alias: bool = False
    """Another name for stations of other groups: `size` is that of the first of them."""


@dataclass(frozen=True)
class Use:
    """Where a path wants something of a group's stations."""

    row: int
    operation: int
    name: str
    group: Group
    spawned: int
    """Where it stands in a spawned body, how many jobs are spawned; their ordinals are their servers."""


@dataclass(frozen=True)
class Keyed:
    """A cache, limiter or coalescer: its row, and the column of a job that holds the key."""

    row: int
    key_column: int


MOST_SPAWNED = 1_000
LONGEST_BACKOFF_S = 1e8
OUTCOMES = {"missing": c.OUTCOME_MISSING, "timeout": c.OUTCOME_TIMEOUT, "rejected": c.OUTCOME_REJECTED}


@dataclass
class Compiler:
    """Turns paths into program rows; the dictionaries say which row a name stands for."""

    cost_rows: dict[str, int]
    tables: dict[str, int]
    groups: dict[str, Group]
    queues: dict[str, int]
    caches: dict[str, Keyed] = field(default_factory=dict)
    limiters: dict[str, Keyed] = field(default_factory=dict)
    coalescers: dict[str, Keyed] = field(default_factory=dict)
    switches: dict[str, int] = field(default_factory=dict)
    rows: list[list[int]] = field(default_factory=list)

    def request(self, path: Path) -> int:
        """Compile an endpoint's path; returns its first operation. The row before it is the arrival."""
        return self._path(path, arrival=1, last=c.OP_END)

    def background(self, path: Path) -> int:
        """Compile a job that no client waits for."""
        return self._path(path, arrival=0, last=c.OP_EXIT)

    def program(self) -> IntArray:
        """The rows, int64 [operations, PROGRAM_COLUMNS]."""
        if len(self.rows) > c.MOST_OPERATIONS:
            raise InputError(f"the paths have {len(self.rows)} operations; at most {c.MOST_OPERATIONS} are possible")
        return np.array(self.rows, dtype=np.int64)

    def describe(self, row: int) -> str:
        """What the operation in a row is, for people."""
        return self._labels.get(row, "between its steps")

    @property
    def labels(self) -> dict[int, str]:
        """What a job does in the rows at which it may stay for a while."""
        return dict(self._labels)

    def uses_of(self, entry: int) -> list[Use]:
        """What the path that begins at `entry` wants of stations."""
        return [use for use in self._uses if entry <= use.row < self._ends[entry]]

    def _path(self, path: Path, arrival: int, last: int) -> int:
        self._emit(c.OP_START, arrival)
        entry = len(self.rows)
        self._parts(path)
        self._end(last)
        self._ends[entry] = len(self.rows)
        if not any(row[0] in (c.OP_SERVE, c.OP_DELAY, c.OP_FLUSH, c.OP_GET) for row in self.rows[entry:]):
            raise InputError("a path must take time somewhere: it has no serve, delay, flush or get")
        return entry

    def _end(self, last: int) -> None:
        """The last operation of a path or of a body beside it; who fails in it goes there."""
        for jump in self._failing:
            self.rows[jump][1] = len(self.rows)
        self._failing.clear()
        self._emit(last)

    def _emit(self, code: int, a: int = 0, b: int = 0, cost: int = 0, d: int = 0) -> int:
        self.rows.append([code, a, b, cost, d])
        return len(self.rows) - 1

    def _parts(self, parts: Path) -> None:
        for part in parts:
            self._part(part)

    def _part(self, part: Part) -> None:  # noqa: C901, PLR0912, PLR0915  one line per kind of part
        match part:
            case Serve(step, on):
                group = self._use(c.OP_SERVE, on)
                self._labels[len(self.rows)] = step
                self._emit(c.OP_SERVE, group.first, group.selector, self._row(self.cost_rows, step, "step"), group.size)
            case Delay(wait, fixed_ns):
                if fixed_ns < 0:
                    raise InputError(f"a delay's fixed time is {fixed_ns / 1e9:g} s; it must not be negative")
                self._labels[len(self.rows)] = wait or "delay"
                self._emit(c.OP_DELAY, self._row(self.tables, wait, "wait") if wait else -1, fixed_ns)
            case Flush():
                self._flush(part)
            case Acquire(pool, most_waiting):
                self._labels[len(self.rows)] = pool
                room = 0 if most_waiting is None else most_waiting + 1
                group = self._use(c.OP_ACQUIRE, pool)
                self._emit(c.OP_ACQUIRE, group.first, group.selector, room, group.size)
            case Release(pool):
                group = self._use(c.OP_RELEASE, pool)
                self._emit(c.OP_RELEASE, group.first, group.selector, 0, group.size)
            case Effect(which, a, b):
                self._emit(c.OP_EFFECT, which, a, b)
            case When(then, otherwise):
                branch = self._emit(c.OP_BRANCH)
                self._parts(then)
                if otherwise:
                    jump = self._emit(c.OP_JUMP)
                    self.rows[branch][1] = len(self.rows)
                    self._parts(otherwise)
                    self.rows[jump][1] = len(self.rows)
                else:
                    self.rows[branch][1] = len(self.rows)
            case Scatter(spread, body):
                self._beside(body, c.OP_JOIN)
                self._emit(c.OP_SCATTER, spread, self._beside_entry)
            case Spawn(body, count):
                if not 1 <= count <= MOST_SPAWNED:
                    raise InputError(f"spawn: count is {count}; it must be from 1 to {MOST_SPAWNED}")
                around, self._spawned = self._spawned, count
                self._beside(body, c.OP_EXIT)
                self._spawned = around
                self._emit(c.OP_SPAWN, self._beside_entry, count)
            case While(condition, body):
                top = len(self.rows)
                self._part(condition)
                branch = self._emit(c.OP_BRANCH)
                self._parts(body)
                self._emit(c.OP_JUMP, top, 1)
                self.rows[branch][1] = len(self.rows)
            case Forever(body):
                top = len(self.rows)
                self._parts(body)
                self._emit(c.OP_JUMP, top, 1)
            case Put(queue):
                self._emit(c.OP_PUT, self._row(self.queues, queue, "queue"))
            case Get(queue):
                self._emit(c.OP_GET, self._row(self.queues, queue, "queue"))
            case UntilReplayDelay():
                self._emit(c.OP_UNTIL_STAMP)
            case Fail(outcome):
                self._emit(c.OP_FAIL, self._row(OUTCOMES, outcome, "outcome"))
                self._failing.append(self._emit(c.OP_JUMP))
            case Lookup(cache):
                self._keyed(c.OP_LOOKUP, self.caches, cache, "cache")
            case Store(cache):
                self._keyed(c.OP_STORE, self.caches, cache, "cache")
            case Forget(cache):
                self._keyed(c.OP_FORGET, self.caches, cache, "cache")
            case Admit(limiter):
                self._keyed(c.OP_ADMIT, self.limiters, limiter, "limiter")
            case Switch(name):
                self._emit(c.OP_SWITCH, self._row(self.switches, name, "switch"))
            case Coalesce(coalescer, body):
                opening = len(self.rows)
                self._labels[opening] = coalescer
                self._keyed(c.OP_COALESCE, self.coalescers, coalescer, "coalescer")
                outer, self._failing = self._failing, []
                self._parts(body)
                for jump in self._failing:  # who fails brings that back to those who wait
                    self.rows[jump][1] = len(self.rows)
                self._failing = outer
                if any(row[0] == c.OP_GET for row in self.rows[opening:]):
                    raise InputError(f"coalescer {coalescer!r}: its body takes a message, whose key would be another")
                self.rows[opening][3] = len(self.rows)
                self._keyed(c.OP_LAND, self.coalescers, coalescer, "coalescer")
            case Attempt():
                self._attempt(part)

    def _keyed(self, code: int, rows: dict[str, Keyed], name: str, kind: str) -> None:
        if name not in rows:
            raise InputError(f"{kind} {name!r} is not defined; defined: {', '.join(sorted(rows)) or 'none'}")
        self._emit(code, rows[name].row, rows[name].key_column)

    def _attempt(self, part: Attempt) -> None:
        for what, value in (("timeout_s", part.timeout_s), ("backoff_s", part.backoff_s), ("retries", part.retries)):
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"an attempt's {what} is {value}; it must be finite and not negative")
            if value > LONGEST_S:
                raise InputError(f"an attempt's {what} is {value:g}; it must be at most {LONGEST_S:g}")
        if part.backoff_s * 2.0 ** min(part.retries, 1000) > LONGEST_BACKOFF_S:
            raise InputError(
                f"an attempt's backoff_s is {part.backoff_s} and its retries {part.retries}; doubled that often it must"
                f" not be above {LONGEST_BACKOFF_S:g} s"
            )
        self._beside(part.body, c.OP_RETURN)
        entry = self._beside_entry
        self._emit(c.OP_START)  # who waits before a retry stands here
        self._labels[len(self.rows)] = "attempt"
        top = self._emit(c.OP_ATTEMPT, entry, round(part.timeout_s * 1e9))
        self._emit(c.OP_RETRY, top, part.retries, round(part.backoff_s * 1e9))

    def _flush(self, part: Flush) -> None:
        group, cost = self._use(c.OP_FLUSH, part.on), self._row(self.cost_rows, part.step, "step")
        if bool(part.turn) != group.led:
            needs, has = ("needs", "has a leader") if group.led else ("must not have", "has no leader")
            raise InputError(f"flush {part.step!r} {needs} a turn: the group commit {part.on!r} {has}")
        if part.turn is None:
            self._labels[len(self.rows)] = part.step
            self._emit(c.OP_FLUSH, group.first, group.selector, cost, 1)
            return
        turn = serve(part.turn.step, on=part.turn.on)
        # Who waited and then leads a flush has a turn before it: the row in front of the flush, which others jump over.
        jump = self._emit(c.OP_JUMP)
        self._part(turn)
        self.rows[jump][1] = len(self.rows)
        self._labels[len(self.rows)] = part.step
        row = self._emit(c.OP_FLUSH, group.first, group.selector, cost)
        if part.turn.then_wait:
            self._part(turn)
            self._part(delay(part.turn.then_wait))
        # Those that are flushed for go on here.
        self.rows[row][4] = len(self.rows) - row
        self._part(turn)
        self._labels[len(self.rows)] = part.step
        self._emit(c.OP_UNLOCK, group.first, 0, cost)

    def _beside(self, body: Path, last: int) -> None:
        """Compile a body that the main line jumps over."""
        jump = self._emit(c.OP_JUMP)
        self._beside_entry = len(self.rows)
        entry = self._beside_entry
        outer, self._failing = self._failing, []
        self._parts(body)
        self._end(last)
        self._failing = outer
        self._beside_entry = entry
        self.rows[jump][1] = len(self.rows)

    def _use(self, operation: int, name: str) -> Group:
        group = self._group(name)
        self._uses.append(Use(len(self.rows), operation, name, group, self._spawned))
        return group

    def _group(self, name: str) -> Group:
        if name not in self.groups:
            raise InputError(f"station {name!r} is not defined; defined: {', '.join(sorted(self.groups))}")
        return self.groups[name]

    @staticmethod
    def _row(rows: dict[str, int], name: str, kind: str) -> int:
        if name not in rows:
            raise InputError(f"{kind} {name!r} is not defined; defined: {', '.join(sorted(rows))}")
        return rows[name]

    _beside_entry: int = 0
    _spawned: int = 0
    _uses: list[Use] = field(default_factory=list)
    _ends: dict[int, int] = field(default_factory=dict)
    _failing: list[int] = field(default_factory=list)
    _labels: dict[int, str] = field(default_factory=dict)
