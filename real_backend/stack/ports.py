"""Ports on the loopback interface."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping

from model.spec.errors import InputError, MachineError

LOOPBACK = "127.0.0.1"


def assign_ports(names: Iterable[str], requested: Mapping[str, int]) -> dict[str, int]:
    """A free port for every name; those in `requested` get the port they ask for.

    Raises InputError for a name or a port that cannot be, MachineError for a requested port that is taken.
    """
    names = list(names)
    for name, port in requested.items():
        if name not in names:
            raise InputError(f"port {port} was requested for {name!r}; this stack has {', '.join(names)}")
        if not 1 <= port <= 65_535:
            raise InputError(f"port {port} for {name} is not allowed: 1 to 65535")
    ports: dict[str, int] = {}
    # All sockets stay open until the end, so that no two names get the same port.
    with contextlib.ExitStack() as held:
        for name in sorted(names, key=lambda name: name not in requested):
            claim = held.enter_context(socket.socket())
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind((LOOPBACK, requested.get(name, 0)))
                claim.listen(1)
            except OSError as error:
                raise MachineError(f"port {requested.get(name)} for {name} cannot be used: {error.strerror}") from None
            ports[name] = claim.getsockname()[1]
    return ports


def accepts(port: int) -> bool:
    """Whether something accepts connections on `port`."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
