"""Two workspaces on one mesh: nothing of one is seen, changed or inferred by the other, but for taken aliases.

What the neighbour has is marked: every text of theirs contains a word of their own, which must never come back to
anybody else, and every row of theirs must stay as it is.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.api import channel, status_of_rpc
from tests.support.contract import full_name, methods
from tests.support.credentials import headers_of
from tests.support.keys import add_keys, add_workspace
from tests.support.mesh import Mesh, mesh_running
from tests.support.messages import messages
from tests.support.postgres import run
from waypost.access.identity import Role
from waypost.access.policies import POLICIES, Objects
from waypost.api.v1 import (
    abuse_service_pb2,
    audit_service_pb2,
    key_service_pb2,
    link_service_pb2,
    member_service_pb2,
    workspace_service_pb2,
)
from waypost.api.v1.role_pb2 import ROLE_OWNER, ROLE_VIEWER
from waypost.model import DEFAULT_WORKSPACE

METHODS = {full_name(method): method for method in methods()}

MARK = "nachbar"
"""In every text of the neighbour's."""

_TABLES = {
    "links": "workspace_id",
    "link_terms": "workspace_id",
    "click_budgets": "workspace_id",
    "members": "workspace_id",
    "api_keys": "workspace_id",
    "audit_log": "workspace_id",
    "outbox": "workspace_id",
    "idempotency_keys": "workspace_id",
    "workspaces": "id",
}
FILTERS = (
    "state = active",
    "state = deleted",
    "state = blocked",
    f'text : "{MARK}"',
    f'text : "{MARK[:4]}*"',
    f'tag = "{MARK}"',
    f'tag = "{MARK}" AND text : "{MARK[:4]}*"',
    'created_at >= "2020-01-01T00:00:00Z"',
)
"""Each finds something of theirs, for them."""

RULES = """
domain: waypost
descriptors: []
"""


@dataclass
class Tenant:
    """One workspace with keys of each role, and how to call as each."""

    mesh: Mesh
    workspace_id: UUID
    keys: dict[Role, str]
    codes: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    etags: list[str] = field(default_factory=list)

    def call(self, connection: grpc.Channel, method: str, request: Message, workspace: str = "") -> Any:
        """The answer to a call of an owner; raises `grpc.RpcError`."""
        named = {"x-workspace": workspace} if workspace else {}
        return _call(connection, method, request, {**headers_of(self.keys[Role.OWNER]), **named})


@dataclass
class Neighbours:
    """`mine` may be anything; `theirs` is full of marked things."""

    mine: Tenant
    theirs: Tenant
    connection: grpc.Channel
    texts: list[str]

    def snapshot(self) -> str:
        """Every row that is theirs, but for when their keys were used."""
        return run(_rows(self.theirs.mesh.owner_dsn(), self.theirs.workspace_id))


def _call(connection: grpc.Channel, method: str, request: Message, metadata: dict[str, str]) -> Any:
    answer = GetMessageClass(METHODS[method].output_type)
    stub: Any = connection.unary_unary(
        method, request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString
    )
    return stub(request, timeout=20, metadata=tuple(metadata.items()))


async def _rows(dsn: str, workspace_id: UUID) -> str:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        found = {}
        for table, column in _TABLES.items():
            rows = await connection.fetch(
                f"SELECT to_jsonb(t) - 'last_used_at' AS row FROM {table} AS t WHERE {column} = $1 ORDER BY 1::text",  # noqa: S608
                workspace_id,
            )
            found[table] = sorted(row["row"] for row in rows)
        return json.dumps(found)
    finally:
        await connection.close()


