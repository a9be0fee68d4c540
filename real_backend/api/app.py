"""The ASGI application: the five endpoints served directly, everything else by Starlette.

Starlette's routing, request and response objects cost 12 us of CPU, a quarter of what reading one post takes inside the
application, so the endpoints are plain ASGI (1.5 us); what people and scrapers ask for goes through Starlette.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
import psycopg
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request as PageRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from model.spec.scenario import ENDPOINTS
from real_backend.api import feed
from real_backend.api.feed import POST_IDS, RESPOND, USER_IDS, RejectedError, Reply, Request, expected
from real_backend.api.metrics import TelemetryCollector
from real_backend.api.service import Service
from real_backend.spans import SpanTrace
from real_backend.telemetry import Trace

log = logging.getLogger("real_backend.api")

MAX_BODY_BYTES: Final = 64 * 1024
SESSION_HEADER: Final = b"x-feedtwin-lsn"
"""Answer of a write: the log position behind its commit. Request: the session's last such position."""
TRACE_HEADER: Final = b"x-feedtwin-trace"
"""Request: ``1`` records OpenTelemetry spans of this request, to be drained by GET /spans."""

JSON_TYPE: Final = (b"content-type", b"application/json")
NO_DOCUMENT: Final[dict[str, Any]] = {}

Handler = Callable[[Request, Trace], Awaitable[Reply]]


class Application:
    """`service` must be open before the first request."""

    def __init__(self, service: Service) -> None:
        self._service = service
        endpoints = service.feed
        self._handlers: tuple[Handler, ...] = (
            endpoints.home_timeline,
            endpoints.profile,
            endpoints.create_post,
            endpoints.react,
            endpoints.read_post,
        )
        registry = CollectorRegistry(auto_describe=False)
        registry.register(TelemetryCollector(service))
        self._registry = registry
        self._pages = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/metrics", self._metrics),
                Route("/telemetry", self._telemetry),
                Route("/spans", self._spans),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = -1
        if scope["type"] == "http":
            parts = scope["path"].split("/")
            endpoint = _endpoint(scope["method"], parts)
        if endpoint < 0:
            await self._pages(scope, receive, send)
            return
        session = traced = b""
        for name, value in scope["headers"]:
            if name == SESSION_HEADER:
                session = value
            elif name == TRACE_HEADER:
                traced = value
        service = self._service
        if traced == b"1":
            trace: Trace = SpanTrace(service.telemetry, service.tracing, ENDPOINTS[endpoint].value)
        else:
            trace = Trace(service.telemetry)
        try:
            request = await _parse(endpoint, parts, scope, session, receive)
            reply = await self._handlers[endpoint](request, trace)
        except RejectedError as error:
            reply = Reply(error.status, {"error": str(error)})
        except (psycopg.OperationalError, PoolTimeout, RedisError, OSError) as error:
            log.warning("%s: %s", scope["path"], error)
            reply = Reply(503, {"error": f"a server behind the API does not answer: {error}"})
        except Exception:
            log.exception("%s failed", scope["path"])
            reply = Reply(500, {"error": "internal error; see the log of this process"})
        body = orjson.dumps(reply.document)
        headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
        if reply.lsn:
            headers.append((SESSION_HEADER, b"%d" % reply.lsn))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        trace.mark(RESPOND[endpoint], reply.items)
        service.telemetry.requests[endpoint].add(reply.status, trace.elapsed_s)
        trace.finish(reply.status)

    async def _healthz(self, _: PageRequest) -> Response:
        return JSONResponse({"ok": True})

    async def _metrics(self, _: PageRequest) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _telemetry(self, _: PageRequest) -> Response:
        return Response(orjson.dumps(self._service.telemetry.document()), media_type="application/json")

    async def _spans(self, _: PageRequest) -> Response:
        return Response(orjson.dumps(self._service.tracing.store.drain()), media_type="application/json")


def _endpoint(method: str, parts: list[str]) -> int:
    """The code of the endpoint that a path names, split at its slashes; -1 for none."""
    if method == "GET" and len(parts) == 3:
        if parts[1] == "home":
            return feed.HOME
        if parts[1] == "posts":
            return feed.READ
        if parts[1] == "profile":
            return feed.PROFILE
    elif method == "POST" and parts[1] == "posts":
        if len(parts) == 2:
            return feed.CREATE
        if len(parts) == 4 and parts[3] == "reactions":
            return feed.REACT
    return -1


async def _parse(endpoint: int, parts: list[str], scope: Scope, session: bytes, receive: Receive) -> Request:
    """Raises RejectedError for what is not a request of this endpoint."""
    ident = 0
    if endpoint != feed.CREATE:
        ident = _number(parts[1], parts[2], POST_IDS if parts[1] == "posts" else USER_IDS)
    session_lsn = 0
    if session:
        session_lsn = _number(SESSION_HEADER.decode(), session.decode("latin-1"), range(2**62))
    if scope["query_string"]:
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            if name == "viewer":
                _number(name, value, USER_IDS)
    if scope["method"] == "GET":
        return Request(ident, session_lsn, NO_DOCUMENT)
    return Request(ident, session_lsn, _document(await _body(receive)))


def _number(field: str, text: str, allowed: range) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20 and (number := int(text)) in allowed:
        return number
    raise RejectedError(f"{field}: {text[:80]!r} is not allowed: {expected(allowed)}")


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RejectedError("body: the client left before its end")
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise RejectedError(f"body: more than {MAX_BODY_BYTES} bytes are not allowed", 413)
        if not message.get("more_body", False):
            return body


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectedError(f"body: not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise RejectedError(f"body: a JSON object is expected, not {type(document).__name__}")
    return document
