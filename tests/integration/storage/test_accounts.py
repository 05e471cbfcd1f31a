"""Members, keys and workspaces: what every store does alike, what PostgreSQL keeps apart, and rivals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import waypost.adapters
from gateway.accounts.handlers.keys import KeyHandlers
from gateway.accounts.handlers.members import MemberHandlers
from gateway.accounts.handlers.workspaces import WorkspaceHandlers
from gateway.accounts.ports import Workspaces
from gateway.accounts.requests import AddMember, CreateKey, UpdateMember
from gateway.requests import Caller
from tests.integration.storage.conftest import PUBLIC_URL
from tests.support.memory_accounts import MemoryAccounts
from tests.support.memory_storage import MemoryStorage
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.access.identity import ROLE_SCOPES, Identity, Role, Scope
from waypost.accounts import MAX_KEYS, MAX_MEMBERS, Key, KeyPlace, Member, NewKey, Workspace
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_accounts import PostgresAccountReader
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_workspaces import PostgresWorkspaces
from waypost.adapters.queries import QUERIES, blocks
from waypost.audit import Action, AuditEntry, entry_of
from waypost.clock import ServerClock
from waypost.errors import DependencyUnavailable, LastOwner, MemberExists, TooMany
from waypost.model import DEFAULT_WORKSPACE
from waypost.ports import AccountReader, Storage

HERE = DEFAULT_WORKSPACE
ELSEWHERE = UUID("00000000-0000-0000-0000-00000000000e")
NOWHERE = UUID("00000000-0000-0000-0000-0000000000ff")
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
LONG_FROM_NOW = datetime(2101, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
OWNER = Identity("user:owner", HERE, Role.OWNER, ROLE_SCOPES[Role.OWNER], "192.0.2.0")
CALLER = Caller(OWNER, HERE, "call-1")


@dataclass
class Stores:
    """The ports of accounts over one store; it has the workspaces `HERE` and `ELSEWHERE`."""

    storage: Storage
    reader: AccountReader
    workspaces: Workspaces

    async def add_member(self, subject: str, role: Role = Role.VIEWER, name: str = "", at: UUID = HERE) -> None:
        async with self.storage.unit_of_work(at) as work:
            assert await work.members.add(member(subject, role, name))
            await work.commit()

    async def add_key(self, number: int, at: UUID = HERE, **fields: Any) -> Key:
        async with self.storage.unit_of_work(at) as work:
            key = await work.keys.add(new_key(number, **fields))
            await work.commit()
        return key

    async def roles(self, at: UUID = HERE) -> dict[str, Role]:
        return {one.subject: one.role for one in await self.reader.list_members(at, 100, "")}


def member(subject: str, role: Role = Role.VIEWER, name: str = "") -> Member:
    return Member(subject, role, name, LONG_AGO)


def new_key(number: int, **fields: Any) -> NewKey:
    role = fields.get("role", Role.EDITOR)
    values = {"name": f"key {number}", "role": role, "scopes": ROLE_SCOPES[role], "created_by": "user:owner"}
    return NewKey(key_id=f"{number:016}", digest=bytes([number % 256]) * 32, **(values | fields))


def postgres_stores(api: Postgres, operators: Postgres) -> Stores:
    return Stores(PostgresStorage(api, PUBLIC_URL), PostgresAccountReader(api), PostgresWorkspaces(operators))


@pytest.fixture
async def elsewhere(owner: asyncpg.Connection) -> None:
    """A second workspace."""
    await owner.execute("INSERT INTO workspaces (id, name) VALUES ($1, 'elsewhere')", ELSEWHERE)


@pytest.fixture
def postgres_only(elsewhere: None, api: Postgres, operators: Postgres) -> Stores:
    return postgres_stores(api, operators)


@pytest.fixture(params=["memory", "postgres"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Every store, one after the other."""
    if request.param == "memory":
        storage = MemoryStorage()
        storage.accounts.workspaces[ELSEWHERE] = Workspace(ELSEWHERE, "elsewhere", LONG_AGO)
        accounts = MemoryAccounts(storage.accounts)
        yield Stores(storage, accounts, accounts)
        return
    # By hand: a fixture that is asked for by name from inside of a coroutine cannot be one itself.
    database: Database = request.getfixturevalue("database")
    connection = await asyncpg.connect(database.url())
    await connection.execute("INSERT INTO workspaces (id, name) VALUES ($1, 'elsewhere')", ELSEWHERE)
    await connection.close()
    async with (
        Postgres(database.url("waypost_api"), max_size=4) as api,
        Postgres(database.url("waypost_operator"), max_size=4) as operators,
    ):
        yield postgres_stores(api, operators)