def _keys_of(mesh: Mesh, workspace_id: UUID) -> dict[Role, str]:
    pepper = (mesh.data / "key-pepper").read_text().strip()
    return {
        role: run(add_keys(mesh.owner_dsn(), pepper, 1, role, workspace_id=workspace_id))[0]
        for role in (Role.OWNER, Role.EDITOR, Role.VIEWER)
    }


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that limits nobody: refusals for haste would hide what is to be seen."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "none.yaml").write_text(RULES)
    env = {
        "WAYPOST_LIMITS_DIR": str(folder),
        "WAYPOST_RATELIMITER_TIMEOUT_MS": "2000",
        "WAYPOST_SWEEP_INTERVAL_SECONDS": "1",
        "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": "1000000",
    }
    with mesh_running(env=env) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def neighbours(unlimited: Mesh) -> Iterator[Neighbours]:
    """Two workspaces; one is full of things."""
    dsn = unlimited.owner_dsn()
    mine, theirs = (Tenant(unlimited, id, _keys_of(unlimited, id)) for id in (run(add_workspace(dsn)) for _ in "ab"))
    with channel(unlimited, "gateway_control") as connection:
        names = _furnish(theirs, connection)
        _call_link(mine, connection, "mine-1", "mine.example")
        texts = [
            *names,
            *mine.codes,
            str(mine.workspace_id),
            str(theirs.workspace_id),
            str(DEFAULT_WORKSPACE),
            "",
            "v1",
            "https://example.com/",
            "fresh",
            "links:write",
            *FILTERS,
            "short_code",
            "created_at desc",
            "key.",
            "link.create",
            "' OR workspace_id IS NOT NULL --",
            "'; SET waypost.workspace = '" + str(theirs.workspace_id),
        ]
        yield Neighbours(mine, theirs, connection, texts)


def _call_link(tenant: Tenant, connection: grpc.Channel, alias: str, host: str = f"{MARK}.example", **more: Any) -> Any:
    request = link_service_pb2.CreateLinkRequest(
        url=f"https://{host}/{alias}", alias=f"{alias}-{secrets.token_hex(3)}", **more
    )
    link = tenant.call(connection, "/waypost.api.v1.LinkService/CreateLink", request)
    tenant.codes.append(link.short_code)
    tenant.etags.append(link.etag)
    return link


def _furnish(theirs: Tenant, connection: grpc.Channel) -> list[str]:
    """Gives them some of everything; returns all the names of it that a stranger could try."""
    service = "/waypost.api.v1."
    key = f"idem-{MARK}"
    _call_link(theirs, connection, "plain", title=f"{MARK} title", tags=[MARK])
    _call_link(theirs, connection, "limited", title=f"{MARK} limited", max_clicks=3)
    _call_link(theirs, connection, "blocked")
    deleted = _call_link(theirs, connection, "deleted", title=f"{MARK} deleted")
    theirs.call(
        connection,
        service + "LinkService/DeleteLink",
        link_service_pb2.DeleteLinkRequest(short_code=deleted.short_code),
    )
    keyed = link_service_pb2.CreateLinkRequest(url=f"https://{MARK}.example/keyed", request_id=key)
    theirs.codes.append(theirs.call(connection, service + "LinkService/CreateLink", keyed).short_code)
    for number in range(3):
        _call_link(theirs, connection, f"page{number}", tags=[MARK])
    page = theirs.call(connection, service + "LinkService/ListLinks", link_service_pb2.ListLinksRequest(page_size=2))
    theirs.tokens.append(page.next_page_token)
    made = theirs.call(
        connection, service + "KeyService/CreateKey", key_service_pb2.CreateKeyRequest(name=f"{MARK} key")
    ).key
    subjects = [f"{MARK}-{number}" for number in range(3)]
    for subject in subjects:
        theirs.call(
            connection,
            service + "MemberService/AddMember",
            member_service_pb2.AddMemberRequest(subject=subject, role=ROLE_OWNER, name=f"{MARK} person"),
        )
    for listing, request in (
        ("MemberService/ListMembers", member_service_pb2.ListMembersRequest(page_size=1)),
        ("KeyService/ListKeys", key_service_pb2.ListKeysRequest(page_size=1)),
        ("AuditService/ListAuditEvents", audit_service_pb2.ListAuditEventsRequest(page_size=1)),
    ):
        theirs.tokens.append(theirs.call(connection, service + listing, request).next_page_token)
    operator = headers_of(theirs.mesh.operator_key)
    _call(
        connection,
        service + "AbuseService/BlockLink",
        abuse_service_pb2.BlockLinkRequest(short_code=theirs.codes[2], reason=f"{MARK} reason"),
        operator,
    )
    report = _call(
        connection,
        service + "AbuseService/ReportLink",
        abuse_service_pb2.ReportLinkRequest(link=theirs.codes[0], comment=f"{MARK} comment"),
        {},
    )
    assert all(theirs.tokens)
    return [*theirs.codes, *theirs.tokens, *theirs.etags, made.key_id, *subjects, key, report.report_id]


