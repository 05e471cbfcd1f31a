"""Whom a call's rate limit is charged to."""

from __future__ import annotations

from waypost.access.identity import Identity
from waypost.access.policies import LimitClass
from waypost.errors import RateLimited
from waypost.model import MESH_LIMIT_DOMAIN, LimitEntry
from waypost.ports import Limiter


async def charge(limiter: Limiter, limit: LimitClass, identity: Identity, hits: int = 1) -> None:
    """Charges the caller: who has credentials by those and by the workspace, others by their address.

    Raises `RateLimited`.
    """
    if identity.anonymous:
        charged = [LimitEntry("remote_address", identity.address)]
    else:
        charged = [LimitEntry("principal", identity.principal)]
        if identity.workspace_id is not None:
            # Else a workspace with many keys would have as many limits.
            charged.append(LimitEntry("workspace", str(identity.workspace_id)))
    route = LimitEntry("route_class", limit.value)
    decision = await limiter.check(MESH_LIMIT_DOMAIN, [(route, whom) for whom in charged], hits)
    if not decision.allowed:
        raise RateLimited(decision.rule, decision.retry_after, decision.budget)
