"""Reading an edge list: one `follower followee` pair of integers a line, blank lines and `#` comments allowed."""

from __future__ import annotations

import codecs
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.spec import InputError

MAX_FILE_BYTES = 2 * 1024**3
MAX_USERS = 5_000_000

_MAX_ID = 2**63 - 1
_SHOWN_CHARACTERS = 60


def load_edge_list(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Offsets int64[users + 1] and ascending followers int32[edges] of each author, and the ids labels int64[users].

    Users are the distinct ids of the file in ascending order, renumbered from 0. Raises InputError naming the file,
    the line's number and the line for: anything but two non-negative integers, a self-follow, a pair given twice;
    and naming the file where it cannot be read, is not UTF-8, holds no pair, or is too large.
    """
    path = Path(path)
    pairs = _read_pairs(path)
    labels, compact = np.unique(pairs, return_inverse=True)
    users = len(labels)
    if users > MAX_USERS:
        raise InputError(f"edge list {path}: {users} distinct accounts; at most {MAX_USERS} are allowed")
    bits = users.bit_length()
    follower, author = compact.reshape(-1, 2).T
    keys = np.sort((author.astype(np.int64) << bits) | follower)
    if (keys[1:] == keys[:-1]).any():
        _explain(path)
    offsets = np.searchsorted(keys, np.arange(users + 1, dtype=np.int64) << bits).astype(np.int64)
    return offsets, (keys & ((1 << bits) - 1)).astype(np.int32), labels.astype(np.int64)


def _read_pairs(path: Path) -> NDArray[np.int64]:
    """Pairs int64[edges, 2] in the order of the file; repeated pairs are left to the caller."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"edge list {path}: {size} bytes; at most {MAX_FILE_BYTES} are allowed")
        with path.open(encoding="utf-8-sig") as lines, warnings.catch_warnings():
            warnings.simplefilter("error")
            pairs = np.loadtxt(lines, np.int64, comments="#", ndmin=2)
    except OSError as error:
        raise InputError(f"edge list {path}: cannot be read ({error.strerror})") from None
    except (ValueError, Warning):
        return _explain(path)
    if pairs.shape[1] != 2 or len(pairs) == 0 or pairs.min() < 0 or (pairs[:, 0] == pairs[:, 1]).any():
        return _explain(path)
    return pairs


def _explain(path: Path) -> NDArray[np.int64]:
    """Read line by line: raise for the first bad line, or return the pairs where the fast reader was too strict."""
    first_seen: dict[tuple[int, int], int] = {}
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"edge list {path}: line {number} is not UTF-8 (byte {error.start + 1})") from None
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        problem = _problem(fields)
        if not problem:
            pair = int(fields[0]), int(fields[1])
            if first_seen.setdefault(pair, number) == number:
                continue
            problem = f"the pair is already on line {first_seen[pair]}"
        shown = line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."
        raise InputError(f"edge list {path}: line {number}: {shown!r}: {problem}")
    if not first_seen:
        raise InputError(f"edge list {path}: no pairs; expected lines of two integers, 'follower followee'")
    return np.array(list(first_seen), np.int64)


def _problem(fields: list[str]) -> str:
    """Why the fields of a line are not a pair; empty where they are."""
    expected = "expected two integers, 'follower followee'"
    if len(fields) != 2:
        return f"{expected}, got {len(fields)} field{'s' if len(fields) > 1 else ''}"
    for field in fields:
        digits = field.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            return f"{expected}; {field[:_SHOWN_CHARACTERS]!r} is not an integer"
        if field.startswith("-"):
            return f"ids must not be negative, got {field[:_SHOWN_CHARACTERS]}"
        if len(digits) > 19 or int(digits) > _MAX_ID:
            return f"ids must be at most {_MAX_ID}, got {field[:_SHOWN_CHARACTERS]}"
    if int(fields[0]) == int(fields[1]):
        return f"account {int(fields[0])} follows itself; self-follows are not allowed"
    return ""