# What everybody may see of every link, and what operators alone may ask.
_PUBLIC = {name for name, policy in POLICIES.items() if policy.objects is Objects.PUBLIC}
_GATEWAY = sorted(
    name for name in POLICIES if not any(other in name for other in ("RateLimit", "LimitOverride", "JobService"))
)


def _answer(neighbours: Neighbours, method: str, request: Message, metadata: dict[str, str]) -> bytes:
    """The answer, or the error with all of its details, without what was itself in the request."""
    try:
        data: bytes = _call(neighbours.connection, method, request, metadata).SerializeToString()
    except grpc.RpcError as error:
        assert error.code() is not grpc.StatusCode.INTERNAL, (method, request)
        assert error.code() is not grpc.StatusCode.UNKNOWN, (method, request)
        data = status_of_rpc(error).SerializeToString()
    return data


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", _GATEWAY)
def test_whatever_is_asked_nothing_of_the_neighbours_comes_back_or_changes(neighbours: Neighbours, method: str) -> None:
    before = neighbours.snapshot()
    callers = [headers_of(key) for key in neighbours.mine.keys.values()] + [{}]
    claims = [{}, {"x-workspace": str(neighbours.theirs.workspace_id)}, {"idempotency-key": f"idem-{MARK}"}]
    # Not what they could know themselves: a text of ours that only looks like theirs is in their own audit log.
    texts = [text for text in neighbours.texts if MARK not in text] + [f"idem-{MARK}", f"{MARK}-1", *FILTERS]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages(METHODS[method].input_type, texts), st.sampled_from(callers), st.sampled_from(claims))
    def ask(request: Message, caller: dict[str, str], claim: dict[str, str]) -> None:
        answer = _answer(neighbours, method, request, {**caller, **claim})
        if method in _PUBLIC:
            return
        for told in (f"{MARK} ".encode(), f"{MARK}.example".encode()):
            assert told not in answer, (request, answer)

    ask()
    assert neighbours.snapshot() == before


_THINGS = {
    "LinkService/GetLink": lambda code: link_service_pb2.GetLinkRequest(short_code=code),
    "LinkService/UpdateLink": lambda code: link_service_pb2.UpdateLinkRequest(short_code=code, title="mine now"),
    "LinkService/DeleteLink": lambda code: link_service_pb2.DeleteLinkRequest(short_code=code),
    "LinkService/UndeleteLink": lambda code: link_service_pb2.UndeleteLinkRequest(short_code=code),
}
_WITH_ETAG = {
    "LinkService/UpdateLink": lambda code: link_service_pb2.UpdateLinkRequest(short_code=code, title="x", etag="v9"),
    "LinkService/DeleteLink": lambda code: link_service_pb2.DeleteLinkRequest(short_code=code, etag="v9"),
    "LinkService/UndeleteLink": lambda code: link_service_pb2.UndeleteLinkRequest(short_code=code, etag="v9"),
}


@pytest.mark.parametrize(
    ("method", "make"), [*_THINGS.items(), *_WITH_ETAG.items()], ids=[*_THINGS, *(f"{m} etag" for m in _WITH_ETAG)]
)
def test_what_is_not_yours_and_what_is_not_there_answer_alike(neighbours: Neighbours, method: str, make: Any) -> None:
    metadata = headers_of(neighbours.mine.keys[Role.OWNER]) | {"x-correlation-id": "alike"}
    for code in neighbours.theirs.codes:
        # As long, and made of the same kinds of characters.
        nobodys = "".join(chr((ord(char) - 97 + 13) % 26 + 97) if char.islower() else char for char in code)
        answers = [
            _answer(neighbours, f"/waypost.api.v1.{method}", make(name), metadata).replace(
                name.encode(), b"*" * len(name)
            )
            for name in (code, nobodys)
        ]
        assert answers[0] == answers[1]