# What every store does alike.


async def test_a_member_is_read_back_as_given_but_for_the_time(stores: Stores) -> None:
    await stores.add_member("auth0|Ann!~", Role.OWNER, "Ann Ä. 🦉" + "x" * 119)
    (read,) = await stores.reader.list_members(HERE, 10, "")
    assert (read.subject, read.role, read.name) == ("auth0|Ann!~", Role.OWNER, "Ann Ä. 🦉" + "x" * 119)
    assert read.created_at > LONG_AGO, "the store's time"
    assert read.created_at.tzinfo is not None
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.members.lock("auth0|Ann!~") == read
        changed = await work.members.update(replace(read, role=Role.VIEWER, name=""))
        assert changed == replace(read, role=Role.VIEWER, name="")
        await work.commit()
    assert list(await stores.reader.list_members(HERE, 10, "")) == [changed]
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.members.lock("auth0|Ann!~") == changed
        await work.members.remove("auth0|Ann!~")
        assert await work.members.lock("auth0|Ann!~") is None
        await work.commit()
    assert not await stores.reader.list_members(HERE, 10, "")


async def test_without_commit_nothing_happened(stores: Stores) -> None:
    await stores.add_member("ann", Role.OWNER)
    await stores.add_key(1)
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.members.add(member("bob"))
        await work.members.remove("ann")
        await work.keys.add(new_key(2))
        assert await work.keys.revoke("0" * 15 + "1") is not None
        assert await work.workspace.rename("other") is not None
    assert await stores.roles() == {"ann": Role.OWNER}
    (key,) = await stores.reader.list_keys(HERE, 10, None)
    assert key.revoked_at is None
    workspace = await stores.reader.get_workspace(HERE)
    assert workspace is not None
    assert workspace.name == "default"


async def test_a_subject_is_a_member_once_in_each_workspace(stores: Stores) -> None:
    await stores.add_member("ann", Role.OWNER)
    async with stores.storage.unit_of_work(HERE) as work:
        assert not await work.members.add(member("ann"))
        assert await work.members.add(member("Ann")), "letters' case counts"
        await work.commit()
    await stores.add_member("ann", Role.VIEWER, at=ELSEWHERE)
    assert await stores.roles() == {"Ann": Role.VIEWER, "ann": Role.OWNER}
    assert await stores.roles(ELSEWHERE) == {"ann": Role.VIEWER}


async def test_members_of_other_workspaces_are_not_there(stores: Stores) -> None:
    await stores.add_member("ann", Role.OWNER, at=ELSEWHERE)
    await stores.add_member("bob", Role.OWNER)
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.members.lock("ann") is None
        await work.members.remove("ann")
        with pytest.raises(LookupError):
            await work.members.update(member("ann"))
        assert await work.members.count() == 1
        assert await work.members.count(owners_only=True) == 1
        await work.commit()
    assert await stores.roles(ELSEWHERE) == {"ann": Role.OWNER}


async def test_members_are_counted(stores: Stores) -> None:
    for subject, role in {"a": Role.OWNER, "b": Role.EDITOR, "c": Role.VIEWER, "d": Role.OWNER}.items():
        await stores.add_member(subject, role)
    async with stores.storage.unit_of_work(HERE) as work:
        assert (await work.members.count(), await work.members.count(owners_only=True)) == (4, 2)


