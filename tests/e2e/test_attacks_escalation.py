"""Nobody makes more of themselves than they are: by fields, masks, batches, keys, members or what others have begun."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.api import Api, bad_fields, fresh_alias
from tests.e2e.attacks import (
    METHODS,
    Answer,
    Way,
    assert_denied,
    edge_client,
    json_way,
    key_with,
    request_of,
    ways_into,
)
from tests.e2e.test_attacks_tokens import DevIssuer
from tests.support.credentials import headers_of
from tests.support.keys import add_workspace
from tests.support.mesh import Mesh
from tests.support.postgres import run
from waypost.access.identity import Role, Scope
from waypost.access.policies import POLICIES
from waypost.api.v1.role_pb2 import ROLE_EDITOR, ROLE_OPERATOR, ROLE_OWNER, ROLE_VIEWER

SERVICE = "/waypost.api.v1."
INVALID, NOT_FOUND, TAKEN = 3, 5, 6
PRECONDITION = 9


@dataclass(frozen=True)
class Caller:
    """Somebody with credentials of their own, by one way."""

    way: Way
    headers: tuple[tuple[str, str], ...]

    def __call__(self, method: str, *more: tuple[str, str], **fields: Any) -> Answer:
        """`KeyService/CreateKey` with these fields."""
        name = SERVICE + method
        return self.way(name, request_of(name, **fields), [*self.headers, *more])

    def well(self, method: str, **fields: Any) -> Any:
        """As JSON: only of callers that come that way."""
        answer = self(method, **fields)
        assert answer.well, answer
        return answer.body


@pytest.fixture(scope="module", params=["JSON", "gRPC", "the gateway's port"])
def way(request: pytest.FixtureRequest, besieged: Mesh) -> Iterator[Way]:
    with ways_into(besieged) as ways:
        yield ways[request.param]


@pytest.fixture(scope="module")
def operator(besieged: Mesh) -> Iterator[Caller]:
    """As JSON."""
    with edge_client(besieged) as client:
        yield Caller(json_way(client), (("x-api-key", besieged.operator_key),))


def holder(mesh: Mesh, way: Way, role: Role, *scopes: Scope) -> Caller:
    return Caller(way, (("x-api-key", key_with(mesh, role, scopes)),))


def person(mesh: Mesh, way: Way, operator: Caller, role: int) -> tuple[Caller, str]:
    """A member of the default workspace who comes with a token; their subject."""
    subject = f"member-{secrets.token_hex(6)}"
    operator.well("MemberService/AddMember", subject=subject, role=role)
    token = DevIssuer(mesh).token(sub=subject)
    mesh.secrets.add(token)
    return Caller(way, (("authorization", f"Bearer {token}"),)), subject


@pytest.fixture
def api(besieged: Mesh) -> Iterator[Api]:
    """An owner's, as JSON."""
    with edge_client(besieged) as client:
        client.headers.update(headers_of(besieged.key_blocking()))
        yield Api(besieged, client)


# Keys


def test_nobody_makes_a_key_that_can_more_than_they(besieged: Mesh, way: Way, operator: Caller) -> None:
    create = "KeyService/CreateKey"
    owner = holder(besieged, way, Role.OWNER)
    owner_in_person, _ = person(besieged, way, operator, ROLE_OWNER)
    for one in (owner, owner_in_person):
        assert_denied(one(create, name="x", role=ROLE_OPERATOR))
        # Also one that could no more than its maker: what operators are by their role no scope takes away.
        assert_denied(one(create, name="x", role=ROLE_OPERATOR, scopes=["links:read"]))
        for scopes in (
            ["abuse:manage"],
            ["mesh:read"],
            ["workspaces:create"],
            ["links:read", "mesh:read"],
            ["*"],
            [""],
        ):
            assert one(create, name="x", role=ROLE_OWNER, scopes=scopes).code == INVALID
        assert one(create, name="x", role=17).code == INVALID
        assert one(create, name="x", role=-1).code == INVALID
        assert one(create, name="x", role=ROLE_OWNER).well
    for role in (ROLE_VIEWER, ROLE_EDITOR):
        someone, _ = person(besieged, way, operator, role)
        for wanted in (ROLE_VIEWER, role, ROLE_OWNER, ROLE_OPERATOR):
            assert_denied(someone(create, name="x", role=wanted))
    for lower in (Role.VIEWER, Role.EDITOR):
        assert_denied(holder(besieged, way, lower)(create, name="x", role=ROLE_VIEWER))
    # A key without the right to make keys makes none, whatever else it may.
    assert_denied(
        holder(besieged, way, Role.OWNER, *(scope for scope in Scope if scope is not Scope.KEYS_MANAGE))(
            create, name="x"
        )
    )


