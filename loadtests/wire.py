"""A scheduled request as the bytes that the API's routes expect, and its answer as an outcome."""

from __future__ import annotations

from geventhttpclient.response import HTTPResponse

from loadtests.records import Outcome
from model.spec.scenario import Endpoint

SESSION_HEADER = "x-feedtwin-lsn"
BODY_CHARACTERS = 120

_HOME = Endpoint.HOME_TIMELINE.code
_PROFILE = Endpoint.PROFILE.code
_CREATE = Endpoint.CREATE_POST.code
_REACT = Endpoint.REACT.code

METHODS = tuple("POST" if endpoint.code in (_CREATE, _REACT) else "GET" for endpoint in Endpoint)


def request_bytes(endpoint: int, user: int, target: int, session_lsn: int) -> bytes:
    """The whole HTTP/1.1 request; `session_lsn` is the commit that the user must see, 0 for none."""
    session = f"{SESSION_HEADER}: {session_lsn}\r\n" if session_lsn else ""
    if endpoint == _HOME:
        line, body = f"GET /home/{user}", ""
    elif endpoint == _PROFILE:
        line, body = f"GET /profile/{target}?viewer={user}", ""
    elif endpoint == _CREATE:
        text = f"post {target} by {user} ".ljust(BODY_CHARACTERS, ".")
        line, body = "POST /posts", f'{{"id":{target},"author":{user},"body":"{text}"}}'
    elif endpoint == _REACT:
        line, body = f"POST /posts/{target}/reactions", f'{{"user":{user}}}'
    else:
        line, body = f"GET /posts/{target}?viewer={user}", ""
    content = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
    return f"{line} HTTP/1.1\r\nhost: feed\r\n{session}{content}\r\n{body}".encode("ascii")


def outcome_of(response: HTTPResponse, body: bytes) -> Outcome:
    status = response.get_code()
    if 200 <= status < 300:
        return Outcome.OK
    if status == 404 and b'"missing"' in body:
        return Outcome.MISSING
    return Outcome.HTTP_ERROR


def session_lsn_of(response: HTTPResponse) -> int:
    """The commit that a write reported, 0 for none."""
    value = response.get(SESSION_HEADER)
    return int(value) if isinstance(value, str) else 0
