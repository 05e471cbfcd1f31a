"""KeyService: what a key may be given, that its secret is in the answer and nowhere else, and its end."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from gateway.accounts.handlers.keys import KeyHandlers
from gateway.accounts.requests import CreateKey
from gateway.requests import Caller
from tests.support.memory_accounts import NOW, MemoryAccounts
from tests.unit.gateway.accounts.world import (
    ELSEWHERE,
    HERE,
    OPERATOR,
    OWNER,
    PEPPERS,
    Clock,
    World,
    caller,
    context,
    violations,
)
from waypost.access.api_keys import KeyRecord, matches, parse_key
from waypost.access.identity import ROLE_SCOPES, Role, Scope
from waypost.accounts import MAX_KEYS
from waypost.api.v1 import key_service_pb2 as pb
from waypost.api.v1.role_pb2 import ROLE_EDITOR, ROLE_OPERATOR, ROLE_OWNER, ROLE_VIEWER
from waypost.errors import PermissionDenied, ResourceNotFound, TooMany

TEN_YEARS = 315_360_000


async def create(world: World, by: Any = OWNER, *metadata: tuple[str, str], **fields: Any) -> pb.CreateKeyResponse:
    return await world.keys.CreateKey(pb.CreateKeyRequest(**{"name": "CI", **fields}), context(by, *metadata))


async def test_a_new_key_counts_and_is_an_editors() -> None:
    world = World()
    made = await create(world, name="  deploy bot ")
    assert re.fullmatch(r"wp_[A-Za-z0-9]{16}\.[A-Za-z0-9_-]{43}", made.secret)
    key = parse_key(made.secret)
    assert key is not None
    assert made.key.key_id == key.key_id
    assert (made.key.name, made.key.role, made.key.created_by) == ("deploy bot", ROLE_EDITOR, "user:owner")
    assert list(made.key.scopes) == sorted(ROLE_SCOPES[Role.EDITOR])
    assert not made.key.HasField("expires_at")
    assert not made.key.HasField("last_used_at")
    assert not made.key.HasField("revoked_at")
    stored = world.rows.keys[key.key_id]
    assert stored.workspace_id == HERE
    record = KeyRecord(key.key_id, HERE, stored.key.role, stored.key.scopes, stored.digest)
    assert matches(key, record, PEPPERS[:1]), "by the first pepper"
    assert not matches(key, record, PEPPERS[1:])


async def test_the_secret_is_in_the_answer_and_nowhere_else() -> None:
    world = World()
    with capture_logs() as logs:
        made = await create(world, expires_at=_at(60))
    secret = made.secret.partition(".")[2]
    stored = world.rows.keys[made.key.key_id]
    for place in (repr(world.rows), repr(world.storage.answers), repr(logs), repr(world.events)):
        assert secret not in place
        assert made.key.key_id in place or place in ("{}", "[]")
    assert repr(stored.digest) not in repr(world.events)
    assert stored.digest.hex() not in repr(world.events)
    assert world.log == [
        (
            "key.create",
            made.key.key_id,
            {
                "name": "CI",
                "role": "editor",
                "scopes": "limits:check links:read links:write workspace:read",
                "expires_at": "2026-06-01T12:01:00+00:00",
            },
        )
    ]
    accounts = MemoryAccounts(world.rows)
    handlers = KeyHandlers(world.storage, accounts, Clock(), PEPPERS)
    key, text = await handlers.create(CreateKey("n"), Caller(OWNER, HERE, "call-2"))
    assert text.secret not in repr((key, text)), "nor where somebody prints what they hold"


async def test_two_keys_have_nothing_in_common() -> None:
    world = World()
    first, second = await create(world), await create(world)
    assert first.key.key_id != second.key.key_id
    assert first.secret.partition(".")[2] != second.secret.partition(".")[2]


async def test_an_idempotency_key_is_refused_with_the_reason() -> None:
    world = World()
    wrong = await violations(create(world, OWNER, ("idempotency-key", "k"), name=""))
    assert wrong.keys() == {"idempotency-key", "name"}
    assert "secret" in wrong["idempotency-key"]
    assert (await violations(create(world, OWNER, ("idempotency-key", "")))).keys() == {"idempotency-key"}
    assert not world.rows.keys


@pytest.mark.parametrize(
    ("number", "role"), [(ROLE_VIEWER, Role.VIEWER), (ROLE_EDITOR, Role.EDITOR), (ROLE_OWNER, Role.OWNER)]
)
async def test_a_key_without_scopes_has_all_of_its_roles(number: Any, role: Role) -> None:
    made = await create(World(), role=number)
    assert (made.key.role, set(made.key.scopes)) == (number, set(ROLE_SCOPES[role]))


async def test_a_key_has_the_scopes_that_are_named_once() -> None:
    world = World()
    made = await create(world, role=ROLE_OWNER, scopes=["links:read", "audit:read", "links:read"])
    assert list(made.key.scopes) == ["audit:read", "links:read"]
    assert world.log[0][2]["scopes"] == "audit:read links:read"


async def test_a_scope_that_is_not_the_roles_is_named_with_those_that_are() -> None:
    world = World()
    wrong = await violations(create(world, role=ROLE_VIEWER, scopes=["links:read", "links:write", "nonsense"]))
    assert wrong.keys() == {"scopes[1]", "scopes[2]"}
    assert wrong["scopes[1]"] == "'links:write' is no scope of the role viewer, which has links:read, workspace:read"
    assert "'nonsense'" in wrong["scopes[2]"]
    assert (await violations(create(world, scopes=["links:read"] * 33))).keys() == {"scopes"}
    assert len(await violations(create(world, scopes=["x" * 1000] * 32))) == 3
    assert not world.rows.keys


async def test_all_wrong_fields_are_named_at_once() -> None:
    wrong = await violations(create(World(), name="a\u202e", role=99, scopes=["x"], ttl_seconds=0))
    assert wrong.keys() == {"name", "role", "ttl_seconds"}
    assert "the number 99" in wrong["role"]
    wrong = await violations(create(World(), name="", role=ROLE_EDITOR, scopes=["x"], ttl_seconds=-1))
    assert wrong.keys() == {"name", "scopes[0]", "ttl_seconds"}


@pytest.mark.parametrize("ttl", [1, TEN_YEARS])
async def test_a_key_ends_after_its_time(ttl: int) -> None:
    made = await create(World(), ttl_seconds=ttl)
    assert made.key.expires_at.ToDatetime(tzinfo=UTC) == NOW + timedelta(seconds=ttl)


@pytest.mark.parametrize("ttl", [0, -5, TEN_YEARS + 1])
async def test_a_time_out_of_bounds_is_refused(ttl: int) -> None:
    assert "ten years" in (await violations(create(World(), ttl_seconds=ttl)))["ttl_seconds"]


async def test_an_end_that_is_none_is_refused() -> None:
    assert "in the future" in (await violations(create(World(), expires_at=_at(0))))["expires_at"]
    beyond = Timestamp(seconds=253_402_300_800)
    assert "no valid time" in (await violations(create(World(), expires_at=beyond)))["expires_at"]
    late = Timestamp(seconds=253_402_300_799)
    assert "key without end" in (await violations(create(World(), expires_at=late)))["expires_at"]


async def test_nobody_gives_a_key_more_than_they_have() -> None:
    world = World()
    limited = caller(Role.OWNER, Scope.KEYS_MANAGE, Scope.LINKS_READ, principal="key:limitedlimitedli")
    with pytest.raises(PermissionDenied) as caught:
        await create(world, limited, role=ROLE_VIEWER)
    assert caught.value.scope == "workspace:read"
    made = await create(world, limited, role=ROLE_VIEWER, scopes=["links:read"])
    assert made.key.created_by == "key:limitedlimitedli"
    with pytest.raises(PermissionDenied):
        await create(world, limited, role=ROLE_OWNER, scopes=["links:read", "workspace:manage"])
    assert len(world.rows.keys) == 1
    assert len(world.events) == 1


async def test_only_operators_make_keys_of_operators() -> None:
    world = World()
    for scopes in ([], ["links:read"], ["mesh:read"]):
        with pytest.raises(PermissionDenied):
            await create(world, OWNER, role=ROLE_OPERATOR, scopes=scopes)
    limited = caller(Role.OPERATOR, Scope.KEYS_MANAGE, Scope.LINKS_READ)
    with pytest.raises(PermissionDenied):
        await create(world, limited, role=ROLE_OPERATOR)
    assert not world.rows.keys
    made = await create(world, OPERATOR, role=ROLE_OPERATOR)
    assert set(made.key.scopes) == set(Scope)
    made = await create(world, limited, role=ROLE_OPERATOR, scopes=["links:read"])
    assert list(made.key.scopes) == ["links:read"]


async def test_a_key_belongs_to_the_workspace_of_the_call() -> None:
    world = World()
    made = await create(world, caller(workspace_id=ELSEWHERE))
    assert world.rows.keys[made.key.key_id].workspace_id == ELSEWHERE
    assert world.events[0].workspace_id == ELSEWHERE
    for call in (
        world.keys.GetKey(pb.GetKeyRequest(key_id=made.key.key_id), context()),
        world.keys.RevokeKey(pb.RevokeKeyRequest(key_id=made.key.key_id), context()),
    ):
        with pytest.raises(ResourceNotFound):
            await call
    assert not (await world.keys.ListKeys(pb.ListKeysRequest(), context())).keys
    assert world.rows.keys[made.key.key_id].key.revoked_at is None


async def test_without_a_pepper_no_key_is_made() -> None:
    world = World(peppers=())
    with pytest.raises(PermissionDenied, match="pepper"):
        await create(world)
    assert not world.rows.keys


async def test_a_key_is_revoked_once() -> None:
    world = World()
    made = await create(world)
    request = pb.RevokeKeyRequest(key_id=made.key.key_id)
    first = await world.keys.RevokeKey(request, context())
    assert first.HasField("revoked_at")
    assert await world.keys.RevokeKey(request, context()) == first, "a second time changes nothing"
    assert await world.keys.GetKey(pb.GetKeyRequest(key_id=made.key.key_id), context()) == first
    assert world.log[1:] == [("key.revoke", made.key.key_id, {"name": "CI", "role": "editor"})]
    assert world.storage.commits == 2


async def test_an_operators_key_is_revoked_by_operators() -> None:
    world = World()
    made = await create(world, OPERATOR, role=ROLE_OPERATOR, scopes=["links:read"])
    request = pb.RevokeKeyRequest(key_id=made.key.key_id)
    with pytest.raises(PermissionDenied, match="only operators give and take"):
        await world.keys.RevokeKey(request, context(OWNER))
    assert world.rows.keys[made.key.key_id].key.revoked_at is None
    assert (await world.keys.RevokeKey(request, context(OPERATOR))).HasField("revoked_at")


@pytest.mark.parametrize("call", ["GetKey", "RevokeKey"])
async def test_a_whole_key_is_no_id_and_is_not_repeated(call: str) -> None:
    world = World()
    made = await create(world)
    request = getattr(pb, f"{call}Request")
    for key_id in (made.secret, f"wp_{made.key.key_id}"):
        problems = await violations(getattr(world.keys, call)(request(key_id=key_id), context()))
        assert problems == {"key_id": "must be the id alone: what stands between wp_ and the dot"}


@pytest.mark.parametrize("key_id", ["A" * 16, "no such key", "\x00", "ä"])
async def test_a_key_that_is_not_there_is_not_found(key_id: str) -> None:
    world = World()
    with pytest.raises(ResourceNotFound):
        await world.keys.GetKey(pb.GetKeyRequest(key_id=key_id), context())
    with pytest.raises(ResourceNotFound):
        await world.keys.RevokeKey(pb.RevokeKeyRequest(key_id=key_id), context())
    assert not world.events


async def test_a_key_has_to_be_named() -> None:
    world = World()
    assert (await violations(world.keys.GetKey(pb.GetKeyRequest(), context()))).keys() == {"key_id"}
    assert (await violations(world.keys.RevokeKey(pb.RevokeKeyRequest(), context()))).keys() == {"key_id"}


async def test_a_workspace_has_so_many_live_keys_and_no_more() -> None:
    world = World()
    made = [await create(world, ttl_seconds=100) for _ in range(MAX_KEYS)]
    with pytest.raises(TooMany) as caught:
        await create(world)
    assert (caught.value.type, caught.value.limit) == ("key", 1000)
    await create(world, caller(workspace_id=ELSEWHERE))
    await world.keys.RevokeKey(pb.RevokeKeyRequest(key_id=made[0].key.key_id), context())
    await create(world, ttl_seconds=100)
    with pytest.raises(TooMany):
        await create(world)
    world.rows.now += timedelta(seconds=101)
    await create(world)


async def test_keys_come_newest_first_page_by_page() -> None:
    world = World()
    made = [(await create(world, name=f"k{number}")).key.key_id for number in range(5)]
    await world.keys.RevokeKey(pb.RevokeKeyRequest(key_id=made[1]), context())
    found, token, pages = [], "", 0
    while True:
        page = await world.keys.ListKeys(pb.ListKeysRequest(page_size=2, page_token=token), context())
        found += [key.key_id for key in page.keys]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (found, pages) == (made[::-1], 3)


def _at(seconds: int) -> Timestamp:
    at = Timestamp()
    at.FromDatetime(NOW + timedelta(seconds=seconds))
    return at
