"""The script `lua/decide.lua`: a request's questions as its arguments, its reply as the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from struct import Struct

from native.limits import Algorithm, Decision
from native.request import NOWHERE, Elsewhere, Mode, Question, Verdict
from waypost.adapters.redis_keys import counter_key

SOURCE = Path(__file__).with_name("lua").joinpath("decide.lua").read_bytes()
SHA = sha1(SOURCE, usedforsecurity=False).hexdigest().encode()

LARGEST = 2**53 - 1
"""The largest number that the script knows: larger ones are cut off there, on the way to it and back."""

_HEADER = Struct("<5d")
_QUESTION = Struct("<8d")
_ALGORITHMS = {Algorithm.FIXED_WINDOW: 0, Algorithm.SLIDING_WINDOW: 1, Algorithm.TOKEN_BUCKET: 2}

NOTHING = _HEADER.pack(0, 0, 0, 0, 0)
"""The argument of a request without questions: shows that the script can run."""


def decision_arguments(
    domain: str, questions: Sequence[Question], elsewhere: Elsewhere = NOWHERE, *, replay_us: int = 0
) -> tuple[list[bytes], bytes]:
    """Keys and argument of a decision. `replay_us` decides as if it were then; only for what happened before."""
    header = _HEADER.pack(replay_us, 0, elsewhere.refused, elsewhere.quotas, elsewhere.quotas_refusing)
    return _arguments(domain, questions, header)


def look_arguments(domain: str, questions: Sequence[Question], *, replay_us: int = 0) -> tuple[list[bytes], bytes]:
    """Keys and argument of a look at each question by itself."""
    plain = [question._replace(hits=max(0, question.hits), mode=Mode.PLAIN) for question in questions]
    return _arguments(domain, plain, _HEADER.pack(replay_us, 1, 0, 0, 0))


def verdict_of(reply: Sequence[int]) -> Verdict:
    """What the script replied."""
    decisions = tuple(
        Decision(reply[at] == 1, reply[at + 1], reply[at + 2], None if reply[at + 3] < 0 else reply[at + 3])
        for at in range(1, len(reply), 4)
    )
    return Verdict(reply[0] == 1, decisions)


def _arguments(domain: str, questions: Sequence[Question], header: bytes) -> tuple[list[bytes], bytes]:
    numbers: dict[bytes, int] = {}
    descriptors: dict[int, int] = {}
    parts = [header]
    for question in questions:
        key = numbers.setdefault(counter_key(domain, question.rule, question.values), len(numbers) + 1)
        descriptor = descriptors.setdefault(question.descriptor, len(descriptors) + 1)
        limit = question.limit
        parts.append(
            _QUESTION.pack(
                key,
                _ALGORITHMS[limit.algorithm],
                min(limit.limit, LARGEST),
                min(limit.window_us, LARGEST),
                min(limit.capacity, LARGEST),
                max(-LARGEST, min(question.hits, LARGEST)),
                descriptor,
                question.mode,
            )
        )
    return list(numbers), b"".join(parts)
