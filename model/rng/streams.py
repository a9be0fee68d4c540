"""Independent numpy generators by name, for everything that is drawn in bulk outside the event loop."""

from __future__ import annotations

import hashlib

import numpy as np

_MAX_ENTITIES = 3


def generator(seed: int, purpose: str, *entity: int) -> np.random.Generator:
    """The stream of `purpose` (and of up to three non-negative `entity` numbers) under one root seed.

    Philox4x64-10 (Salmon et al., SC'11), keyed by a hash of seed and purpose; the entities are the high words of its
    256-bit counter and the draws advance the lowest one. Streams never overlap, a new one shifts nobody's draws, and
    any one can be made without the others.
    """
    if len(entity) > _MAX_ENTITIES or any(number < 0 for number in entity):
        raise ValueError(f"entity is {entity}; at most {_MAX_ENTITIES} non-negative numbers are allowed")
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest()
    # An absent entity is 0 and a present one is counted from 1, so that f(1) and f(1, 0) are two streams.
    words = [0, *(number + 1 for number in entity), *([0] * (_MAX_ENTITIES - len(entity)))]
    key, counter = np.frombuffer(digest, np.uint64), np.array(words, np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
