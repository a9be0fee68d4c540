"""A plain HTTP client of one API process, for tests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SESSION = "x-feedtwin-lsn"
TRACE = {"x-feedtwin-trace": "1"}


@dataclass(frozen=True)
class Answer:
    status: int
    document: Any
    headers: Mapping[str, str]

    @property
    def lsn(self) -> int:
        """The session's position after this answer; 0 where the answer has none."""
        return int(self.headers.get(SESSION, 0))


class Client:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self._exchange("GET", path, None, headers)

    def post(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return self._exchange("POST", path, json.dumps(document).encode(), headers)

    def send(self, method: str, path: str, body: bytes) -> Answer:
        return self._exchange(method, path, body, None)

    def text(self, path: str) -> str:
        self._connection.request("GET", path)
        return self._connection.getresponse().read().decode()

    def spans(self) -> list[dict[str, Any]]:
        """The recorded spans in the order in which they started; they are gone afterwards."""
        return list(self.get("/spans").document)

    def steps(self) -> list[str]:
        """The steps of the traced requests so far, a scatter's visits as one."""
        names = [span["name"] for span in self.spans() if span["parent_id"] is not None]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> Answer:
        self._connection.request(method, path, body, dict(headers or {}))
        response = self._connection.getresponse()
        content = response.read()
        fields = {name.lower(): value for name, value in response.getheaders()}
        is_json = fields.get("content-type") == "application/json"
        return Answer(response.status, json.loads(content) if is_json else content, fields)
