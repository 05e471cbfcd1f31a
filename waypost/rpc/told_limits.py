"""Tells callers what is left of their limits, also when they are within them."""

from __future__ import annotations

from collections.abc import Sequence

from waypost.limit_headers import limit_headers
from waypost.model import LimitDecision, LimitEntry
from waypost.ports import Limiter
from waypost.rpc.context import CURRENT


class ToldLimits:
    """Asks `limiter`; an admitted call's answer says what its caller has left. In a refusal the error says it."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        """One decision, as `limiter` has it."""
        decision = await self._limiter.check(domain, descriptors, hits)
        context = CURRENT.get(None)
        if decision.allowed and decision.budget is not None and context is not None:
            # Before the answer, not behind it: JSON callers see no trailers.
            context.add_initial_metadata(list(limit_headers(decision.rule, decision.budget).items()))
        return decision
