"""Which server answers: the primary or one of the standbys, and which API process a client's request goes to."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUTE_PRIMARY = 0
ROUTE_ANY = 1
ROUTE_READ_YOUR_WRITES = 2

ROUTING_CODES = MappingProxyType(
    {"primary": ROUTE_PRIMARY, "any": ROUTE_ANY, "read_your_writes": ROUTE_READ_YOUR_WRITES}
)
"""Integer code of each value of the scenario's `policies.replica_routing`."""

PRIMARY_SERVER = -1
"""What `choose_server` returns for the primary."""


def choose_server(mode_code: int, session_lsn: int, known_replayed: Sequence[int], ordinal: int) -> int:
    """The server of a read: `PRIMARY_SERVER`, or the index of a standby.

    `known_replayed` is the log position that each standby is known to have replayed, `session_lsn` the end of the
    reader's own last commit (0: none). The eligible standbys take turns by `ordinal`, the reader's running number;
    with none eligible the primary answers.
    """
    if mode_code == ROUTE_PRIMARY:
        return PRIMARY_SERVER
    needed = session_lsn if mode_code == ROUTE_READ_YOUR_WRITES else 0
    eligible = 0
    for i in range(len(known_replayed)):
        if mode_code == ROUTE_ANY or known_replayed[i] >= needed:
            eligible += 1
    if eligible == 0:
        return PRIMARY_SERVER
    turn = ordinal % eligible
    for i in range(len(known_replayed)):
        if mode_code == ROUTE_ANY or known_replayed[i] >= needed:
            if turn == 0:
                return i
            turn -= 1
    return PRIMARY_SERVER


def choose_api_process(ordinal: int, processes: int) -> int:
    """The API process of request number `ordinal`: clients go round robin over the `processes`."""
    return ordinal % processes
