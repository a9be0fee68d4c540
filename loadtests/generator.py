"""The load generator: a Locust process that plays a materialised schedule.

    python -m loadtests.generator --schedule s.npz --api http://127.0.0.1:8000 --out out.npz

With `--controlled` it is driven through its standard streams, one JSON object a line. It says `ready`, takes any
number of `play` commands (each says `progress` while it runs and `played` at its end), and writes its records on
`finish`. When standard input closes it stops: a controller that dies takes its generator with it.
"""

from __future__ import annotations

# First of all: importing locust makes the standard library cooperative.
from locust import FastHttpUser, task

# isort: split
import argparse
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import gevent
import numpy as np
from gevent.event import Event
from gevent.fileobject import FileObject
from gevent.queue import Queue
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import STATE_RUNNING, STATE_STOPPED
from locust.stats import stats_history

from loadtests.connections import WarmPool
from loadtests.player import Player, Segment
from loadtests.records import ClosedSessions, OpenArrivals, Recorder, Records, load_schedule

CONNECTIONS = 512
_PROGRESS_INTERVAL_S = 0.25
_START_DELAY_NS = 200_000_000


class ScheduledUser(FastHttpUser):
    """Locust's view of the load: one user that plays an open schedule, or one per closed session."""

    host = "http://feed"
    work: ClassVar[Queue[Callable[[], None]]]

    @task
    def play(self) -> None:
        try:
            self.work.get()()
        finally:
            raise StopUser()