async def test_members_come_by_subject_as_ascii_has_it(stores: Stores) -> None:
    subjects = sorted(["b", "B", "a", "_", "a-b", "a.b", "ab", "~", "!", "9"])
    for subject in reversed(subjects):
        await stores.add_member(subject)
    found: list[str] = []
    while page := await stores.reader.list_members(HERE, 3, found[-1] if found else ""):
        assert len(page) <= 3
        found += [one.subject for one in page]
    assert found == subjects
    assert not await stores.reader.list_members(ELSEWHERE, 10, "")


@pytest.mark.parametrize("subject", ["", "a\x00", "ä", "a\n"])
async def test_what_is_no_subject_is_no_member(stores: Stores, subject: str) -> None:
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.members.lock(subject) is None


@pytest.mark.parametrize("role", list(Role))
async def test_a_key_is_read_back_as_given(stores: Stores, role: Role) -> None:
    whole = await stores.add_key(1, role=role, name="名" * 128, expires_at=LONG_FROM_NOW)
    assert (whole.name, whole.role, whole.scopes) == ("名" * 128, role, ROLE_SCOPES[role])
    assert (whole.created_by, whole.expires_at) == ("user:owner", LONG_FROM_NOW)
    assert (whole.last_used_at, whole.revoked_at) == (None, None)
    part = await stores.add_key(2, role=role, scopes=frozenset({Scope.LINKS_READ}))
    assert part.scopes == {Scope.LINKS_READ}
    assert await stores.reader.get_key(HERE, whole.key_id) == whole
    assert await stores.reader.get_key(HERE, part.key_id) == part
    assert list(await stores.reader.list_keys(HERE, 10, None)) == [part, whole]


async def test_a_key_is_revoked_once(stores: Stores) -> None:
    key = await stores.add_key(1)
    async with stores.storage.unit_of_work(HERE) as work:
        first = await work.keys.revoke(key.key_id)
        assert first is not None
        assert first[1]
        assert first[0].revoked_at is not None
        assert replace(first[0], revoked_at=None) == key
        await work.commit()
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.keys.revoke(key.key_id) == (first[0], False)
        await work.commit()
    assert await stores.reader.get_key(HERE, key.key_id) == first[0]


async def test_keys_of_other_workspaces_are_not_there(stores: Stores) -> None:
    key = await stores.add_key(1, at=ELSEWHERE)
    assert await stores.reader.get_key(HERE, key.key_id) is None
    assert not await stores.reader.list_keys(HERE, 10, None)
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.keys.revoke(key.key_id) is None
        assert await work.keys.count_live() == 0
        await work.commit()
    assert await stores.reader.get_key(ELSEWHERE, key.key_id) == key


@pytest.mark.parametrize("key_id", ["", "short", "a" * 17, "\x00" * 16, "ä" * 16])
async def test_what_is_no_id_is_no_key(stores: Stores, key_id: str) -> None:
    assert await stores.reader.get_key(HERE, key_id) is None
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.keys.revoke(key_id) is None


async def test_keys_that_are_neither_revoked_nor_expired_are_counted(stores: Stores) -> None:
    await stores.add_key(1)
    await stores.add_key(2, expires_at=LONG_AGO)
    await stores.add_key(3, expires_at=LONG_FROM_NOW)
    await stores.add_key(4, at=ELSEWHERE)
    async with stores.storage.unit_of_work(HERE) as work:
        assert await work.keys.count_live() == 2
        await work.keys.revoke(f"{1:016}")
        assert await work.keys.count_live() == 1


async def test_keys_come_newest_first_and_go_on_behind_a_place(stores: Stores) -> None:
    made = [await stores.add_key(number) for number in (3, 1, 4, 2, 5)]
    found: list[Key] = []
    after: KeyPlace | None = None
    while page := await stores.reader.list_keys(HERE, 2, after):
        assert len(page) <= 2
        found += page
        after = KeyPlace(page[-1].created_at, page[-1].key_id)
    assert found == made[::-1]


