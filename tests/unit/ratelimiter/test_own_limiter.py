"""The limiter's answers to itself."""

from __future__ import annotations

from ratelimiter.own_limiter import OwnLimiter
from tests.support.limiter import Limiter
from waypost.model import Budget, LimitDecision, LimitEntry

RULES = """
domain: waypost
descriptors:
  - key: wide
    rate_limit: {unit: minute, requests_per_unit: 9, algorithm: token_bucket}
  - key: narrow
    rate_limit: {unit: minute, requests_per_unit: 2, algorithm: token_bucket}
"""
WIDE, NARROW, FREE = ([LimitEntry(key, "x")] for key in ("wide", "narrow", "free"))


async def test_who_is_admitted_hears_of_the_limit_that_has_the_least_left() -> None:
    limiter = OwnLimiter(Limiter(RULES).checker)
    assert await limiter.check("waypost", [WIDE, NARROW]) == LimitDecision(
        True, "waypost.narrow", budget=Budget(2, 60.0, 1, 30.0)
    )
    assert await limiter.check("waypost", [FREE]) == LimitDecision(True)


async def test_who_is_refused_hears_by_what_and_until_when() -> None:
    limiter = OwnLimiter(Limiter(RULES).checker)
    await limiter.check("waypost", [NARROW], 2)
    assert await limiter.check("waypost", [WIDE, NARROW]) == LimitDecision(
        False, "waypost.narrow", 30.0, budget=Budget(2, 60.0, 0, 30.0)
    )
    assert await limiter.check("waypost", [NARROW], 3) == LimitDecision(
        False, "waypost.narrow", None, budget=Budget(2, 60.0, 0, 60.0)
    )