def test_a_key_that_may_only_make_keys_makes_no_other(besieged: Mesh, way: Way) -> None:
    create = "KeyService/CreateKey"
    for role in (Role.OWNER, Role.OPERATOR):
        keys = holder(besieged, way, role, Scope.KEYS_MANAGE)
        for fields in (
            {},
            {"role": ROLE_VIEWER},
            {"role": ROLE_OWNER},
            {"role": ROLE_OWNER, "scopes": ["keys:manage", "links:read"]},
            {"role": ROLE_VIEWER, "scopes": ["links:read"]},
            {"role": ROLE_OPERATOR},
        ):
            assert_denied(keys(create, name="x", **fields), fields)
        made = keys(create, name="x", role=ROLE_OWNER, scopes=["keys:manage"])
        assert made.well
        secret = made.body["secret"] if isinstance(made.body, dict) else made.body.secret
        besieged.secrets.add(secret)
        assert_denied(Caller(way, (("x-api-key", secret),))("LinkService/ListLinks"))


def test_no_owner_takes_back_an_operators_key(besieged: Mesh, way: Way, operator: Caller) -> None:
    """Else whoever owns the default workspace could lock out those who run the mesh."""
    made = operator.well("KeyService/CreateKey", name="x", role="ROLE_OPERATOR")
    besieged.secrets.add(made["secret"])
    key_id = made["key"]["key_id"]
    owner_in_person, _ = person(besieged, way, operator, ROLE_OWNER)
    for owner in (holder(besieged, way, Role.OWNER), owner_in_person):
        assert_denied(owner("KeyService/RevokeKey", key_id=key_id))
    assert operator("KeyService/GetKey", key_id=key_id).body.get("revoked_at") is None
    assert Caller(way, (("x-api-key", made["secret"]),))("AbuseService/ListReports").well
    # Operators do, and owners take back what is of their like.
    assert holder(besieged, way, Role.OPERATOR)("KeyService/RevokeKey", key_id=key_id).well
    other = operator.well("KeyService/CreateKey", name="x", role="ROLE_OWNER")
    besieged.secrets.add(other["secret"])
    assert owner("KeyService/RevokeKey", key_id=other["key"]["key_id"]).well


# Members


def test_nobody_makes_a_member_more_than_they_are(besieged: Mesh, way: Way, operator: Caller) -> None:
    add, update, remove = (f"MemberService/{name}Member" for name in ("Add", "Update", "Remove"))
    _, other_owner = person(besieged, way, operator, ROLE_OWNER)
    for role in (ROLE_VIEWER, ROLE_EDITOR):
        someone, subject = person(besieged, way, operator, role)
        for wanted in (ROLE_VIEWER, ROLE_EDITOR, ROLE_OWNER, ROLE_OPERATOR):
            assert_denied(someone(add, subject=fresh_alias(), role=wanted))
            assert_denied(someone(update, subject=subject, role=wanted), "oneself")
            assert_denied(someone(update, subject=other_owner, role=wanted))
        assert_denied(someone(remove, subject=other_owner))
        assert_denied(someone(remove, subject=subject))
    owner, subject = person(besieged, way, operator, ROLE_OWNER)
    for who in (subject, other_owner):
        assert owner(update, subject=who, role=ROLE_OPERATOR).code == INVALID
    assert owner(add, subject=fresh_alias(), role=ROLE_OPERATOR).code == INVALID
    assert owner(add, subject=fresh_alias(), role=99).code == INVALID
    # Who may manage members and not all that owners may, makes no owner and unmakes none.
    partly = holder(besieged, way, Role.OWNER, Scope.WORKSPACE_MANAGE, Scope.LINKS_READ, Scope.WORKSPACE_READ)
    for fields in ({"role": ROLE_OWNER}, {"role": ROLE_EDITOR}):
        assert_denied(partly(add, subject=fresh_alias(), **fields))
        assert_denied(partly(update, subject=other_owner, **fields))
    assert_denied(partly(update, subject=other_owner, name="x"))
    assert_denied(partly(remove, subject=other_owner))
    assert partly(add, subject=fresh_alias(), role=ROLE_VIEWER).well


