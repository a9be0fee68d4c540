"""Prometheus metrics: the cheap counters, put into Prometheus' form only when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from model.spec.scenario import ENDPOINTS
from real_backend.api.service import Service
from real_backend.telemetry import LATENCY_BOUNDS_S


class TelemetryCollector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service, telemetry = self._service, self._service.telemetry
        requests = CounterMetricFamily("feedtwin_requests", "Requests answered.", labels=["endpoint", "status"])
        latency = HistogramMetricFamily(
            "feedtwin_request_seconds", "From the request's arrival in the API to its answer.", labels=["endpoint"]
        )
        for endpoint, counter in zip(ENDPOINTS, telemetry.requests, strict=True):
            for status, count in sorted(counter.statuses.items()):
                requests.add_metric([endpoint.value, str(status)], count)
            bounds = [*(str(bound) for bound in LATENCY_BOUNDS_S), "+Inf"]
            buckets = list(zip(bounds, accumulate(counter.buckets), strict=True))
            latency.add_metric([endpoint.value], buckets, counter.total_s)
        yield requests
        yield latency
        timelines = CounterMetricFamily("feedtwin_timeline_reads", "Home timeline reads.", labels=["result"])
        timelines.add_metric(["hit"], telemetry.timeline_hits)
        timelines.add_metric(["miss"], telemetry.timeline_misses)
        yield timelines
        reads = CounterMetricFamily("feedtwin_database_reads", "Reads by the server chosen.", labels=["server"])
        for server, count in zip(service.replicas.names, telemetry.reads, strict=True):
            reads.add_metric([server], count)
        yield reads
        yield CounterMetricFamily(
            "feedtwin_stale_reads",
            "Reads from a standby known to lag behind the reader's session.",
            value=telemetry.stale_reads,
        )
        visits = CounterMetricFamily("feedtwin_step_visits", "Visits of a step.", labels=["step"])
        items = CounterMetricFamily("feedtwin_step_items", "Items that a step's cost counts.", labels=["step"])
        seconds = CounterMetricFamily("feedtwin_step_seconds", "Time that visits took as seen here.", labels=["step"])
        for name, step in telemetry.document()["steps"].items():
            visits.add_metric([name], step["visits"])
            items.add_metric([name], step["items"])
            seconds.add_metric([name], step["total_s"])
        yield from (visits, items, seconds)
        pools = GaugeMetricFamily("feedtwin_pool_connections", "Connections by state.", labels=["server", "state"])
        waiting = GaugeMetricFamily("feedtwin_pool_waiting", "Requests waiting for a connection.", labels=["server"])
        for server, (opened, idle, queued) in zip(service.replicas.names, service.database.pool_sizes(), strict=True):
            pools.add_metric([server, "idle"], idle)
            pools.add_metric([server, "used"], opened - idle)
            waiting.add_metric([server], queued)
        for server, (opened, idle) in zip(service.shards.names, service.shards.pool_sizes(), strict=True):
            pools.add_metric([server, "idle"], idle)
            pools.add_metric([server, "used"], opened - idle)
        yield from (pools, waiting)
        replayed = GaugeMetricFamily("feedtwin_replayed_lsn", "Log position known to be replayed.", labels=["server"])
        for server, lsn in zip(service.replicas.names[:-1], service.replicas.known_replayed, strict=True):
            replayed.add_metric([server], lsn)
        yield replayed
