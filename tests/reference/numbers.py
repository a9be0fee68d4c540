"""Random numbers and quantile tables, written again from their definitions.

Philox4x32-10 is that of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11), section 3.2, in Python's
unbounded integers. The key of a purpose, the uniform number and the table are those of ARCHITECTURE.md ("Randomness",
"Tables of quantiles").
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

Words = tuple[int, int, int, int]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 1 << 32
ROUNDS = 10
CELLS = 1024


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Four 32-bit words out of a 128-bit counter and a 64-bit key."""
    for number in range(ROUNDS):
        high, low = divmod(MULTIPLIERS[0] * counter[0], WORD)
        other_high, other_low = divmod(MULTIPLIERS[1] * counter[2], WORD)
        first, second = ((key[i] + number * WEYL[i]) % WORD for i in (0, 1))
        counter = (other_high ^ counter[1] ^ first, other_low, high ^ counter[3] ^ second, low)
    return counter


def key_of(seed: int, purpose: str) -> int:
    """The 64-bit key of a purpose: the first eight bytes of its BLAKE2b under the seed, little-endian."""
    digest = hashlib.blake2b(purpose.encode(), key=seed.to_bytes(8, "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniform(key: int, entity: int, attempt: int, draw: int) -> float:
    """A number in (0, 1): the centre of one of 2^52 cells."""
    counter = (entity % WORD, entity // WORD, draw % WORD, attempt % WORD)
    words = philox4x32(counter, (key % WORD, key // WORD))
    return ((words[0] * WORD + words[1]) // 4096 + 0.5) / 2**52


def quantile(table: Sequence[float], u: float) -> float:
    """The quantile at `u`: linear between 1024ths, and an exponential tail of mean ``table[1025]`` in the last cell."""
    cell = math.floor(u * CELLS)
    if cell >= CELLS - 1:
        return table[CELLS - 1] - table[CELLS + 1] * math.log((1.0 - u) * CELLS)
    part = u * CELLS - cell
    return table[cell] * (1.0 - part) + table[cell + 1] * part
