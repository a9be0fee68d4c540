"""Fan-out and routing: their rules, and the same answer plain and compiled."""

from __future__ import annotations

import typing
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.policy import FANOUT_CODES, ROUTING_CODES, choose_api_process, choose_server, is_pulled
from model.policy.fanout import HYBRID, PULL, PUSH
from model.policy.routing import PRIMARY_SERVER, ROUTE_ANY, ROUTE_PRIMARY, ROUTE_READ_YOUR_WRITES
from model.rng.compiled import njit
from model.spec.scenario import Policies

choose_server_njit = njit(choose_server)


def test_codes_cover_what_a_scenario_may_say() -> None:
    hints = typing.get_type_hints(Policies)
    assert set(FANOUT_CODES) == set(typing.get_args(hints["fanout"]))
    assert set(ROUTING_CODES) == set(typing.get_args(hints["replica_routing"]))


def test_hybrid_pulls_from_the_threshold_on() -> None:
    assert [is_pulled(HYBRID, count, 500) for count in (0, 499, 500, 501)] == [False, False, True, True]
    assert not is_pulled(PUSH, 10**6, 500)
    assert is_pulled(PULL, 0, 500)


def test_fanout_compiled_equals_plain() -> None:
    compiled = njit(is_pulled)
    for mode, count, threshold in product((PUSH, PULL, HYBRID), (0, 1, 499, 500, 10**7), (0, 1, 500)):
        assert compiled(mode, count, threshold) == is_pulled(mode, count, threshold)


def test_read_your_writes_asks_a_standby_that_has_replayed_the_commit() -> None:
    replayed = [100, 300, 200]
    assert [choose_server(ROUTE_READ_YOUR_WRITES, 200, replayed, n) for n in range(4)] == [1, 2, 1, 2]
    assert choose_server(ROUTE_READ_YOUR_WRITES, 301, replayed, 5) == PRIMARY_SERVER
    assert [choose_server(ROUTE_READ_YOUR_WRITES, 0, replayed, n) for n in range(3)] == [0, 1, 2]


def test_any_ignores_lag_and_primary_ignores_standbys() -> None:
    assert [choose_server(ROUTE_ANY, 10**9, [1, 2], n) for n in range(3)] == [0, 1, 0]
    assert choose_server(ROUTE_PRIMARY, 0, [1, 2], 0) == PRIMARY_SERVER
    for mode in (ROUTE_PRIMARY, ROUTE_ANY, ROUTE_READ_YOUR_WRITES):
        assert choose_server(mode, 0, [], 3) == PRIMARY_SERVER


@given(
    st.sampled_from((ROUTE_PRIMARY, ROUTE_ANY, ROUTE_READ_YOUR_WRITES)),
    st.integers(0, 5),
    st.lists(st.integers(0, 5), max_size=4),
    st.integers(0, 2**40),
)
def test_routing_compiled_equals_plain_and_is_right(mode: int, lsn: int, replayed: list[int], ordinal: int) -> None:
    server = choose_server(mode, lsn, replayed, ordinal)
    assert choose_server_njit(mode, lsn, np.array(replayed, np.int64), ordinal) == server
    assert server == PRIMARY_SERVER or 0 <= server < len(replayed)
    if mode == ROUTE_READ_YOUR_WRITES:
        caught_up = [i for i, position in enumerate(replayed) if position >= lsn]
        assert (server in caught_up) if caught_up else (server == PRIMARY_SERVER)


@pytest.mark.parametrize("processes", [1, 3])
def test_clients_go_round_robin(processes: int) -> None:
    compiled = njit(choose_api_process)
    for ordinal in range(7):
        assert choose_api_process(ordinal, processes) == compiled(ordinal, processes) == ordinal % processes