def test_keys_and_members_of_others_are_not_there(neighbours: Neighbours) -> None:
    mine, theirs, connection = neighbours.mine, neighbours.theirs, neighbours.connection
    before = neighbours.snapshot()
    key = theirs.call(connection, "/waypost.api.v1.KeyService/ListKeys", key_service_pb2.ListKeysRequest()).keys[0]
    for method, request, nobodys in (
        (
            "KeyService/GetKey",
            key_service_pb2.GetKeyRequest(key_id=key.key_id),
            key_service_pb2.GetKeyRequest(key_id="0" * 16),
        ),
        (
            "KeyService/RevokeKey",
            key_service_pb2.RevokeKeyRequest(key_id=key.key_id),
            key_service_pb2.RevokeKeyRequest(key_id="0" * 16),
        ),
        (
            "MemberService/RemoveMember",
            member_service_pb2.RemoveMemberRequest(subject=f"{MARK}-1"),
            member_service_pb2.RemoveMemberRequest(subject="someone-1"),
        ),
        (
            "MemberService/UpdateMember",
            member_service_pb2.UpdateMemberRequest(subject=f"{MARK}-1", role=ROLE_VIEWER),
            member_service_pb2.UpdateMemberRequest(subject="someone-1", role=ROLE_VIEWER),
        ),
    ):
        codes = []
        for one in (request, nobodys):
            with pytest.raises(grpc.RpcError) as raised:
                mine.call(connection, f"/waypost.api.v1.{method}", one)
            codes.append(raised.value.code())
        assert codes == [grpc.StatusCode.NOT_FOUND] * 2
    assert neighbours.snapshot() == before


def test_their_workspace_cannot_be_entered_by_naming_it(neighbours: Neighbours) -> None:
    request = workspace_service_pb2.GetWorkspaceRequest()
    answers = []
    for name in (str(neighbours.theirs.workspace_id), "01234567-89ab-4cde-8f01-23456789abcd"):
        with pytest.raises(grpc.RpcError) as raised:
            neighbours.mine.call(neighbours.connection, "/waypost.api.v1.WorkspaceService/GetWorkspace", request, name)
        answers.append((raised.value.code(), (raised.value.details() or "").replace(name, "*")))
    assert answers[0] == answers[1]
    assert answers[0][0] is grpc.StatusCode.NOT_FOUND


def test_a_list_has_ones_own_links_alone_whatever_the_token(neighbours: Neighbours) -> None:
    method = "/waypost.api.v1.LinkService/ListLinks"
    own = neighbours.mine.call(neighbours.connection, method, link_service_pb2.ListLinksRequest())
    assert {link.short_code for link in own.links}.isdisjoint(neighbours.theirs.codes)
    assert own.links
    for token in neighbours.theirs.tokens:
        with pytest.raises(grpc.RpcError) as raised:
            neighbours.mine.call(neighbours.connection, method, link_service_pb2.ListLinksRequest(page_token=token))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("order", ["", "created_at", "updated_at desc", "updated_at", "short_code", "short_code desc"])
@pytest.mark.parametrize("condition", FILTERS)
def test_what_a_filter_finds_is_ones_own(neighbours: Neighbours, condition: str, order: str) -> None:
    method = "/waypost.api.v1.LinkService/ListLinks"
    request = link_service_pb2.ListLinksRequest(filter=condition, order_by=order)
    found = {
        tenant.workspace_id: {link.short_code for link in tenant.call(neighbours.connection, method, request).links}
        for tenant in (neighbours.mine, neighbours.theirs)
    }
    assert found[neighbours.theirs.workspace_id], "else this could not fail"
    assert found[neighbours.mine.workspace_id].isdisjoint(neighbours.theirs.codes)


def test_an_idempotency_key_of_theirs_is_free_for_others(neighbours: Neighbours) -> None:
    """Neither their answer comes back, nor that the key is in use with another request."""
    before = neighbours.snapshot()
    for url in (f"https://{MARK}.example/keyed", "https://example.com/other"):
        request = link_service_pb2.CreateLinkRequest(url=url, request_id=f"idem-{MARK}")
        if url.endswith("other"):
            request.request_id = f"idem-{MARK}-other"
        link = neighbours.mine.call(neighbours.connection, "/waypost.api.v1.LinkService/CreateLink", request)
        assert link.short_code not in neighbours.theirs.codes
    assert neighbours.snapshot() == before


def test_an_alias_that_is_taken_is_all_that_can_be_inferred(neighbours: Neighbours) -> None:
    """One global name space: this is known, also to every visitor. It says not whose, nor what it is."""
    answers = set()
    for code in neighbours.theirs.codes:
        request = link_service_pb2.CreateLinkRequest(url="https://example.com/", alias=code)
        with pytest.raises(grpc.RpcError) as raised:
            neighbours.mine.call(neighbours.connection, "/waypost.api.v1.LinkService/CreateLink", request)
        assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
        answers.add((raised.value.details() or "").replace(code, "*"))
    assert len(answers) == 1