async def test_a_workspace_is_renamed_and_no_other(stores: Stores) -> None:
    async with stores.storage.unit_of_work(HERE) as work:
        before = await work.workspace.lock()
        assert before is not None
        after = await work.workspace.rename("Träume")
        assert after == replace(before, name="Träume")
        await work.commit()
    assert await stores.reader.get_workspace(HERE) == after
    other = await stores.reader.get_workspace(ELSEWHERE)
    assert other is not None
    assert other.name == "elsewhere"


async def test_a_workspace_that_is_not_there_is_none(stores: Stores) -> None:
    assert await stores.reader.get_workspace(NOWHERE) is None
    async with stores.storage.unit_of_work(NOWHERE) as work:
        assert await work.workspace.lock() is None
        assert await work.workspace.rename("x") is None


async def test_workspaces_come_by_id_all_or_those_named(stores: Stores) -> None:
    ids = [HERE, ELSEWHERE, *(UUID(int=1 << (8 * number)) for number in range(2, 6))]
    for workspace_id in ids[2:]:
        await stores.workspaces.create_workspace(workspace_id, f"w {workspace_id}", "", [])

    async def walk(chosen: Sequence[UUID] | None) -> list[UUID]:
        found: list[UUID] = []
        while page := await stores.workspaces.list_workspaces(chosen, 2, found[-1] if found else None):
            found += [workspace.workspace_id for workspace in page]
        return found

    assert await walk(None) == sorted(ids)
    assert await walk([ids[4], ids[2], NOWHERE, ids[4], HERE]) == sorted([ids[2], ids[4], HERE])
    assert await walk([]) == []


async def test_a_new_workspace_has_its_owner(stores: Stores) -> None:
    made = await stores.workspaces.create_workspace(NOWHERE, "new", "ann", [created()])
    assert (made.workspace_id, made.name) == (NOWHERE, "new")
    assert await stores.reader.get_workspace(NOWHERE) == made
    assert await stores.roles(NOWHERE) == {"ann": Role.OWNER}
    assert await stores.roles() == {}


def created() -> AuditEntry:
    return entry_of(OWNER, "call-1", Action.WORKSPACE_CREATE, str(NOWHERE), {"name": "new"}, NOWHERE)


# What PostgreSQL keeps apart.


