"""The limiter limits its own callers: what its servicers ask of it, without a call."""

from __future__ import annotations

from collections.abc import Sequence

from ratelimiter.handlers import Checker
from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.results import DescriptorStatus
from waypost.model import Budget, LimitDecision, LimitEntry

MICROSECONDS = 1_000_000


class OwnLimiter:
    """The port `Limiter` over `checker`."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        """One decision."""
        asked = LimitRequest(domain, tuple(Descriptor(tuple(entries)) for entries in descriptors), hits)
        result = await self._checker.check(asked)
        limited = [status for status in result.statuses if status.limit is not None]
        if result.allowed:
            told = min(limited, key=lambda status: status.remaining, default=None)
        else:
            told = next((status for status in limited if not status.allowed), None)
        retry_after_us = 0 if result.allowed else result.retry_after_us
        return LimitDecision(
            result.allowed,
            "" if told is None else told.rule,
            None if retry_after_us is None else retry_after_us / MICROSECONDS,
            degraded=result.degraded,
            budget=None if told is None else _budget(told),
        )


def _budget(status: DescriptorStatus) -> Budget | None:
    if status.limit is None:
        return None
    limit = status.limit.limit
    window, reset = limit.window_us / MICROSECONDS, status.reset_after_us / MICROSECONDS
    return Budget(limit.limit, window, status.remaining, reset)