def test_the_last_owner_stays(besieged: Mesh, way: Way, operator: Caller) -> None:
    workspace = str(run(add_workspace(besieged.owner_dsn())))
    inside = Caller(operator.way, (*operator.headers, ("x-workspace", workspace)))
    subject = f"last-{secrets.token_hex(6)}"
    inside.well("MemberService/AddMember", subject=subject, role=ROLE_OWNER)
    token = DevIssuer(besieged).token(sub=subject)
    owner = Caller(way, (("authorization", f"Bearer {token}"),))
    for method, fields in (("Remove", {}), ("Update", {"role": ROLE_VIEWER}), ("Update", {"role": ROLE_EDITOR})):
        answer = owner(f"MemberService/{method}Member", subject=subject, **fields)
        assert (answer.code, answer.reason) == (PRECONDITION, "ERROR_REASON_LAST_OWNER")
        assert subject in answer.message


# Operators' methods, and names of workspaces

OPERATORS_ONLY = {
    "WorkspaceService/CreateWorkspace",
    "AbuseService/ListReports",
    "AbuseService/CloseReport",
    "AbuseService/BlockLink",
    "AbuseService/UnblockLink",
    "AbuseService/ListBlockedLinks",
}


def test_what_is_for_operators_is_not_for_owners(besieged: Mesh, way: Way, operator: Caller) -> None:
    code = operator.well("LinkService/CreateLink", url="https://example.com/")["short_code"]
    in_person, _ = person(besieged, way, operator, ROLE_OWNER)
    narrow = holder(besieged, way, Role.OPERATOR, Scope.LINKS_READ)
    for who in (holder(besieged, way, Role.OWNER), in_person, narrow):
        for method in OPERATORS_ONLY:
            fields = {"short_code": code, "reason": "mine"} if method.endswith("blockLink") else {}
            answer = who(method, **fields) if "Block" not in method else who(method)
            assert_denied(answer, method)
        assert_denied(who("AbuseService/BlockLink", short_code=code, reason="mine"))
        assert_denied(who("AuditService/ListAuditEvents", all_workspaces=True))
    assert {SERVICE + method for method in OPERATORS_ONLY} < POLICIES.keys()
    assert operator.well("LinkService/GetLink", short_code=code)["state"] == "LINK_STATE_ACTIVE"


def test_an_operators_key_for_reading_links_reads_links(besieged: Mesh, way: Way, operator: Caller) -> None:
    """In whatever workspace; and nothing more."""
    workspace = ("x-workspace", str(run(add_workspace(besieged.owner_dsn()))))
    narrow = holder(besieged, way, Role.OPERATOR, Scope.LINKS_READ)
    assert narrow("LinkService/ListLinks", workspace).well
    for method in METHODS:
        name = method.removeprefix(SERVICE)
        if name.startswith(("RateLimit", "LimitOverride", "Job")) or POLICIES[method].scope in (None, Scope.LINKS_READ):
            continue
        assert_denied(narrow(name, workspace), name)


def test_a_name_in_a_header_opens_no_workspace(besieged: Mesh, way: Way, operator: Caller) -> None:
    workspace = str(run(add_workspace(besieged.owner_dsn())))
    in_person, _ = person(besieged, way, operator, ROLE_OWNER)
    for who in (holder(besieged, way, Role.OWNER), holder(besieged, way, Role.VIEWER), in_person):
        for method in ("WorkspaceService/GetWorkspace", "LinkService/ListLinks", "WorkspaceService/GetCaller"):
            assert who(method, ("x-workspace", workspace)).code == NOT_FOUND, method


# What others have begun


def test_an_answer_is_for_whoever_asked_first(besieged: Mesh, way: Way) -> None:
    """Another's idempotency key is one like any other: neither the answer nor that there was one is told."""
    key = f"shared-{secrets.token_hex(8)}"
    first, second = (holder(besieged, way, Role.OWNER) for _ in range(2))

    def code_of(answer: Answer) -> str:
        assert answer.well, answer
        return str(answer.body["short_code"] if isinstance(answer.body, dict) else answer.body.short_code)

    made = code_of(first("LinkService/CreateLink", url="https://example.com/1", request_id=key))
    assert code_of(first("LinkService/CreateLink", url="https://example.com/1", request_id=key)) == made
    assert code_of(second("LinkService/CreateLink", url="https://example.com/1", request_id=key)) != made
    assert second("LinkService/CreateLink", ("idempotency-key", key), url="https://example.com/1").well
    assert first("LinkService/CreateLink", url="https://example.com/2", request_id=key).code == TAKEN


