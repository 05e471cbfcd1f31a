"""The gate of a service: which calls pass, as whom, and what the others are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import grpc
import pytest

from tests.support.memory_credentials import NOW, PEPPER, MemoryCredentials, NamedTokens
from tests.support.service import GET_LINK, LIMITS, LINKS, Limits, Links, echo, reason_of, running, trailers_of
from waypost.access.authentication import Authenticator
from waypost.access.failures import Failures
from waypost.access.identity import ANONYMOUS, MESH, Identity, Membership, Role, Scope
from waypost.access.policies import POLICIES, LimitClass, Objects, Policy
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.errors import InvalidFields, PermissionDenied, RateLimited, Unauthenticated, UnknownMethod
from waypost.model import DEFAULT_WORKSPACE, LimitDecision, LimitEntry
from waypost.rpc import access
from waypost.rpc.access import Access
from waypost.rpc.context import CallContext, Metadata
from waypost.rpc.server import HEALTH_CHECK

TRUSTED = [ip_network("127.0.0.0/8")]
CHECK = f"/{LIMITS}/Check"
CREATE = f"/{LINKS}/CreateLink"
RESOLVE = f"/{LINKS}/ResolveLink"
EDGE = ("x-waypost-edge", "1")


class Clock:
    """A time of day that stands still."""

    def now(self) -> Any:
        return NOW


class World:
    """A gate with everything behind it in memory."""

    def __init__(self, *, anonymous: bool = False, **options: Any) -> None:
        self.store = MemoryCredentials()
        authenticator = Authenticator(
            self.store, (PEPPER,), NamedTokens(), frozenset({"root"}), Clock(), Failures(1000, lambda: 10**12)
        )
        self.gate = Access(authenticator, options.pop("policies", POLICIES), TRUSTED, anonymous=anonymous, **options)

    async def admitted(
        self, method: str, *metadata: tuple[str, str | bytes], peer: str = "ipv4:127.0.0.1:5"
    ) -> Identity:
        """As whom the call reaches its method."""
        context = CallContext(method, metadata, peer, None)
        reached: list[Identity] = []

        async def handler(context: CallContext, request: bytes) -> bytes:
            reached.append(context.identity)
            return b"answer"

        assert await self.gate(context, b"", handler) == b"answer"
        (identity,) = reached
        return identity

    def key(self, role: Role = Role.OWNER, scopes: Sequence[Scope] = ()) -> tuple[str, str]:
        """The header with a new key."""
        return "x-api-key", self.store.add_key(role, scopes=scopes).text


# The table


async def test_a_method_without_a_policy_is_not_there_for_anybody() -> None:
    world = World(policies={name: policy for name, policy in POLICIES.items() if name != GET_LINK})
    for metadata in ((), (world.key(Role.OPERATOR),), (("x-api-key", "nonsense"),)):
        with pytest.raises(UnknownMethod):
            await world.admitted(GET_LINK, *metadata)
    assert world.store.reads == 0


async def test_a_served_method_without_a_policy_answers_unimplemented() -> None:
    world = World(policies={name: policy for name, policy in POLICIES.items() if name != GET_LINK})
    links = Links()
    async with running(links, gate=[world.gate]) as service:
        error = await service.refusal("abc", metadata=[world.key(Role.OPERATOR)])
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert reason_of(error)[0] == "UNKNOWN_METHOD"
    assert links.script.calls == []


async def test_exempt_methods_are_for_everybody() -> None:
    world = World(exempt=frozenset({HEALTH_CHECK}))
    assert (await world.admitted(HEALTH_CHECK, ("x-api-key", "nonsense"))).principal == ANONYMOUS


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("role", Role)
async def test_each_role_passes_where_it_has_the_scope_and_nowhere_else(name: str, role: Role) -> None:
    world, policy = World(), POLICIES[name]
    header = world.key(role)
    record = next(iter(world.store.keys.values()))
    if policy.scope is None or policy.scope in record.scopes:
        identity = await world.admitted(name, header, EDGE)
        assert (identity.principal, identity.workspace_id) == (f"key:{record.key_id}", DEFAULT_WORKSPACE)
        assert (identity.role, identity.scopes) == (role, record.scopes)
    else:
        with pytest.raises(PermissionDenied) as caught:
            await world.admitted(name, header, EDGE)
        assert caught.value.scope == policy.scope


@pytest.mark.parametrize("name", sorted(POLICIES))
async def test_a_key_with_one_scope_passes_where_that_is_asked_for_and_nowhere_else(name: str) -> None:
    world, policy = World(), POLICIES[name]
    for scope in Scope:
        header = world.key(Role.OPERATOR, [scope])
        if policy.scope in (None, scope):
            assert (await world.admitted(name, header, EDGE)).scopes == {scope}
        else:
            with pytest.raises(PermissionDenied):
                await world.admitted(name, header, EDGE)


# Without credentials


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("anonymous", [False, True])
async def test_who_has_no_credentials_passes_where_the_table_says_so(name: str, anonymous: bool) -> None:
    world, policy = World(anonymous=anonymous), POLICIES[name]
    if policy.scope is None:
        identity = await world.admitted(name, EDGE)
        assert (identity.principal, identity.workspace_id, identity.scopes) == (ANONYMOUS, None, frozenset())
    elif policy.anonymous and anonymous:
        identity = await world.admitted(name, EDGE)
        assert (identity.principal, identity.workspace_id) == (ANONYMOUS, DEFAULT_WORKSPACE)
        assert (identity.role, identity.scopes) == (None, frozenset({Scope.LINKS_WRITE}))
    else:
        with pytest.raises(Unauthenticated, match="credentials are missing"):
            await world.admitted(name, EDGE)


@pytest.mark.parametrize("anonymous", [False, True])
async def test_wrong_credentials_are_not_taken_for_none(anonymous: bool) -> None:
    world = World(anonymous=anonymous)
    for method in (CREATE, RESOLVE):
        for header in (("x-api-key", "nonsense"), ("authorization", "Bearer forged"), ("authorization", "Basic x")):
            with pytest.raises(Unauthenticated):
                await world.admitted(method, header)


async def test_who_is_anonymous_cannot_choose_a_workspace() -> None:
    for method in (CREATE, RESOLVE):
        with pytest.raises(Unauthenticated):
            await World(anonymous=True).admitted(method, ("x-workspace", str(UUID(int=2))))


# People


async def test_a_member_of_several_is_asked_to_name_one_where_it_matters() -> None:
    world = World()
    world.store.members["ada"] = [Membership(DEFAULT_WORKSPACE, Role.OWNER), Membership(UUID(int=2), Role.VIEWER)]
    header = ("authorization", "Bearer token-of-ada")
    with pytest.raises(InvalidFields, match="member of 2 workspaces") as caught:
        await world.admitted(GET_LINK, header)
    assert [violation.field for violation in caught.value.violations] == ["x-workspace"]
    assert (await world.admitted("/waypost.api.v1.WorkspaceService/ListWorkspaces", header)).principal == "user:ada"
    other = ("x-workspace", str(UUID(int=2)))
    assert (await world.admitted(GET_LINK, header, other)).role is Role.VIEWER
    with pytest.raises(PermissionDenied):
        await world.admitted(CREATE, header, other)


async def test_a_member_of_none_is_told_so() -> None:
    with pytest.raises(PermissionDenied, match="member of no workspace"):
        await World().admitted(GET_LINK, ("authorization", "Bearer token-of-ada"))


# Inside of the mesh


async def test_processes_of_the_mesh_come_past_the_edge() -> None:
    identity = await World().admitted(CHECK)
    assert identity == Identity(MESH, address="127.0.0.1")


@pytest.mark.parametrize("value", ["1", "", "0", "false"])
async def test_what_came_by_the_edge_needs_credentials_whatever_it_says(value: str) -> None:
    world = World()
    with pytest.raises(Unauthenticated):
        await world.admitted(CHECK, ("x-waypost-edge", value))
    assert (await world.admitted(CHECK, ("x-waypost-edge", value), world.key())).principal.startswith("key:")


@pytest.mark.parametrize(
    "name", sorted(name for name, policy in POLICIES.items() if policy.scope and not policy.inside)
)
async def test_past_the_edge_everything_else_needs_credentials_too(name: str) -> None:
    forged = [("x-waypost-principal", "mesh"), ("x-waypost-identity", "mesh"), ("x-forwarded-for", "127.0.0.1")]
    with pytest.raises(Unauthenticated):
        await World().admitted(name, *forged)


async def test_a_process_of_the_mesh_touches_nobodys_objects() -> None:
    identity = await World().admitted(CHECK)
    assert (identity.workspace_id, identity.role, identity.scopes) == (None, None, frozenset())


# Over the wire


async def test_a_refusal_says_what_to_do_and_how_to_ask() -> None:
    world = World()
    async with running(Links(), gate=[world.gate]) as service:
        error = await service.refusal()
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert trailers_of(error)["www-authenticate"] == 'Bearer realm="waypost"'
        assert "x-api-key" in (error.details() or "")
        error = await service.refusal(metadata=[world.key(Role.OPERATOR, [Scope.MESH_READ])])
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "links:read" in (error.details() or "")
        assert "www-authenticate" not in trailers_of(error)
        assert (await service.get(metadata=[world.key(Role.VIEWER)])).short_code == "abc"


async def test_the_log_names_the_caller_and_no_secret() -> None:
    world = World()
    header = world.key()
    async with running(Links(), gate=[world.gate], log_level="debug") as service:
        await service.get(metadata=[header])
        assert (await service.log.rpc())["principal"] == f"key:{next(iter(world.store.keys))}"
        await service.refusal(metadata=[("x-api-key", header[1][:-1])])
        await service.refusal(metadata=[("authorization", "Bearer forged-secret")])
        await service.log.rpc(3)
        assert header[1].partition(".")[2][:-1] not in service.log.text
        assert "forged-secret" not in service.log.text
        assert [line["principal"] for line in service.log.of("rpc")][1:] == [ANONYMOUS] * 2


async def test_a_methods_own_most_time_holds_whatever_the_caller_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    capped = {**POLICIES, GET_LINK: Policy(None, Objects.PUBLIC, LimitClass.READ, seconds=0.2)}
    monkeypatch.setattr("waypost.rpc.process.POLICIES", capped)
    links = Links()
    async with running(links, max_deadline_ms=20_000) as service:

        async def forever(request: object, context: CallContext) -> object:
            await asyncio.Event().wait()
            return await echo(request, context)

        links.script.get_link = forever
        error = await service.refusal(timeout=15)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert links.script.calls[0].timeout == 0.2
        await asyncio.wait_for(service.links.ResolveLink(pb.ResolveLinkRequest(short_code="x"), timeout=15), 5)


async def test_a_method_of_a_service_of_the_mesh_is_called_from_inside() -> None:
    world = World()
    async with running(Limits(), gate=[world.gate]) as service:
        request = limits_pb.CheckRequest(domain="mine")
        assert (await service.limits.Check(request)).allowed
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.limits.Check(request, metadata=[EDGE])
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


# Limits


class Limiter:
    """Answers as it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.decision = LimitDecision(True)
        self.asked: list[Sequence[Sequence[LimitEntry]]] = []

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        self.asked.append(descriptors)
        return self.decision


