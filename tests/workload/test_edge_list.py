"""Edge lists: what is read, and that every refusal names the file, the line's number and the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.spec import InputError, Scenario
from model.workload import FollowerGraph, graph_of
from model.workload.edge_list import load_edge_list


def read(path: Path, content: bytes) -> FollowerGraph:
    path.write_bytes(content)
    return FollowerGraph.from_followers(*load_edge_list(path))


@pytest.mark.parametrize(
    "content",
    [
        b"10 20\n10 30\n20 30\n",
        b"# who follows whom\n\n10 20   # a comment\n\t20 30\n10\t30",
        b"10 20\r\n10 30\r\n20 30\r\n",
        b"\xef\xbb\xbf20 30\n010 30\n10 20\n",
    ],
)
def test_what_is_read(tmp_path: Path, content: bytes) -> None:
    graph = read(tmp_path / "edges.txt", content)
    assert graph.labels.tolist() == [10, 20, 30]
    assert graph.users == 3
    assert [graph.followers_of(user).tolist() for user in range(3)] == [[], [0], [0, 1]]
    assert [graph.followees_of(user).tolist() for user in range(3)] == [[1, 2], [2], []]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 2\n1 2 3\n", "line 2: '1 2 3': expected two integers, 'follower followee', got 3 fields"),
        (b"1 2\n3\n4\n", "line 2: '3': expected two integers, 'follower followee', got 1 field"),
        (b"1 2 3\n4 5 6\n", "line 1: '1 2 3': expected two integers"),
        (b"# x\n\n1 2\na 5\n", "line 4: 'a 5': expected two integers, 'follower followee'; 'a' is not an integer"),
        (b"1,2\n", "line 1: '1,2'"),
        (b"1 2.0\n", "line 1: '1 2.0': expected two integers, 'follower followee'; '2.0' is not an integer"),
        (b"1 2\n3 -4\n", "line 2: '3 -4': ids must not be negative, got -4"),
        (b"1 9223372036854775808\n", "ids must be at most 9223372036854775807, got 9223372036854775808"),
        (b"1 2\n7 007\n", "line 2: '7 007': account 7 follows itself; self-follows are not allowed"),
        (b"1 2\n2 3\n\n1 2\n", "line 4: '1 2': the pair is already on line 1"),
        (b"", "no pairs; expected lines of two integers"),
        (b"# nothing\n\n", "no pairs; expected lines of two integers"),
        (b"1 2\n3 \xff\n", "line 2 is not UTF-8 (byte 3)"),
        (b"1 2\n# caf\xe9\n", "line 2 is not UTF-8 (byte 6)"),
        (b"1 2\n" + b"x" * 500, "line 2: '" + "x" * 60 + "...'"),
        (b"1 2\n\x00 4\n", "line 2: "),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "edges.txt"
    with pytest.raises(InputError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"edge list {path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "absent.txt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=message):
            load_edge_list(path)


IDS = st.integers(0, 2**63 - 1)


@given(st.sets(st.tuples(IDS, IDS).filter(lambda pair: pair[0] != pair[1]), min_size=1))
def test_every_relation_survives(tmp_path_factory: pytest.TempPathFactory, pairs: set[tuple[int, int]]) -> None:
    path = tmp_path_factory.getbasetemp() / "relation.txt"
    graph = read(path, "".join(f"{a} {b}\n" for a, b in pairs).encode())
    authors = np.repeat(graph.labels, graph.follower_counts)
    assert set(zip(graph.labels[graph.followers].tolist(), authors.tolist(), strict=True)) == pairs


def test_a_scenario_names_its_graph(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("5 6\n6 7\n7 5\n", encoding="utf-8")
    (tmp_path / "own.yaml").write_text("name: own\npopulation: {graph: edges.txt, users: 4000}\n", encoding="utf-8")
    graph = graph_of(Scenario.load(tmp_path / "own.yaml"))
    assert graph.users == 3
    assert graph.digest != FollowerGraph.from_followers(graph.follower_offsets, graph.followers).digest
