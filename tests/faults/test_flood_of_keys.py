"""An attacker sends a million keys, half of them over their limit: memory stays at its cap, and nothing is forgiven."""

from __future__ import annotations

import gc
import random
from array import array
from pathlib import Path

import pytest

from native import COMPILED, Table
from native.limits import Algorithm, Limit

KEYS = 1_000_000 if COMPILED else 20_000
CAPACITY = KEYS // 10
ROUNDS = 5
ALLOWED = 3
NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit",
    [
        Limit(Algorithm.FIXED_WINDOW, ALLOWED, HOUR_US),
        Limit(Algorithm.SLIDING_WINDOW, ALLOWED, HOUR_US),
        Limit(Algorithm.TOKEN_BUCKET, ALLOWED, HOUR_US),
    ],
    ids=lambda limit: str(limit.algorithm),
)
def test_a_million_keys_of_an_attacker_get_no_more_than_their_limit(limit: Limit) -> None:
    """Every second key asks five times for its three hits; the others ask once, to push those out."""
    table = Table(CAPACITY)
    counters = table.limiter(("flood", limit.algorithm), limit)
    asked = array("I", [key for key in range(KEYS) for _ in range(ROUNDS if key % 2 else 1)])
    # By the hundred thousand, so that those who were refused come back after many others have been.
    order = list(range(0, len(asked), 100))
    random.Random(20).shuffle(order)
    admitted = bytearray(KEYS)
    gc.collect()
    cap, before = table.memory_bytes, resident_bytes()
    for start in order:
        for key in asked[start : start + 100]:
            admitted[key] += counters.allow(str(key), NOW_US)
    assert max(admitted) <= ALLOWED
    # The price is not everybody's: who came while there was room has had what is theirs.
    assert sum(admitted) >= CAPACITY // 2

    # And after all of it, once more by everyone who has had their share.
    served = [key for key in range(KEYS) if admitted[key] == ALLOWED]
    assert served
    assert not any(counters.allow(str(key), NOW_US) for key in served)

    assert len(table) <= CAPACITY
    assert table.memory_bytes <= cap + 4096
    if COMPILED:
        assert table.memory_bytes <= 64 * CAPACITY * 5 // 4 + 65_536
        # What the process has besides is this test's own lists.
        assert resident_bytes() - before <= table.memory_bytes + 64 * 2**20
    assert table.overflows > 0
