"""Two links of the chain: who calls and may they, then how often. Nothing passes that the table of policies lacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache

from waypost.access.authentication import WORKSPACE_HEADER, Authenticator, Presented
from waypost.access.identity import ANONYMOUS, MESH, Identity, Scope
from waypost.access.limits import charge
from waypost.access.policies import LimitClass, Policy
from waypost.errors import InvalidFields, PermissionDenied, Unauthenticated, UnknownMethod
from waypost.model import DEFAULT_WORKSPACE
from waypost.ports import Limiter
from waypost.rpc.address import Network, client_address
from waypost.rpc.chain import Handler
from waypost.rpc.context import CallContext

EDGE_HEADER = "x-waypost-edge"
"""Set by the edge on every call it passes on, and by nobody inside the mesh; what strangers say of it is removed."""

_ANONYMOUS_SCOPES = frozenset({Scope.LINKS_WRITE})


@lru_cache(maxsize=1024)
def _inside(address: str) -> Identity:
    return Identity(MESH, address=address)


class Access:
    """Identifies the caller and holds the call to its method's policy; sets `context.identity`.

    A method without a policy does not exist, for anybody. `exempt` methods (health) are for everybody. `anonymous`:
    whether the methods that may be are open to callers without credentials.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        policies: Mapping[str, Policy],
        trusted: Collection[Network],
        *,
        anonymous: bool = False,
        exempt: frozenset[str] = frozenset(),
    ) -> None:
        self._authenticator = authenticator
        self._policies = policies
        self._trusted = trusted
        self._anonymous = anonymous
        self._exempt = exempt

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call if it may be; raises `Unauthenticated`, `PermissionDenied`, and what `identify` raises."""
        if context.method in self._exempt:
            return await call_next(context, request)
        policy = self._policies.get(context.method)
        if policy is None:
            raise UnknownMethod(context.method)
        address = client_address(context, self._trusted)
        if policy.inside and EDGE_HEADER not in context.headers:
            context.identity = _inside(address)
        else:
            # Known from here on, also to the log line of a call that is refused.
            presented = Presented.of(context.invocation_metadata())
            context.identity = await self._authenticator.identify(presented, address)
            context.identity = self._admitted(context.identity, policy)
        return await call_next(context, request)

    def _admitted(self, identity: Identity, policy: Policy) -> Identity:
        if policy.scope is None:
            return identity
        if identity.principal == ANONYMOUS:
            if policy.anonymous and self._anonymous:
                return replace(identity, workspace_id=DEFAULT_WORKSPACE, scopes=_ANONYMOUS_SCOPES)
            raise Unauthenticated(
                "credentials are missing: an API key in x-api-key, or a token in authorization: Bearer"
            )
        if identity.workspace_id is None:
            if identity.workspaces:
                raise InvalidFields.one(
                    WORKSPACE_HEADER,
                    f"is missing: you are a member of {identity.workspaces} workspaces, name one by its id",
                )
            raise PermissionDenied(policy.scope, "you are a member of no workspace: ask an owner of one to add you")
        if policy.scope not in identity.scopes:
            raise PermissionDenied(policy.scope)
        return identity


class Limits:
    """Asks `limiter` before each call whose policy names a class, but for those whose use case asks by itself.

    `edge_only`: calls from inside the mesh are not limited.
    """

    def __init__(self, limiter: Limiter, policies: Mapping[str, Policy], *, edge_only: bool = False) -> None:
        self._limiter = limiter
        self._edge_only = edge_only
        self._classes = {
            name: policy.limit
            for name, policy in policies.items()
            if policy.limit not in (LimitClass.NONE, LimitClass.CREATE)
        }

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call if it is within its limit; raises `RateLimited`."""
        limit = self._classes.get(context.method)
        if limit is not None and not (self._edge_only and EDGE_HEADER not in context.headers):
            await charge(self._limiter, limit, context.identity)
        return await call_next(context, request)
