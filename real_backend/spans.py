"""OpenTelemetry spans on request: kept in memory, named as the model's steps, drained by whoever asked for them.

Spans are dear (tens of microseconds each), so only requests that carry the trace header have them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import set_span_in_context

from real_backend.telemetry import STEP_NAMES, Telemetry, Trace, outcome_of


class SpanStore(SpanExporter):
    """Keeps up to `limit` finished spans; further ones are dropped and counted."""

    def __init__(self, limit: int) -> None:
        self._spans: deque[ReadableSpan] = deque()
        self._limit = limit
        self.dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            if len(self._spans) < self._limit:
                self._spans.append(span)
            else:
                self.dropped += 1
        return SpanExportResult.SUCCESS

    def drain(self) -> list[dict[str, Any]]:
        """The spans so far in the order in which they started, as plain values; afterwards the store is empty."""
        spans = sorted(self._spans, key=lambda span: (span.start_time or 0, span.end_time or 0))
        self._spans.clear()
        return [_plain(span) for span in spans]


class Tracing:
    """One process's tracer and its store."""

    def __init__(self, limit: int) -> None:
        self.store = SpanStore(limit)
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self.store))
        self._tracer = self._provider.get_tracer("feedtwin")
        self._epoch_ns = time.time_ns() - perf_counter_ns()

    def start(self, name: str, begin_ns: int, parent: Span | None = None) -> Span:
        """A span that began at `begin_ns` of the performance counter."""
        context = set_span_in_context(parent) if parent is not None else None
        span = self._tracer.start_span(name, context=context, start_time=begin_ns + self._epoch_ns)
        assert isinstance(span, Span)
        return span

    def end(self, span: Span, end_ns: int) -> None:
        span.end(end_ns + self._epoch_ns)


class SpanTrace(Trace):
    """A trace that also records a span for each visit, as children of one span named after the endpoint."""

    __slots__ = ("_root", "_tracing")

    def __init__(self, telemetry: Telemetry, tracing: Tracing, endpoint: str) -> None:
        super().__init__(telemetry)
        self._tracing = tracing
        self._root = tracing.start(endpoint, self.last_ns)

    def mark(self, step: int, items: int = 0, server: str = "") -> None:
        begin = self.last_ns
        super().mark(step, items)
        self._record(step, begin, self.last_ns, items, server)
        self.resume()

    def visit(self, step: int, items: int = 0, server: str = "") -> None:
        super().visit(step, items)
        self._record(step, self.last_ns, perf_counter_ns(), items, server)

    def finish(self, status: int) -> None:
        self._root.set_attribute("http.response.status_code", status)
        self._root.set_attribute("outcome", outcome_of(status))
        self._tracing.end(self._root, perf_counter_ns())

    def _record(self, step: int, begin_ns: int, end_ns: int, items: int, server: str) -> None:
        if step >= len(STEP_NAMES):
            return
        span = self._tracing.start(STEP_NAMES[step], begin_ns, self._root)
        span.set_attribute("items", items)
        span.set_attribute("server", server or STEP_NAMES[step].partition(".")[0])
        self._tracing.end(span, end_ns)


def _plain(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    return {
        "name": span.name,
        "trace_id": f"{context.trace_id:032x}" if context else "",
        "span_id": f"{context.span_id:016x}" if context else "",
        "parent_id": f"{parent.span_id:016x}" if parent else None,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "attributes": dict(span.attributes or {}),
    }
