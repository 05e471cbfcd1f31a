"""Each call of the client: what it asks, and what it makes of the answer."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.support.link_server import NOW, LinkServer
from waypost import Client, errors
from waypost.api.v1 import link_service_pb2 as pb
from waypost.client import UNSET, DestinationFlag, Link, LinkState, NewLink, Resolution
from waypost.errors import FieldViolation, InvalidFields

URL = "https://example.com/"
END = datetime(2032, 1, 1, 12, tzinfo=UTC)


async def test_create(client: Client, server: LinkServer) -> None:
    link = await client.create(
        URL,
        alias="talk",
        title="A talk",
        tags=["a", "b"],
        ttl=timedelta(days=7),
        max_clicks=3,
        redirect_status=307,
        forward_query=True,
    )
    assert link == Link(
        short_code="talk",
        short_url="https://go.example/talk",
        original_url=URL,
        title="A talk",
        tags=("a", "b"),
        state=LinkState.ACTIVE,
        created_at=NOW,
        updated_at=NOW,
        expires_at=NOW + timedelta(days=7),
        max_clicks=3,
        clicks_used=0,
        redirect_status=307,
        forward_query=True,
        etag="v1",
        destination_flags=(),
    )
    (call,) = server.calls
    assert call.request.ttl_seconds == 604_800


async def test_create_leaves_to_the_server_what_is_not_given(client: Client, server: LinkServer) -> None:
    link = await client.create(URL)
    assert (link.redirect_status, link.expires_at, link.max_clicks, link.tags) == (302, None, 0, ())
    (call,) = server.calls
    assert [field.name for field, _ in call.request.ListFields()] == ["url", "request_id"]


async def test_a_link_ends_at_an_instant_of_any_time_zone(client: Client) -> None:
    east = END.astimezone(tz=datetime.strptime("+0530", "%z").tzinfo)
    link = await client.create(URL, expires_at=east)
    assert link.expires_at == END
    assert link.expires_at.tzinfo is UTC


async def test_every_change_has_an_id_of_its_own(client: Client, server: LinkServer) -> None:
    await client.create(URL, alias="talk")
    await client.batch_create([NewLink(url=URL)])
    await client.update("talk", title="x")
    await client.delete("talk")
    await client.undelete("talk")
    ids = [call.request.request_id for call in server.calls]
    assert len(set(ids)) == 5
    assert all(uuid.UUID(one).version == 4 for one in ids)


async def test_an_id_of_the_callers_own(client: Client, server: LinkServer) -> None:
    first = await client.create(URL, request_id="mine")
    assert await client.create(URL, request_id="mine") == first
    assert len(server.links) == 1
    with pytest.raises(errors.IdempotencyKeyReused) as raised:
        await client.create("https://other.example/", request_id="mine")
    assert raised.value.key == "mine"


async def test_batch_create_answers_in_order(client: Client) -> None:
    made, refused, taken, other = await client.batch_create(
        [
            NewLink(url=URL, alias="one", tags=["x"]),
            NewLink(url="javascript:x"),
            NewLink(url=URL, alias="one"),
            NewLink(url=URL, ttl=timedelta(hours=1)),
        ]
    )
    assert isinstance(made, Link)
    assert (made.short_code, made.tags) == ("one", ("x",))
    assert isinstance(refused, InvalidFields)
    assert refused.violations == [FieldViolation("url", "must be absolute")]
    assert isinstance(taken, errors.AliasTaken)
    assert taken.alias == "one"
    assert isinstance(other, Link)
    assert other.expires_at == NOW + timedelta(hours=1)


async def test_a_batch_of_a_thousand_long_links(client: Client) -> None:
    """Larger than what gRPC takes by default, in both directions."""
    url = URL + "x" * 4150
    outcomes = await client.batch_create([NewLink(url=url, title="t" * 256)] * 1000, timeout=60)
    assert len(outcomes) == 1000
    assert all(isinstance(one, Link) and one.original_url == url for one in outcomes)


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_links(client: Client, count: int) -> None:
    with pytest.raises(InvalidFields) as raised:
        await client.batch_create(NewLink(url=URL) for _ in range(count))
    assert raised.value.violations[0].field == "requests"


async def test_get(client: Client) -> None:
    link = await client.create(URL, alias="talk")
    assert await client.get("talk") == link
    with pytest.raises(errors.LinkNotFound) as raised:
        await client.get("nobody")
    assert raised.value.short_code == "nobody"


async def test_list_goes_through_all_pages(client: Client, server: LinkServer) -> None:
    await client.batch_create([NewLink(url=URL, alias=f"link-{n}", tags=["odd"] if n % 2 else []) for n in range(12)])
    found = [link.short_code async for link in client.list(filter='tag = "odd"', order_by="created_at", page_size=4)]
    assert found == [f"link-{n}" for n in range(1, 12, 2)]
    asked = [call.request for call in server.of("ListLinks")]
    assert [(one.filter, one.order_by, one.page_size) for one in asked] == [('tag = "odd"', "created_at", 4)] * 2
    assert [bool(one.page_token) for one in asked] == [False, True]


async def test_list_asks_for_no_page_that_nobody_reads(client: Client, server: LinkServer) -> None:
    await client.batch_create([NewLink(url=URL) for _ in range(4)])
    async for _ in client.list(page_size=2):
        break
    assert len(server.of("ListLinks")) == 1


async def test_list_page(client: Client) -> None:
    await client.batch_create([NewLink(url=URL, alias=f"link-{n}") for n in range(3)])
    first = await client.list_page(page_size=2)
    assert [link.short_code for link in first.links] == ["link-2", "link-1"]
    last = await client.list_page(page_size=2, page_token=first.next_page_token)
    assert ([link.short_code for link in last.links], last.next_page_token) == (["link-0"], "")
    with pytest.raises(InvalidFields) as raised:
        await client.list_page(filter='state = "active"', page_token=first.next_page_token)
    assert raised.value.violations[0].field == "page_token"


async def test_update_changes_what_is_given(client: Client, server: LinkServer) -> None:
    await client.create(URL, alias="talk", title="old", tags=["a"], max_clicks=5)
    link = await client.update("talk", url="https://new.example/", title="new", expires_at=END)
    assert (link.original_url, link.title, link.expires_at) == ("https://new.example/", "new", END)
    assert (link.tags, link.max_clicks) == (("a",), 5)
    (call,) = server.of("UpdateLink")
    assert call.request.update_mask == FieldMask(paths=["url", "title", "expires_at"])


@pytest.mark.parametrize(
    ("field", "nothing", "path"),
    [
        ("title", None, "title"),
        ("title", "", "title"),
        ("tags", None, "tags"),
        ("tags", [], "tags"),
        ("expires_at", None, "expires_at"),
        ("max_clicks", None, "max_clicks"),
        ("max_clicks", 0, "max_clicks"),
        ("redirect_status", None, "redirect_status"),
        ("redirect_status", 0, "redirect_status"),
        ("forward_query", None, "forward_query"),
        ("forward_query", False, "forward_query"),
    ],
)
async def test_update_clears_what_is_given_as_nothing(
    client: Client, server: LinkServer, field: str, nothing: object, path: str
) -> None:
    plain = await client.create(URL, alias="plain")
    await client.create(
        URL,
        alias="talk",
        title="t",
        tags=["a"],
        expires_at=END,
        max_clicks=5,
        redirect_status=308,
        forward_query=True,
    )
    changes: dict[str, object] = {field: nothing}
    link = await client.update("talk", **changes)  # type: ignore[arg-type]
    assert getattr(link, field) == getattr(plain, field)
    (call,) = server.of("UpdateLink")
    assert call.request.update_mask == FieldMask(paths=[path])


async def test_update_with_a_time_to_live(client: Client, server: LinkServer) -> None:
    await client.create(URL, alias="talk")
    link = await client.update("talk", ttl=timedelta(seconds=1.2))
    assert link.expires_at == NOW + timedelta(seconds=2)
    assert server.of("UpdateLink")[0].request.update_mask == FieldMask(paths=["ttl_seconds"])


async def test_update_of_nothing_is_refused(client: Client, server: LinkServer) -> None:
    with pytest.raises(InvalidFields) as raised:
        await client.update("talk", title=UNSET)
    assert raised.value.violations[0].field == "update_mask"
    assert server.calls == []


async def test_etags_guard_changes(client: Client) -> None:
    link = await client.create(URL, alias="talk")
    newer = await client.update("talk", title="x", etag=link.etag)
    for change in (
        client.update("talk", title="y", etag=link.etag),
        client.delete("talk", etag=link.etag),
        client.undelete("talk", etag=link.etag),
    ):
        with pytest.raises(errors.EtagMismatch) as raised:
            await change
        assert (raised.value.short_code, raised.value.etag) == ("talk", newer.etag)
    assert (await client.get("talk")).title == "x"
    assert (await client.delete("talk", etag=newer.etag)).state is LinkState.DELETED


async def test_delete_and_undelete(client: Client) -> None:
    await client.create(URL, alias="talk")
    assert (await client.delete("talk")).state is LinkState.DELETED
    with pytest.raises(errors.LinkGone) as raised:
        await client.update("talk", title="x")
    assert not raised.value.expired
    assert (await client.undelete("talk")).state is LinkState.ACTIVE


async def test_resolve(client: Client) -> None:
    await client.create(URL, alias="talk", ttl=timedelta(hours=1))
    assert await client.resolve("talk") == Resolution("talk", 302, URL, LinkState.ACTIVE, timedelta(hours=1))
    assert await client.resolve("nobody") == Resolution("nobody", 404, "", None, None)


async def test_what_only_a_newer_server_knows_is_called_unknown(client: Client, server: LinkServer) -> None:
    await client.create(URL, alias="talk")
    server.links["talk"].MergeFromString(pb.Link(state=99, destination_flags=[3, 99]).SerializeToString())  # type: ignore[arg-type, list-item]
    link = await client.get("talk")
    assert link.state is LinkState.UNKNOWN
    assert link.destination_flags == (DestinationFlag.CONFUSABLE, DestinationFlag.UNKNOWN)
    assert (await client.resolve("talk")).state is LinkState.UNKNOWN


async def test_what_no_message_can_hold_is_refused_before_it_is_sent(client: Client, server: LinkServer) -> None:
    with pytest.raises(InvalidFields) as raised:
        await client.create(
            "https://\ud800.example/",
            tags="abc",
            expires_at=datetime(2032, 1, 1),  # noqa: DTZ001 - the mistake
            max_clicks=2**31,
            request_id="\udfff",
        )
    assert [violation.field for violation in raised.value.violations] == [
        "request_id",
        "url",
        "tags",
        "max_clicks",
        "expires_at",
    ]
    with pytest.raises(InvalidFields, match="excludes"):
        await client.create(URL, ttl=timedelta(1), expires_at=END)
    with pytest.raises(InvalidFields) as raised:
        await client.batch_create([NewLink(url=URL), NewLink(url="\ud800")])
    assert raised.value.violations[0].field == "requests[1].url"
    for call in (client.get("\ud800"), client.delete("\ud800"), client.update("x", title="\ud800")):
        with pytest.raises(InvalidFields, match="Unicode"):
            await call
    assert server.calls == []


async def test_a_life_longer_than_the_contract_can_say_is_the_servers_to_refuse(
    client: Client, server: LinkServer
) -> None:
    await client.create(URL, ttl=timedelta.max)
    assert server.calls[-1].request.ttl_seconds == 2**31 - 1
    with pytest.raises(InvalidFields) as raised:
        await client.create(URL, ttl=timedelta.min)
    assert raised.value.violations[0].field == "ttl_seconds"