def test_a_page_token_shows_nothing_that_its_holder_may_not_see(besieged: Mesh, way: Way, operator: Caller) -> None:
    """Tokens go on with a list, and give nothing: another's workspace, another list and other arguments are refused."""
    workspace = ("x-workspace", str(run(add_workspace(besieged.owner_dsn()))))
    there = Caller(operator.way, (*operator.headers, workspace))
    for _ in range(3):
        there.well("LinkService/CreateLink", url="https://secret.example/")
        there.well("MemberService/AddMember", subject=fresh_alias(), role=ROLE_OWNER)
        besieged.secrets.add(there.well("KeyService/CreateKey", name="x")["secret"])
    lists = (
        "LinkService/ListLinks",
        "MemberService/ListMembers",
        "KeyService/ListKeys",
        "AuditService/ListAuditEvents",
    )
    owner = holder(besieged, way, Role.OWNER)
    tokens = [there.well(method, page_size=1)["next_page_token"] for method in lists]
    assert all(tokens)
    tokens.append(operator.well("AuditService/ListAuditEvents", page_size=1, all_workspaces=True)["next_page_token"])
    for method in lists:
        for token in tokens:
            for odd in (token, token[:-2], token + "A", token.swapcase(), "", "AAAA", "x" * 5000):
                answer = owner(method, page_token=odd)
                assert answer.code == INVALID if odd else answer.well, (method, odd, answer)
    assert_denied(owner("AuditService/ListAuditEvents", page_token=tokens[-1], all_workspaces=True))


# Fields that are not theirs to set

FORBIDDEN = ("blocked", "state", "workspace_id", "warned", "*", "version", "short_code", "created_at", "clicks_used",
             "destination_flags", "etag", "url.host", "title.x", "links.blocked", "shortCode", "maxClicks.x",
             "workspaceId", "deleted_at", "", ".", "url..title", "update_mask", "request_id")  # fmt: skip


def test_an_update_mask_names_what_owners_may_change_and_nothing_else(besieged: Mesh, way: Way) -> None:
    owner = holder(besieged, way, Role.OWNER)
    created = owner("LinkService/CreateLink", url="https://example.com/", alias=fresh_alias())
    code = created.body["short_code"] if isinstance(created.body, dict) else created.body.short_code
    for path in FORBIDDEN:
        # What the library for JSON does not write, the next test does.
        if way.__qualname__.startswith("json") and (path != path.lower() or path in ("", ".", "url..title")):
            continue
        for paths in ([path], ["title", path]):
            answer = owner("LinkService/UpdateLink", short_code=code, title="x", update_mask={"paths": paths})
            assert answer.code == INVALID, (path, answer)
    after = owner("LinkService/GetLink", short_code=code)
    assert "x" not in (after.body["title"] if isinstance(after.body, dict) else after.body.title)


def test_unknown_fields_do_nothing(api: Api) -> None:
    """As JSON: in calls, in the items of a batch, in the query, in whatever spelling."""
    odd: dict[str, object] = {
        "workspace_id": "01234567-89ab-4cde-8f01-23456789abcd",
        "workspaceId": "01234567-89ab-4cde-8f01-23456789abcd",
        "blocked": False,
        "warned": False,
        "state": "LINK_STATE_ACTIVE",
        "version": 99,
        "role": "ROLE_OPERATOR",
        "principal": "mesh",
        "__proto__": {"admin": True},
        "constructor": {"prototype": {"admin": True}},
        "owner": "someone",
        "created_at": "2001-01-01T00:00:00Z",
        "short_code": "mine",
        "clicks_used": -5,
    }
    for fields in (
        api.make("https://e.example/", **odd),
        *(r["link"] for r in api.results([{"url": "https://e.example/", **odd}])),
    ):
        assert fields["short_code"] != "mine"
        assert (fields["etag"], fields["clicks_used"]) == ("v1", 0)
        assert not fields["created_at"].startswith("2001")
        (row,) = api.sql(
            "SELECT workspace_id::text, blocked_at, version FROM links WHERE short_code = $1", fields["short_code"]
        )
        assert tuple(row) == ("00000000-0000-0000-0000-000000000001", None, 1)
    code = api.code()
    query = "&".join(f"{name}={value}" for name, value in odd.items() if isinstance(value, str))
    assert api.http.get(f"/api/v1/urls/{code}?{query}").json()["short_code"] == code
    other = api.code()
    api.send("PATCH", f"/api/v1/urls/{code}?short_code={other}&shortCode={other}", {"title": "changed"})
    assert (api.link(code)["title"], api.link(other)["title"]) == ("changed", "")
    for mask in (
        "shortCode",
        "workspaceId",
        "title,blocked",
        "title,workspace_id",
        "blockedAt",
        "title.",
        "title,,url",
    ):
        assert api.update(code, title="again", update_mask=mask).status_code == 400, mask
    assert api.link(code)["title"] == "changed"


