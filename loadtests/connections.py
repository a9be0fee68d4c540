"""A warmed pool of keep-alive connections that says when it ran dry."""

from __future__ import annotations

import select
from collections import deque

import gevent
from gevent import monkey
from gevent import socket as gsocket
from gevent.event import Event
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.response import HTTPParseError, HTTPSocketPoolResponse

_poll = monkey.get_original("select", "poll")
_CONNECT_TIMEOUT_S = 10.0
_WARM_TOGETHER = 32


class WarmPool(ConnectionPool):
    """geventhttpclient's pool with the checks a measurement needs: all connections are opened before the start, an
    exhausted pool is counted (`dry`) instead of only waited for, and a connection that the server closed while it
    was idle is replaced (`reopened`), not reported as a failed request.

    The last connection returned is used first, as in the parent class.
    """

    def __init__(self, host: str, port: int, size: int) -> None:
        super().__init__(host, port, host, port, size=size, connection_timeout=_CONNECT_TIMEOUT_S)
        self.network_timeout = None  # type: ignore[assignment]  # one timeout a request, set by the caller
        self.dry = 0
        self.reopened = 0
        self.in_use = 0
        self._idle: deque[gsocket.socket] = deque()
        self._opened = 0
        self._returned = Event()

    def warm(self, path: str = "/healthz") -> None:
        """Open every connection and send one request over each. Raises OSError when the server does not answer."""
        request = f"GET {path} HTTP/1.1\r\nHost: {self._request_host}\r\n\r\n".encode()
        taken: list[gsocket.socket] = []

        def once() -> OSError | None:
            try:
                sock = self._open()
                sock.sendall(request)
                # The response must not hand the socket back before all are open: it gets its own holder.
                HTTPSocketPoolResponse(sock, _Holder(taken)).read()  # type: ignore[arg-type]
            except HTTPParseError as error:
                return OSError(f"{path}: {error}")
            except OSError as error:
                return error
            return None

        for begin in range(0, self.size, _WARM_TOGETHER):
            jobs = [gevent.spawn(once) for _ in range(min(_WARM_TOGETHER, self.size - begin))]
            gevent.joinall(jobs)
            for job in jobs:
                if job.value is not None:
                    raise job.value
        self._idle.extend(taken)

    def get_socket(self) -> gsocket.socket:
        """An open connection; waits when all are taken, and counts that."""
        while True:
            while self._idle:
                sock = self._idle.pop()
                if _quiet(sock):
                    self.in_use += 1
                    return sock
                sock.close()
                self._opened -= 1
                self.reopened += 1
            if self._opened < self.size:
                sock = self._open()
                self.in_use += 1
                return sock
            self.dry += 1
            self._returned.clear()
            self._returned.wait()

    def return_socket(self, sock: gsocket.socket) -> None:
        self.in_use -= 1
        if self._closed:
            sock.close()
            return
        self._idle.append(sock)
        self._returned.set()

    def release_socket(self, sock: gsocket.socket) -> None:
        self.in_use -= 1
        self._opened -= 1
        sock.close()
        self._returned.set()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def after_connect(self, sock: gsocket.socket) -> None:
        sock.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)

    def _open(self) -> gsocket.socket:
        self._opened += 1
        try:
            return self._create_socket()
        except BaseException:
            self._opened -= 1
            raise


class _Holder:
    """Stands in for the pool while it is being warmed."""

    def __init__(self, sockets: list[gsocket.socket]) -> None:
        self._sockets = sockets

    def return_socket(self, sock: gsocket.socket) -> None:
        self._sockets.append(sock)

    def release_socket(self, sock: gsocket.socket) -> None:
        sock.close()
        raise OSError("the server closed a connection while it was being warmed")


def _quiet(sock: gsocket.socket) -> bool:
    """Whether an idle connection is still open: nothing to read means that no FIN came either."""
    poll = _poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)