async def through(limiter: Limiter, method: str, metadata: Metadata = (), **options: bool) -> bytes:
    """What a call of somebody with credentials comes to."""
    context = CallContext(method, metadata, "unix:", None)
    context.identity = Identity("user:ada")

    async def handler(context: CallContext, request: bytes) -> bytes:
        return b"answer"

    return await access.Limits(limiter, POLICIES, **options)(context, b"", handler)


@pytest.mark.parametrize("name", sorted(POLICIES))
async def test_each_call_is_limited_by_its_class_once_and_creating_by_its_use_case(name: str) -> None:
    limiter, limit = Limiter(), POLICIES[name].limit
    assert await through(limiter, name) == b"answer"
    if limit in (LimitClass.NONE, LimitClass.CREATE):
        assert limiter.asked == []
    else:
        assert limiter.asked == [[(LimitEntry("route_class", limit.value), LimitEntry("principal", "user:ada"))]]


async def test_a_call_over_its_limit_does_not_reach_its_method() -> None:
    limiter = Limiter()
    limiter.decision = LimitDecision(False, "reads", 1.0)
    with pytest.raises(RateLimited):
        await through(limiter, GET_LINK)


async def test_calls_from_inside_are_not_limited_where_only_the_edge_is() -> None:
    limiter = Limiter()
    await through(limiter, CHECK, edge_only=True)
    assert limiter.asked == []
    await through(limiter, CHECK, [EDGE], edge_only=True)
    assert limiter.asked == [[(LimitEntry("route_class", "check"), LimitEntry("principal", "user:ada"))]]
