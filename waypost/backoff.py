"""Exponential backoff with full jitter, for reconnects and restarts."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `delay(n)` is uniform over `[0, min(cap, base · 2ⁿ)]`, never below `floor`.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """

    base: float = 0.1
    cap: float = 2.0
    floor: float = 0.0

    def delay(self, attempt: int) -> float:
        """The wait before try number `attempt` (0 is the first retry)."""
        bound = min(self.cap, self.base * 2 ** min(attempt, 32))
        return max(self.floor, random.uniform(0, bound))  # noqa: S311 - spreading load needs no secret