async def test_a_workspace_that_cannot_have_its_owner_is_not_made(
    postgres_only: Stores, owner: asyncpg.Connection, operators: Postgres
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await postgres_only.workspaces.create_workspace(NOWHERE, "new", "x" * 256, [created()])
    assert await postgres_only.reader.get_workspace(NOWHERE) is None
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 0
    assert operators.in_use == 0
    await postgres_only.workspaces.create_workspace(NOWHERE, "new", "x" * 255, [created()])
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE workspace_id = $1", NOWHERE) == 1


async def test_names_of_workspaces_have_128_characters_of_any_kind(postgres_only: Stores) -> None:
    made = await postgres_only.workspaces.create_workspace(NOWHERE, "🦉" * 128, "", [])
    assert made.name == "🦉" * 128


async def test_a_key_with_no_scopes_or_others_than_its_roles_is_not_stored(postgres_only: Stores) -> None:
    async with postgres_only.storage.unit_of_work(HERE) as work:
        for scopes in (frozenset[Scope](), frozenset({Scope.KEYS_MANAGE})):
            with pytest.raises(ValueError, match="some of its role's"):
                await work.keys.add(new_key(1, scopes=scopes))


async def test_what_is_stored_of_a_key_is_its_digest(postgres_only: Stores, owner: asyncpg.Connection) -> None:
    handlers = KeyHandlers(postgres_only.storage, postgres_only.reader, ServerClock(), [b"p" * 32])
    key, secret = await handlers.create(CreateKey("n", Role.VIEWER), CALLER)
    for table in ("api_keys", "audit_log", "idempotency_keys", "outbox"):
        rows = await owner.fetch(f"SELECT t::text AS row FROM {table} AS t")  # noqa: S608 - names from above
        assert not any(secret.secret in row["row"] for row in rows), table
    row = await owner.fetchrow("SELECT octet_length(digest) AS size, scopes FROM api_keys WHERE id = $1", key.key_id)
    assert row is not None
    assert (row["size"], row["scopes"]) == (32, []), "all scopes of the role, whatever they become"
    details = await owner.fetchval("SELECT details::text FROM audit_log")
    assert "digest" not in details


# Each statement of accounts.sql as somebody could send it who is in `HERE` and names `ELSEWHERE`.
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "lock_members": (ELSEWHERE,),
    "lock_keys": (ELSEWHERE,),
    "insert_member": (ELSEWHERE, "eve", "owner", ""),
    "get_member": (ELSEWHERE, "ann"),
    "update_member": (ELSEWHERE, "ann", "viewer", "changed"),
    "delete_member": (ELSEWHERE, "ann"),
    "count_members": (ELSEWHERE, False),
    "list_members": (ELSEWHERE, "", 10),
    "insert_key": ("z" * 16, ELSEWHERE, "n", "owner", [], b"x" * 32, "key:eve", None),
    "revoke_key": (ELSEWHERE, f"{1:016}"),
    "count_live_keys": (ELSEWHERE,),
    "get_key": (ELSEWHERE, f"{1:016}"),
    "list_keys": (ELSEWHERE, None, None, 10),
    "get_workspace": (ELSEWHERE,),
    "lock_workspace": (ELSEWHERE,),
    "rename_workspace": (ELSEWHERE, "changed"),
    "list_workspaces": (None, 10),
    "list_workspaces_of": ([ELSEWHERE], None, 10),
    "insert_workspace": (NOWHERE, "n"),
    "insert_owner": (ELSEWHERE, "eve"),
}
LOCKS = {"lock_members", "lock_keys"}
INSERTS = {name for name in ARGUMENTS if name.startswith("insert_")}
FOR_OPERATORS = {"list_workspaces", "list_workspaces_of", "insert_workspace", "insert_owner"}


def test_every_statement_is_among_those_tried() -> None:
    text = Path(waypost.adapters.__file__).with_name("sql").joinpath("accounts.sql").read_text()
    assert {name for name, _ in blocks(text)} == ARGUMENTS.keys()


async def content(owner: asyncpg.Connection) -> list[object]:
    """Every row of every table that the statements touch."""
    found: list[object] = []
    for table in ("workspaces", "members", "api_keys"):
        found += await owner.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")  # noqa: S608 - names from above
    return found


async def rows_everywhere(stores: Stores) -> None:
    for at in (HERE, ELSEWHERE):
        await stores.add_member("ann", Role.OWNER, at=at)
    await stores.add_key(1, at=ELSEWHERE)


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_a_statement_that_names_another_workspace_neither_sees_nor_changes_it(
    postgres_only: Stores, api: Postgres, owner: asyncpg.Connection, name: str
) -> None:
    await rows_everywhere(postgres_only)
    before = await content(owner)
    for inside in (HERE, None):
        async with api.connection() as session:
            await session.execute(f"BEGIN; SET LOCAL waypost.workspace = '{inside}'" if inside else "BEGIN")
            if name in INSERTS:
                with pytest.raises(DependencyUnavailable):
                    await session.fetch(QUERIES[name], *ARGUMENTS[name])
            else:
                rows = await session.fetch(QUERIES[name], *ARGUMENTS[name])
                if name == "list_workspaces":
                    assert [row["id"] for row in rows] == ([HERE] if inside else [])
                elif name.startswith("count_"):
                    assert [row[0] for row in rows] == [0]
                elif name not in LOCKS:
                    assert rows == []
            await session.execute("COMMIT")
        assert await content(owner) == before


