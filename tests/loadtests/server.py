"""A small real HTTP server with the API's routes, for tests of the generator. Run as a process:

    python tests/loadtests/server.py [--delay-s 0.01]

Prints its port. Post 404404 does not exist, post 500 fails, post 666 closes the connection halfway through its body,
and post 999 answers after 2 s. Writes return a rising session LSN; GET /seen lists the requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import ClassVar


class Feed(asyncio.Protocol):
    seen: ClassVar[list[dict[str, object]]] = []
    lsn = 0
    delay_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            request, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = int(headers.get("content-length", 0))
            if len(rest) < size:
                return
            self.buffer = rest[size:]
            method, path, _ = request.split(" ")
            self.answer(method, path, headers, rest[:size])

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        if path == "/seen":
            return self.respond(200, json.dumps(Feed.seen).encode())
        if path != "/healthz":
            Feed.seen.append(
                {"method": method, "path": path, "lsn": headers.get("x-feedtwin-lsn"), "body": body.decode()}
            )
        if path.startswith("/posts/404404"):
            return self.respond(404, b'{"missing": true}')
        if path.startswith("/posts/500?"):
            return self.respond(500, b"oops")
        if path.startswith("/posts/666?"):
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            return self.transport.close()
        extra = ""
        if method == "POST":
            Feed.lsn += 16
            extra = f"x-feedtwin-lsn: {Feed.lsn}\r\n"
        delay_s = 2.0 if path.startswith("/posts/999?") else 0.0 if path == "/healthz" else Feed.delay_s
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self.respond, 200, b"{}", extra)
        else:
            self.respond(200, b'{"posts": [' + b'{"id": 1, "body": "text"},' * 40 + b"{}]}", extra)
        return None

    def respond(self, status: int, body: bytes, extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def serve(delay_s: float) -> None:
    Feed.delay_s = delay_s
    server = await asyncio.get_running_loop().create_server(Feed, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-s", type=float, default=0.0)
    asyncio.run(serve(parser.parse_args().delay_s))
