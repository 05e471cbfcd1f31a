"""Whom a call's rate limit is charged to."""

from __future__ import annotations

from waypost.access.identity import Identity
from waypost.access.policies import LimitClass
from waypost.errors import RateLimited
from waypost.model import MESH_LIMIT_DOMAIN, LimitEntry
from waypost.ports import Limiter


async def charge(limiter: Limiter, limit: LimitClass, identity: Identity, hits: int = 1) -> None:
    """Charges the caller: who has credentials by those, others by their address. Raises `RateLimited`."""
    who = (
        LimitEntry("remote_address", identity.address)
        if identity.anonymous
        else LimitEntry("principal", identity.principal)
    )
    decision = await limiter.check(MESH_LIMIT_DOMAIN, [(LimitEntry("route_class", limit.value), who)], hits)
    if not decision.allowed:
        raise RateLimited(decision.rule, decision.retry_after)