@pytest.mark.parametrize("name", sorted(ARGUMENTS.keys() - FOR_OPERATORS - LOCKS - INSERTS))
async def test_a_statement_keeps_to_the_workspace_it_names_also_without_row_level_security(
    postgres_only: Stores, owner: asyncpg.Connection, name: str
) -> None:
    await rows_everywhere(postgres_only)
    arguments = [HERE if one == ELSEWHERE else one for one in ARGUMENTS[name]]
    others = [row for row in await content(owner) if str(ELSEWHERE) in str(row)]
    rows = await owner.fetch(QUERIES[name], *arguments)
    if name in ("revoke_key", "get_key", "list_keys"):
        assert rows == [], "the only key is the other workspace's"
    elif name.startswith("count_"):
        assert [row[0] for row in rows] == [1 if name == "count_members" else 0]
    else:
        assert len(rows) <= 1
    assert [row for row in await content(owner) if str(ELSEWHERE) in str(row)] == others


# Rivals.


async def settle(*calls: Awaitable[Any]) -> list[Any]:
    """What became of calls that ran at once."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def waits_for_lock(owner: asyncpg.Connection) -> bool:
    return bool(await owner.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


def members_of(stores: Stores) -> MemberHandlers:
    return MemberHandlers(stores.storage, stores.reader)


async def test_of_two_who_take_the_last_two_owners_away_one_is_refused(
    postgres_only: Stores, owner: asyncpg.Connection
) -> None:
    handlers = members_of(postgres_only)
    for round_ in range(6):
        await owner.execute("DELETE FROM members")
        await postgres_only.add_member("ann", Role.OWNER)
        await postgres_only.add_member("bob", Role.OWNER)
        outcomes = await settle(
            handlers.remove("ann", CALLER),
            handlers.update(UpdateMember("bob", Role.VIEWER), CALLER) if round_ % 2 else handlers.remove("bob", CALLER),
        )
        assert sorted(type(one).__name__ for one in outcomes) == ["LastOwner", "Member"]
        assert list((await postgres_only.roles()).values()).count(Role.OWNER) == 1


async def test_who_locks_a_member_waits_for_who_has_locked_another(
    postgres_only: Stores, owner: asyncpg.Connection
) -> None:
    await postgres_only.add_member("ann", Role.OWNER)
    await postgres_only.add_member("bob", Role.OWNER)
    async with postgres_only.storage.unit_of_work(HERE) as work:
        assert await work.members.lock("ann") is not None
        assert await work.members.count(owners_only=True) == 2
        rival = asyncio.create_task(members_of(postgres_only).remove("bob", CALLER))
        await until(lambda: waits_for_lock(owner))
        # Those of other workspaces do not wait.
        await postgres_only.add_member("cleo", Role.OWNER, at=ELSEWHERE)
        async with postgres_only.storage.unit_of_work(ELSEWHERE) as other:
            assert await other.members.lock("cleo") is not None
        await work.members.update(member("ann", Role.VIEWER))
        await work.commit()
    with pytest.raises(LastOwner):
        await rival
    assert await postgres_only.roles() == {"ann": Role.VIEWER, "bob": Role.OWNER}


async def test_of_two_who_add_the_same_one_is_told_so(postgres_only: Stores, owner: asyncpg.Connection) -> None:
    handlers = members_of(postgres_only)
    request = AddMember("ann", Role.VIEWER)
    outcomes = await settle(handlers.add(request, CALLER), handlers.add(request, CALLER))
    assert sorted(type(one).__name__ for one in outcomes) == ["Member", "MemberExists"]
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 1


async def test_somebody_who_comes_in_by_another_way_meanwhile_is_noticed(
    postgres_only: Stores, owner: asyncpg.Connection
) -> None:
    async with postgres_only.storage.unit_of_work(HERE) as work:
        assert await work.members.lock("ann") is None
        await owner.execute("INSERT INTO members (workspace_id, subject, role) VALUES ($1, 'ann', 'viewer')", HERE)
        assert not await work.members.add(member("ann"))
    with pytest.raises(MemberExists):
        await members_of(postgres_only).add(AddMember("ann", Role.VIEWER), CALLER)


async def test_rivals_do_not_pass_the_most_members(postgres_only: Stores, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO members (workspace_id, subject, role) "
        "SELECT $1, 'u' || i, 'viewer' FROM generate_series(2, $2) AS i",
        HERE,
        MAX_MEMBERS,
    )
    handlers = members_of(postgres_only)
    outcomes = await settle(*(handlers.add(AddMember(f"new{n}", Role.VIEWER), CALLER) for n in range(4)))
    assert sorted(type(one).__name__ for one in outcomes) == ["Member", "TooMany", "TooMany", "TooMany"]
    assert await owner.fetchval("SELECT count(*) FROM members") == MAX_MEMBERS


async def test_rivals_do_not_pass_the_most_keys(postgres_only: Stores, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO api_keys (id, workspace_id, name, role, digest, created_by) "
        "SELECT lpad(i::text, 16, '0'), $1, 'n', 'viewer', decode(repeat('00', 32), 'hex'), 'x' "
        "FROM generate_series(2, $2) AS i",
        HERE,
        MAX_KEYS,
    )
    handlers = KeyHandlers(postgres_only.storage, postgres_only.reader, ServerClock(), [b"p" * 32])
    outcomes = await settle(*(handlers.create(CreateKey(f"n{n}"), CALLER) for n in range(4)))
    assert [type(one) for one in outcomes].count(TooMany) == 3
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == MAX_KEYS
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 1


async def test_of_rivals_who_revoke_a_key_one_does_and_is_logged(
    postgres_only: Stores, owner: asyncpg.Connection
) -> None:
    key = await postgres_only.add_key(1)
    handlers = KeyHandlers(postgres_only.storage, postgres_only.reader, ServerClock(), [b"p" * 32])
    revoked = await asyncio.gather(*(handlers.revoke(key.key_id, CALLER) for _ in range(4)))
    assert len({one.revoked_at for one in revoked}) == 1
    assert revoked[0].revoked_at is not None
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE action = 'key.revoke'") == 1


async def test_who_revokes_waits_for_a_rival_and_sees_what_became_of_it(
    postgres_only: Stores, owner: asyncpg.Connection
) -> None:
    key = await postgres_only.add_key(1)

    async def revoke() -> tuple[Key, bool] | None:
        async with postgres_only.storage.unit_of_work(HERE) as work:
            return await work.keys.revoke(key.key_id)

    for committed in (False, True):
        async with postgres_only.storage.unit_of_work(HERE) as work:
            assert await work.keys.revoke(key.key_id) is not None
            rival = asyncio.create_task(revoke())
            await until(lambda: waits_for_lock(owner))
            if committed:
                await work.commit()
        outcome = await rival
        assert outcome is not None
        assert outcome[1] is not committed, "a rival that gave up has changed nothing"


async def test_names_change_one_after_the_other_and_the_log_knows_each(
    postgres_only: Stores, owner: asyncpg.Connection
) -> None:
    handlers = WorkspaceHandlers(postgres_only.storage, postgres_only.reader, postgres_only.workspaces, None)
    await asyncio.gather(*(handlers.rename(f"name {number}", CALLER) for number in range(4)))
    rows = await owner.fetch(
        "SELECT details->>'name' AS name, details->>'name_before' AS before FROM audit_log ORDER BY id"
    )
    names = [row["name"] for row in rows]
    assert [row["before"] for row in rows] == ["default", *names[:-1]]
    assert await owner.fetchval("SELECT name FROM workspaces WHERE id = $1", HERE) == names[-1]


async def test_a_lock_that_is_kept_too_long_is_not_waited_for(postgres_only: Stores) -> None:
    started = asyncio.get_running_loop().time()
    async with postgres_only.storage.unit_of_work(HERE) as work:
        assert await work.members.count() == 0
        with pytest.raises(DependencyUnavailable, match="somebody else"):
            await members_of(postgres_only).remove("ann", CALLER)
    assert timedelta(seconds=asyncio.get_running_loop().time() - started) < timedelta(seconds=4)
