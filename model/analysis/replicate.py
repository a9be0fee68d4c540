"""Independent replications of a simulation: every figure with an interval.

Replication k is the scenario under a seed that depends on nothing but the scenario's own and k, so that it can be
computed alone (``feedtwin simulate --seed``) and on any number of threads. Replication 0 has the scenario's own seed.
Each draws its own population, so an interval is about the scenario, not about one population that it may produce.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.analysis.intervals import CONFIDENCE, Interval, Sections, check_confidence, mean_interval
from model.analysis.precision import SUBJECTS, Precision, StoppingRule
from model.analysis.warmup import Warmup, common_length_s, scored_from, warmup_of
from model.platform import simulate
from model.platform.memory import require_memory
from model.runs import Histogram, Run
from model.runs.run import Validity
from model.spec import Calibration, InputError, Scenario

MOST_REPLICATIONS = 1_000
PILOTS = 10
"""Replications, the first ones, whose warm-ups decide that of all."""
WarmupRule = Literal["mser-5", "scenario"]


def replication_seed(seed: int, number: int) -> int:
    """The seed of replication `number` (from 0) of a scenario with `seed`; number 0 has `seed` itself."""
    if number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/replication/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True, eq=False)
class Replication:
    """What is kept of one replication."""

    number: int
    seed: int
    digest: str
    """Of its Run: that of ``simulate(scenario with this seed)``."""
    warmup: Warmup
    """Its own end of the warm-up by MSER-5, and the length that is left out, the same in all."""
    validity: Validity
    rates: Mapping[str, float]
    """``offered_per_s``, ``achieved_per_s``, ``timeline_hit_ratio`` where counted, ``<label>_utilisation``."""
    failed: int
    _buckets: Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], int]]

    @classmethod
    def of(cls, number: int, run: Run, warmup: Warmup) -> Replication:
        scored = scored_from(run, warmup)
        histograms = {endpoint.value: scored.latency(endpoint) for endpoint in run.endpoints}
        histograms |= {"delivery": scored.lag("delivery"), "replica": scored.lag("replica")}
        rates = {"offered_per_s": scored.offered_per_s, "achieved_per_s": scored.achieved_per_s}
        if run.hit_ratio is not None:
            rates["timeline_hit_ratio"] = run.hit_ratio
        rates |= {f"{label}_utilisation": share for label, share in scored.utilisation.items()}
        buckets = {name: _packed(histogram) for name, histogram in histograms.items() if histogram.n}
        return cls(number, run.scenario.seed, run.digest, warmup, run.validity, rates, run.n_failed, buckets)

    def histogram(self, subject: str) -> Histogram:
        """Latencies of an endpoint, or lags (``delivery``, ``replica``), of the scored part; empty if none was seen."""
        if subject not in self._buckets:
            return Histogram()
        return Histogram.from_buckets(*self._buckets[subject])


@dataclass(frozen=True, eq=False)
class Replications:
    """Some replications of one scenario, in order of their numbers."""

    scenario: Scenario
    confidence: float
    warmup_rule: WarmupRule
    members: Sequence[Replication]
    precisions: Sequence[Precision] = ()
    decisive: Sequence[Precision] = ()
    """Of `precisions`: those that ended the sequence, whose intervals are the ones asked for (`Precision.at_stop`)."""
    partial: str = ""
    """Why it ended before the precision was reached; empty where nothing is missing."""

    @property
    def validity(self) -> Validity:
        """Valid if all are; else the reasons of the first that is not, and how many are not."""
        bad = [member for member in self.members if not member.validity.valid]
        if not bad:
            return Validity()
        first = bad[0]
        counted = f"{len(bad)} of {len(self.members)} replications are not valid; number {first.number}:"
        return Validity(
            valid=False,
            reasons=tuple(f"{counted} {reason}" for reason in first.validity.reasons),
            stationary=all(member.validity.stationary for member in bad),
        )

    @cached_property
    def subjects(self) -> list[str]:
        """What was seen: endpoints, ``delivery``, ``replica``."""
        return [subject for subject in (*SUBJECTS, "replica") if self._pooled(subject).n]

    def interval(self, subject: str, q: float | None = None, confidence: float | None = None) -> Interval | None:
        """The interval of the mean, or of the q-quantile, in s, of an endpoint's latencies or of lags.

        None where it says nothing: fewer than `MIN_TAIL` observations beyond the quantile in all replications.
        """
        sections = Sections(q)
        for histogram in self._histograms(subject):
            sections.add(histogram)
        interval = sections.interval(confidence or self.confidence)
        for precision in self.decisive if interval else ():
            figure = precision.figure
            if (figure.subject, figure.q, precision.confidence) == (subject, q, confidence or self.confidence):
                interval = precision.at_stop(interval)  # type: ignore[arg-type]  # looped over only where there is one
        return interval

    def rate(self, name: str) -> Interval | None:
        """The interval of one of `Replication.rates`; None where some replication does not have it."""
        values = [member.rates.get(name) for member in self.members]
        if any(value is None for value in values):
            return None
        return mean_interval(np.array(values, np.float64), self.confidence)

    @property
    def rates(self) -> dict[str, Interval]:
        """The intervals of all rates that every replication has."""
        intervals = {name: self.rate(name) for name in (self.members[0].rates if self.members else ())}
        return {name: interval for name, interval in intervals.items() if interval is not None}

    @property
    def reached(self) -> list[tuple[Precision, Interval | None]]:
        """Each precision that was asked for, with the interval at its own level."""
        return [(each, self.interval(each.figure.subject, each.figure.q, each.confidence)) for each in self.precisions]

    def values(self, subject: str, q: float | None = None) -> npt.NDArray[np.float64]:
        """The figure of every replication float[n], NaN where it saw nothing."""
        histograms = self._histograms(subject)
        return np.array([each.mean_s if q is None else each.quantile(q) for each in histograms])

    def _histograms(self, subject: str) -> Iterator[Histogram]:
        return (member.histogram(subject) for member in self.members)

    def _pooled(self, subject: str) -> Histogram:
        return sum(self._histograms(subject), Histogram())


def replicate(
    scenario: Scenario,
    calibration: Calibration | None = None,
    *,
    replications: int | None = None,
    precisions: Sequence[Precision] = (),
    max_replications: int = MOST_REPLICATIONS,
    max_seconds: float = math.inf,
    threads: int = 1,
    confidence: float = CONFIDENCE,
    warmup: WarmupRule = "mser-5",
    on_replication: Callable[[int], None] | None = None,
) -> Replications:
    """Independent replications of `scenario`: as many as stated, or as `precisions` need, or both (the more counts).

    Without `precisions` there are `replications` (default 10). With them, replications are added one by one until every
    precision has been reached, or until `max_replications` or `max_seconds` (of this call) is: the result is then
    `partial`. What is decided after a replication depends on those before it only, so the number of `threads` changes
    nothing but the time. `warmup` is found by MSER-5 in each of the first `PILOTS` replications, and the longest is
    taken for all (`model.analysis.warmup.common_length_s`); or it is what the scenario states, as also where the
    scenario has faults or a changing load, whose course is what it is about. `on_replication` is told how many are
    done.
    Raises InputError for counts that make no sense and for what `simulate` raises it.
    """
    wanted = _check_counts(replications, precisions, max_replications, max_seconds, threads, confidence)
    require_memory(scenario, at_once=threads)
    if not scenario.is_steady:
        warmup = "scenario"
    sequence = _Sequence(precisions)
    collected = _Collected(sequence, PILOTS if precisions else min(PILOTS, wanted))
    partial = ""
    work = _Work(scenario, calibration, warmup, time.monotonic() + max_seconds)
    for made in work.in_order(max_replications if precisions else wanted, threads):
        if made is None:
            partial = f"the time limit of {max_seconds:g} s"
            break
        run = collected.take(*made)
        if on_replication is not None:
            on_replication(collected.count)
        if precisions and not run.validity.valid:
            break  # more of them would not make it valid
        if collected.enough and collected.count >= wanted:
            break
    else:
        if precisions:
            partial = f"the limit of {max_replications} replications"
    collected.settle()
    done = Replications(
        scenario, confidence, warmup, tuple(collected.members), tuple(precisions), tuple(sequence.decisive())
    )
    return replace(done, partial=_explained(partial, sequence, done, wanted)) if partial else done


class _Collected:
    """Replications in order; the first few are held back until they have told how long the warm-up is."""

    def __init__(self, sequence: _Sequence, pilots: int) -> None:
        self.members: list[Replication] = []
        self.enough = False
        self._sequence = sequence
        self._pilots = pilots
        self._held: list[tuple[Run, Warmup]] = []
        self._length_s: float | None = None

    @property
    def count(self) -> int:
        """How many there are, those held back included."""
        return len(self.members) + len(self._held)

    def take(self, run: Run, own: Warmup) -> Run:
        """The next replication, with the warm-up that it has by itself."""
        self._held.append((run, own))
        if self._length_s is not None or len(self._held) == self._pilots:
            self.settle()
        return run

    def settle(self) -> None:
        """Score what is held back."""
        if self._length_s is None and self._held:
            self._length_s = common_length_s([own for _, own in self._held])
        for run, own in self._held:
            assert self._length_s is not None
            member = Replication.of(len(self.members), run, replace(own, length_s=self._length_s))
            self.members.append(member)
            self.enough = self._sequence.is_enough(member)
        self._held.clear()


class _Sequence:
    """The stopping rules of all precisions, asked after every replication."""

    def __init__(self, precisions: Sequence[Precision]) -> None:
        self._rules = [(StoppingRule(precision), Sections(precision.figure.q)) for precision in precisions]

    def is_enough(self, member: Replication) -> bool:
        """Take the next replication; whether every precision has been reached by now."""
        for rule, sections in self._rules:
            sections.add(member.histogram(rule.precision.figure.subject))
            if interval := sections.interval(rule.precision.confidence):
                rule.ask(interval)
        return all(rule.stopped for rule, _ in self._rules)

    def missing(self) -> list[Precision]:
        """Those not reached so far."""
        return [rule.precision for rule, _ in self._rules if rule.stopped is None]

    def decisive(self) -> list[Precision]:
        """Those reached with the very last replication, which therefore ended the sequence."""
        return [
            rule.precision
            for rule, sections in self._rules
            if rule.stopped is not None and rule.stopped.sections == sections.count
        ]


class _LateError(Exception):
    """The time is up, or nobody wants the result any more."""


class _Work:
    """Computes replications, several at a time, and hands them out in order."""

    def __init__(
        self, scenario: Scenario, calibration: Calibration | None, warmup: WarmupRule, deadline: float
    ) -> None:
        self._scenario = scenario
        self._calibration = calibration
        self._warmup: WarmupRule = warmup
        self._deadline = deadline
        self._unwanted = threading.Event()

    def in_order(self, count: int, threads: int) -> Iterator[tuple[Run, Warmup] | None]:
        """Replications 0, 1, ... `count` - 1; None, and then nothing, when the deadline has passed."""
        if threads == 1:
            for number in range(count):
                yield (made := self._made(number))
                if made is None:
                    return
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="replication") as pool:
            ahead: deque[Future[tuple[Run, Warmup] | None]] = deque()
            try:
                for number in range(count):
                    ahead.append(pool.submit(self._made, number))
                    if len(ahead) >= threads:
                        yield (made := ahead.popleft().result())
                        if made is None:
                            return
                while ahead:
                    yield (made := ahead.popleft().result())
                    if made is None:
                        return
            finally:
                self._unwanted.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _made(self, number: int) -> tuple[Run, Warmup] | None:
        scenario = self._scenario
        if number:
            scenario = scenario.model_copy(update={"seed": replication_seed(scenario.seed, number)})
        try:
            self._look_at_the_clock()
            run = simulate(scenario, self._calibration, on_progress=self._look_at_the_clock)
        except _LateError:
            return None
        return run, self._warmup_of(run)

    def _look_at_the_clock(self, _: float = 0.0) -> None:
        if self._unwanted.is_set() or time.monotonic() > self._deadline:
            raise _LateError

    def _warmup_of(self, run: Run) -> Warmup:
        if self._warmup == "mser-5":
            return warmup_of(run)
        return Warmup(run.first_scored_window * run.window_s, None, found=True)


def _check_counts(
    replications: int | None,
    precisions: Sequence[Precision],
    max_replications: int,
    max_seconds: float,
    threads: int,
    confidence: float,
) -> int:
    """How many replications there are to be at least."""
    check_confidence(confidence)
    if threads < 1:
        raise InputError(f"threads is {threads}; it must be at least 1")
    if not max_seconds > 0:
        raise InputError(f"max_seconds is {max_seconds}; it must be positive")
    if replications is None:
        replications = 2 if precisions else 10
    if replications < 2:
        raise InputError(f"replications is {replications}; an interval needs at least 2")
    if precisions and max_replications < replications:
        raise InputError(f"max_replications is {max_replications}; it must be at least {replications}")
    return replications


def _explained(partial: str, sequence: _Sequence, done: Replications, wanted: int) -> str:
    """One line: which precision was not reached within which limit, and how far it got."""
    missing = sequence.missing()
    reached = {str(precision): interval for precision, interval in done.reached}
    got = []
    for precision in missing:
        interval = reached[str(precision)]
        relative = interval.relative_half_width if interval is not None else math.inf
        far = f"within {100 * relative:.1f}%" if math.isfinite(relative) else "too few observations for an interval"
        got.append(f"{precision} ({far})")
    count = len(done.members)
    if not got:
        return f"after {count} of {wanted} replications {partial} was reached"
    return f"after {count} replications {partial} was reached, but not the precision: {', '.join(got)}"


def _packed(histogram: Histogram) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], int]:
    used = np.flatnonzero(histogram.counts)
    return used.astype(np.int32), histogram.counts[used], histogram.sum_ns