def test_an_item_of_a_batch_is_no_more_than_a_call(besieged: Mesh, api: Api) -> None:
    """Items have neither keys of their own nor a workspace; the batch's own callers' limits hold."""
    taken = api.code()
    results = api.results(
        [
            {"url": "https://example.com/", "alias": taken},
            {"url": "https://example.com/", "request_id": "item"},
            {"url": "javascript:alert(1)"},
            {"url": "https://example.com/", "alias": "api"},
            {"url": f"{besieged.http_url}/{taken}"},
        ]
    )
    assert all("error" in result for result in (results[0], results[2], results[4])), results
    with edge_client(besieged) as client:
        client.headers.update(headers_of(key_with(besieged, Role.VIEWER)))
        viewer = Api(besieged, client)
        assert viewer.batch([{"url": "https://example.com/"}]).status_code == 403
        assert viewer.batch([]).status_code == 403
    assert "request_id" in json.dumps(results[1]) or "link" in results[1]


# Blocked links


@pytest.fixture
def blocked(api: Api, operator: Caller) -> str:
    """A link of theirs that operators have blocked."""
    code = api.code("https://bad.example/", max_clicks=5)
    operator.well("AbuseService/BlockLink", short_code=code, reason="phishing")
    return code


def test_a_block_outlasts_whatever_its_owner_does(besieged: Mesh, api: Api, blocked: str) -> None:
    def still() -> None:
        assert api.http.get(f"/{blocked}").status_code == 451
        assert api.http.get(f"/{blocked}+").status_code == 451
        (row,) = api.sql("SELECT blocked_at FROM links WHERE short_code = $1", blocked)
        assert row["blocked_at"]

    still()
    changes: list[dict[str, object]] = [
        {"url": "https://good.example/"},
        {"url": "https://good.example/", "title": "harmless", "tags": ["a"]},
        {"max_clicks": 1000},
        {"redirect_status": 301},
        {"ttl_seconds": 3600},
        {"update_mask": "expires_at,max_clicks,title,tags"},
        {"forward_query": True, "blocked": False, "state": "LINK_STATE_ACTIVE"},
    ]
    for change in changes:
        assert api.update(blocked, **change).status_code == 200
        still()
        assert api.link(blocked)["state"] == "LINK_STATE_BLOCKED"
    for path in ("blocked", "state", "blocked_at"):
        assert "update_mask" in bad_fields(api.update(blocked, update_mask=path))
    assert api.update(blocked, update_mask="*", url="https://good.example/").status_code == 200
    still()
    assert api.delete(blocked).status_code == 200
    (row,) = api.sql("SELECT blocked_at FROM links WHERE short_code = $1", blocked)
    assert row["blocked_at"]
    # Nor is it anybody's else in the meantime, in whatever case.
    for alias in (blocked, blocked.upper()):
        assert api.shorten("https://good.example/", alias=alias).status_code in (400, 409)
    assert api.undelete(blocked).status_code == 200
    still()
    for method in ("unblock", "block"):
        assert api.send("POST", f"/api/v1/abuse/links/{blocked}:{method}", {"reason": "mine"}).status_code == 403
    still()


def test_a_blocked_destination_is_not_told(besieged: Mesh, api: Api, blocked: str, way: Way) -> None:
    """By nothing that visitors may ask."""
    anyone = Caller(way, ())
    if not way.__qualname__.startswith("json"):
        answer = anyone("LinkService/ResolveLink", short_code=blocked)
        assert "bad.example" not in answer.text + str(answer.body)
    for path in (f"/{blocked}", f"/{blocked}+", f"/{blocked}/", f"/{blocked}?x=1", f"/{blocked}+?x"):
        for accept in ("text/html", "application/json", "application/problem+json", "*/*"):
            for verb in ("GET", "HEAD"):
                response = api.http.request(verb, path, headers={"accept": accept})
                assert response.status_code == 451, (verb, path, accept)
                assert "bad.example" not in response.text + str(response.headers)