class Generator:
    """One generator process: Locust's environment, the connections, the player and the records."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.schedule = load_schedule(arguments.schedule)
        self.recorder = Recorder()
        self.realtime = bool(arguments.realtime) and _go_realtime()
        ScheduledUser.work = Queue()
        self.environment = Environment(user_classes=[ScheduledUser], host=arguments.api[0])
        self.runner = self.environment.create_local_runner()
        self.targets = _pools(arguments.api, arguments.connections)
        self.player = Player(
            self.environment, self.targets, timeout_s=arguments.request_timeout_s, recorder=self.recorder
        )
        self._until_ns = int(arguments.duration_s * 1e9)
        self._segments: list[dict[str, Any]] = []
        if arguments.web is not None:
            self.environment.create_web_ui("127.0.0.1", arguments.web)
            gevent.spawn(stats_history, self.runner)

    def warm(self) -> None:
        """Open and use every connection, then take what exists out of the garbage collector's sight."""
        for pools in self.targets:
            for pool in pools:
                pool.warm()
        gc.collect()
        gc.freeze()

    def play(self, segment: Segment) -> None:
        """Play one segment (the whole of a closed schedule) and wait for its last answer."""
        cpu_s, sent = time.process_time(), self.player.sent
        jobs = self._jobs(segment)
        for job in jobs:
            ScheduledUser.work.put(job)
        if not self._segments:
            self.environment.stats.reset_all()
        self.runner.spawn_users({ScheduledUser.__name__: len(jobs)})
        self.runner.update_state(STATE_RUNNING)
        self.runner.user_greenlets.join()
        self.runner.update_state(STATE_STOPPED)
        wall_s = (time.monotonic_ns() - segment.start_ns) * 1e-9
        self._segments.append(
            {
                "segment": segment.number,
                "target": segment.target,
                "start_ns": segment.start_ns,
                "wall_s": wall_s,
                "cpu_s": time.process_time() - cpu_s,
                "sent": self.player.sent - sent,
            }
        )

    def stop(self) -> None:
        self.runner.user_greenlets.kill(block=False)
        self.player.abandon()

    def info(self) -> dict[str, Any]:
        """Per segment its start, wall and CPU seconds and requests sent; and the state of the connections."""
        pools = [pool for target in self.targets for pool in target]
        return {
            "segments": self._segments,
            "connections": sum(pool.size for pool in pools),
            "pool_dry": sum(pool.dry for pool in pools),
            "reopened": sum(pool.reopened for pool in pools),
            "realtime": self.realtime,
            "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        }

    def close(self) -> None:
        self.player.close()
        if self.environment.web_ui is not None:
            self.environment.web_ui.stop()  # type: ignore[no-untyped-call]
        self.runner.quit()

    def _jobs(self, segment: Segment) -> list[Callable[[], None]]:
        schedule = self.schedule
        if isinstance(schedule, OpenArrivals):
            return [lambda: self.player.play_open(schedule, segment)]
        return [_session_job(self.player, schedule, i, segment, self._until_ns) for i in range(len(schedule.think_ns))]


def _session_job(
    player: Player, sessions: ClosedSessions, number: int, segment: Segment, until_ns: int
) -> Callable[[], None]:
    return lambda: player.play_session(sessions, number, segment, until_ns)


def _pools(targets: list[str], connections: int) -> list[list[WarmPool]]:
    """One list of pools per `--api` option; each option is a comma-separated list of API processes."""
    pools = []
    for target in targets:
        addresses = [urlsplit(url) for url in target.split(",")]
        size = max(-(-connections // len(addresses)), 64)
        pools.append([WarmPool(url.hostname or "127.0.0.1", url.port or 80, size) for url in addresses])
    return pools


def _go_realtime() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
    except (AttributeError, OSError):
        return False
    return True


def _say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def _run_controlled(generator: Generator, out: Path) -> int:
    """Serve commands from standard input until it closes."""
    commands: Queue[dict[str, Any] | None] = Queue()
    closed = Event()

    def read() -> None:
        for line in FileObject(sys.stdin.fileno(), "rb", close=False):
            commands.put(json.loads(line))
        closed.set()
        commands.put(None)
        generator.stop()

    def progress() -> None:
        while True:
            gevent.sleep(_PROGRESS_INTERVAL_S)
            _say("progress", sent=generator.player.sent, done=len(generator.recorder))

    gevent.spawn(read)
    generator.warm()
    _say("ready", info=generator.info())
    while (command := commands.get()) is not None:
        if command.pop("do") == "play":
            ticking = gevent.spawn(progress)
            generator.play(Segment(**command))
            ticking.kill()
            if not closed.is_set():
                _say("played", segment=command["number"])
        else:
            generator.recorder.save(out, generator.info())
            _say("written", path=str(out))
    return 0


def _run_alone(generator: Generator, out: Path, *, stay: bool) -> int:
    """Play everything once, write the records and say on standard error how it went."""
    generator.warm()
    schedule = generator.schedule
    last = len(schedule.time_ns) if isinstance(schedule, OpenArrivals) else 0
    generator.play(Segment(0, 0, last, time.monotonic_ns() + _START_DELAY_NS))
    generator.recorder.save(out, generator.info())
    records = Records.load(out)
    segment = records.info["segments"][0]
    slip_ms = np.percentile(records.slip_ns, (50, 99, 100)) * 1e-6 if len(records) else np.zeros(3)
    latency_ms = np.percentile(records.latency_ns, (50, 99)) * 1e-6 if len(records) else np.zeros(2)
    _tell(
        f"{len(records)} requests in {segment['wall_s']:.2f} s; generator CPU {segment['cpu_s']:.2f} s; slip p50 "
        f"{slip_ms[0]:.3f} p99 {slip_ms[1]:.3f} max {slip_ms[2]:.3f} ms; latency p50 {latency_ms[0]:.3f} p99 "
        f"{latency_ms[1]:.3f} ms; failed {int((records.outcome > 1).sum())}; pool dry {records.info['pool_dry']}"
    )
    if stay:
        _tell("Locust's page stays open; Ctrl-C ends")
        Event().wait()
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.generator", description=__doc__)
    parser.add_argument("--schedule", type=Path, required=True, help="npz file written by loadtests.records")
    parser.add_argument(
        "--api", action="append", required=True, help="URLs of one backend's API processes, comma-separated; repeatable"
    )
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    parser.add_argument("--duration-s", type=float, default=60.0, help="closed mode: no new requests after this time")
    parser.add_argument("--request-timeout-s", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="per backend, shared by its processes")
    parser.add_argument("--core", type=int, help="the core to run on")
    parser.add_argument("--realtime", action="store_true", help="schedule in real time where permitted")
    parser.add_argument("--web", type=int, metavar="PORT", help="serve Locust's page on 127.0.0.1:PORT")
    parser.add_argument("--controlled", action="store_true", help="take commands on standard input")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    # Locust's page reads the command line by itself, and takes ours for its own.
    sys.argv = sys.argv[:1]
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    generator = Generator(options)
    running = gevent.getcurrent()

    def interrupt() -> None:
        generator.stop()
        gevent.kill(running, KeyboardInterrupt)

    gevent.signal_handler(signal.SIGTERM, interrupt)
    gevent.signal_handler(signal.SIGINT, interrupt)
    try:
        if options.controlled:
            return _run_controlled(generator, options.out)
        return _run_alone(generator, options.out, stay=options.web is not None)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        _tell(f"the backend cannot be reached: {error}")
        return 4
    finally:
        generator.close()


if __name__ == "__main__":
    sys.exit(main())