async def test_calls_of_many_at_once_on_few_connections_never_mix(neighbours: Neighbours) -> None:
    """The pool hands one connection from one workspace to the next, also after errors and calls that were cut off."""
    keys = {tenant.workspace_id: tenant.keys[Role.OWNER] for tenant in (neighbours.mine, neighbours.theirs)}
    codes = {tenant.workspace_id: set(tenant.codes) for tenant in (neighbours.mine, neighbours.theirs)}
    address = neighbours.mine.mesh.grpc_address
    async with grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as connection:
        listing = connection.unary_unary(
            "/waypost.api.v1.LinkService/ListLinks",
            request_serializer=link_service_pb2.ListLinksRequest.SerializeToString,
            response_deserializer=link_service_pb2.ListLinksResponse.FromString,
        )
        updating = connection.unary_unary(
            "/waypost.api.v1.LinkService/UpdateLink",
            request_serializer=link_service_pb2.UpdateLinkRequest.SerializeToString,
            response_deserializer=link_service_pb2.Link.FromString,
        )

        async def disturb(workspace: UUID, number: int) -> None:
            """Fails in the middle of a transaction, or is cut off there."""
            other = next(one for one in codes if one != workspace)
            request = link_service_pb2.UpdateLinkRequest(short_code=min(codes[other]), title="taken")
            timeout = 10.0 if number % 2 else 0.002
            with pytest.raises(grpc.RpcError):
                await updating(request, timeout=timeout, metadata=(("x-api-key", keys[workspace]),))

        async def look(workspace: UUID) -> None:
            page = await listing(
                link_service_pb2.ListLinksRequest(page_size=200), timeout=20, metadata=(("x-api-key", keys[workspace]),)
            )
            other = next(one for one in codes if one != workspace)
            seen = {link.short_code for link in page.links}
            assert seen
            assert seen.isdisjoint(codes[other])

        before = neighbours.snapshot()
        for _ in range(5):
            await asyncio.gather(
                *(look(workspace) for workspace in keys for _ in range(15)),
                *(disturb(workspace, number) for workspace in keys for number in range(8)),
            )
        assert neighbours.snapshot() == before


def test_the_snapshot_and_the_mark_see_what_they_are_to_see(neighbours: Neighbours) -> None:
    """Else the tests above could not fail."""
    before = neighbours.snapshot()
    assert f"{MARK} person" in before
    request = link_service_pb2.UpdateLinkRequest(short_code=neighbours.theirs.codes[0], title=f"{MARK} again")
    neighbours.theirs.call(neighbours.connection, "/waypost.api.v1.LinkService/UpdateLink", request)
    assert neighbours.snapshot() != before
    page = _answer(
        neighbours,
        "/waypost.api.v1.LinkService/ListLinks",
        link_service_pb2.ListLinksRequest(),
        headers_of(neighbours.theirs.keys[Role.VIEWER]),
    )
    assert f"{MARK} again".encode() in page


def test_what_the_workers_do_stays_in_the_workspace_it_is_done_for(neighbours: Neighbours) -> None:
    """The sweep marks links of all workspaces together; each event belongs to its link's."""
    dsn = neighbours.mine.mesh.owner_dsn()
    expired = {
        tenant.workspace_id: _call_link(tenant, neighbours.connection, "brief", ttl_seconds=1).short_code
        for tenant in (neighbours.mine, neighbours.theirs)
    }
    deadline = time.monotonic() + 20
    # Made, and marked when its time was over.
    while len(told := run(_told(dsn, list(expired.values())))) < 4:
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    assert {(subject, workspace) for subject, workspace in told} == {
        (code, workspace) for workspace, code in expired.items()
    }
    own = neighbours.mine.call(
        neighbours.connection,
        "/waypost.api.v1.LinkService/ListLinks",
        link_service_pb2.ListLinksRequest(filter="state = expired"),
    )
    assert [link.short_code for link in own.links] == [expired[neighbours.mine.workspace_id]]


async def _told(dsn: str, codes: list[str]) -> list[tuple[str, UUID]]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch("SELECT subject, workspace_id FROM outbox WHERE subject = ANY ($1)", codes)
        return [(row["subject"], row["workspace_id"]) for row in rows]
    finally:
        await connection.close()
