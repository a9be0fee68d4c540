"""Plays a schedule against API processes: one greenlet per arrival (open) or per session (closed)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import gevent
from gevent.pool import Group
from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse
from locust.env import Environment

from loadtests.alarm import AlarmClock
from loadtests.connections import WarmPool
from loadtests.records import ClosedSessions, OpenArrivals, Outcome, Recorder
from loadtests.wire import METHODS, outcome_of, request_bytes, session_lsn_of
from model.policy.routing import choose_api_process
from model.spec.scenario import ENDPOINTS

_BLOCK_BYTES = 65_536
_NAMES = tuple(endpoint.value for endpoint in ENDPOINTS)


class RequestFailed(Exception):
    """What Locust's failure table shows for a request that did not end well."""


@dataclass(frozen=True)
class Segment:
    """A stretch of an open schedule, requests [first, last), played to one target.

    Request i is due at `start_ns` + time_ns[i] - `origin_ns`; `start_ns` is on the clock of `time.monotonic_ns`.
    """

    number: int
    first: int
    last: int
    start_ns: int
    origin_ns: int = 0
    target: int = 0


class Player:
    """Sends requests and records each. `targets` are backends, each a list of pools, one per API process."""

    def __init__(
        self, environment: Environment, targets: Sequence[Sequence[WarmPool]], *, timeout_s: float, recorder: Recorder
    ) -> None:
        self._fire = environment.events.request.fire
        self._targets = targets
        self._session_lsn: list[dict[int, int]] = [{} for _ in targets]
        self._timeout_s = timeout_s
        self._recorder = recorder
        self._clock = AlarmClock()
        self._in_flight = Group()
        self.sent = 0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def play_open(self, arrivals: OpenArrivals, segment: Segment) -> None:
        """Send every request of the segment at its instant, then wait until the last one has ended."""
        part = slice(segment.first, segment.last)
        rows = zip(
            range(segment.first, segment.last),
            arrivals.time_ns[part].tolist(),
            arrivals.endpoint[part].tolist(),
            arrivals.user[part].tolist(),
            arrivals.target[part].tolist(),
            strict=True,
        )
        spawn = self._in_flight.spawn
        wait_until, shift_ns = self._clock.wait_until, segment.start_ns - segment.origin_ns
        for ordinal, time_ns, endpoint, user, target in rows:
            wait_until(time_ns + shift_ns)
            spawn(self._send, segment, ordinal, endpoint, user, target, time_ns - segment.origin_ns)
        self._in_flight.join()

    def play_session(self, sessions: ClosedSessions, number: int, segment: Segment, until_ns: int) -> None:
        """One user of the closed loop: think, ask, wait for the answer, until `until_ns` after the start.

        The ordinal of request k of session s is s * K + k; scheduled is the end of the think time.
        """
        width = sessions.think_ns.shape[1]
        rows = zip(
            sessions.think_ns[number].tolist(),
            sessions.endpoint[number].tolist(),
            sessions.user[number].tolist(),
            sessions.target[number].tolist(),
            strict=True,
        )
        at_ns = 0
        for k, (think_ns, endpoint, user, target) in enumerate(rows):
            at_ns += think_ns
            if at_ns >= until_ns:
                return
            self._clock.wait_until(segment.start_ns + at_ns)
            sending = self._in_flight.spawn(self._send, segment, number * width + k, endpoint, user, target, at_ns)
            sending.join()
            at_ns = time.monotonic_ns() - segment.start_ns

    def abandon(self) -> None:
        """Drop what is in flight, unrecorded."""
        self._in_flight.kill(block=False)

    def close(self) -> None:
        self._clock.close()
        for pools in self._targets:
            for pool in pools:
                pool.close()

    def _send(self, segment: Segment, ordinal: int, endpoint: int, user: int, target: int, scheduled_ns: int) -> None:
        pools, lsns = self._targets[segment.target], self._session_lsn[segment.target]
        pool = pools[choose_api_process(ordinal, len(pools))]
        request = request_bytes(endpoint, user, target, lsns.get(user, 0))
        outcome, sent_ns, length, lsn = Outcome.CONNECTION_ERROR, 0, 0, 0
        timeout = gevent.Timeout.start_new(self._timeout_s)
        try:
            sock = pool.get_socket()
            self.sent += 1
            sent_ns = time.monotonic_ns()
            try:
                sock.sendall(request)
            except BaseException:
                pool.release_socket(sock)
                raise
            # The response gives the connection back to the pool, or closes it, whatever happens from here on.
            response = HTTPSocketPoolResponse(sock, pool, block_size=_BLOCK_BYTES, method=METHODS[endpoint])
            body = response.read()
            ended_ns = time.monotonic_ns()
            outcome, length, lsn = outcome_of(response, body), len(body), session_lsn_of(response)
        except gevent.Timeout as expired:
            if expired is not timeout:
                raise
            ended_ns, outcome = time.monotonic_ns(), Outcome.TIMEOUT
        except (OSError, HTTPParseError):
            ended_ns = time.monotonic_ns()
        finally:
            timeout.close()
        if lsn > lsns.get(user, 0):
            lsns[user] = lsn
        sent_ns = sent_ns or ended_ns
        latency_ns = ended_ns - sent_ns
        self._recorder.add(
            segment.number, ordinal, endpoint, scheduled_ns, sent_ns - segment.start_ns, latency_ns, outcome
        )
        self._fire(  # type: ignore[no-untyped-call]
            request_type=METHODS[endpoint],
            name=_NAMES[endpoint],
            response_time=latency_ns * 1e-6,
            response_length=length,
            exception=None if outcome <= Outcome.MISSING else RequestFailed(outcome.name.lower().replace("_", " ")),
            context={},
        )
