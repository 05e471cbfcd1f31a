"""Lists of links: which ones, in which order, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from urllib.parse import quote, quote_plus

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf.json_format import ParseDict

from tests.e2e.api import Api, api_from, bad_fields, bad_fields_of, fresh_alias, refused
from tests.support.mesh import Mesh
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

TIMEOUT = 10.0
NUMBER = 120
SEVEN = 7
MOST = 500
ORDERS = ["", "created_at desc", "created_at", "updated_at desc", "updated_at", "short_code", "short_code desc"]
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def many(mesh: Mesh) -> Iterator[Api]:
    """The same mesh for one who makes thousands of links."""
    with api_from("127.0.1.2", mesh) as api:
        yield api


@pytest.fixture
def tag() -> str:
    """A tag that no other test's links have."""
    return fresh_alias()


@pytest.fixture(scope="module")
def crowd(many: Api) -> str:
    """The tag of 120 links; many of them were made at the same instant, and some have changed since."""
    tag = fresh_alias()
    codes: list[str] = []
    for _ in range(3):
        results = many.results([{"url": "https://a.example/", "tags": [tag]}] * (NUMBER // 3))
        codes += [str(result["link"]["short_code"]) for result in results]
    for code in codes[::10]:
        many.updated(code, title="changed")
    return tag


def made(api: Api, tag: str, *, number: int = 1, **fields: object) -> list[str]:
    """The codes of new links with this tag alone, in the order of making."""
    return [api.code(tags=[tag], **fields) for _ in range(number)]  # type: ignore[arg-type] # no `url` among them


@pytest.mark.parametrize("order", ORDERS)
def test_every_link_once_in_its_order(many: Api, crowd: str, order: str) -> None:
    fields: dict[str, str | int] = {"filter": f"tag = {crowd}", "page_size": SEVEN}
    if order:
        fields["order_by"] = order
    pages = list(many.pages(**fields))
    assert all(len(page) == SEVEN for page in pages[:-1])
    assert 1 <= len(pages[-1]) <= SEVEN
    listed = [link for page in pages for link in page]
    assert len({link["short_code"] for link in listed}) == len(listed) == NUMBER
    column, _, direction = (order or "created_at desc").partition(" ")
    keys = [link[column] for link in listed]
    assert keys == sorted(keys, reverse=direction == "desc")
    # As it is shown by itself, in full.
    assert listed[0] == many.link(listed[0]["short_code"])


def test_an_order_and_its_reverse(many: Api, crowd: str) -> None:
    for column in ("created_at", "updated_at", "short_code"):
        up = many.codes(filter=f"tag = {crowd}", order_by=column, page_size=SEVEN)
        assert up == many.codes(filter=f"tag = {crowd}", order_by=f"{column} desc", page_size=500)[::-1]


@pytest.mark.parametrize("order", ORDERS[1:])
def test_every_link_once_while_others_come_and_go(many: Api, crowd: str, order: str) -> None:
    wanted = set(many.codes(filter=f"tag = {crowd}", page_size=500))
    assert len(wanted) == NUMBER
    over, going = Event(), Event()

    def come_and_go() -> int:
        number = 0
        while not over.is_set():
            (code,) = made(many, crowd)
            many.updated(code, title="moved")
            assert many.delete(code).status_code == 200
            number += 1
            going.set()
        return number

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(come_and_go)
        try:
            assert going.wait(10)
            seen = many.codes(filter=f"tag = {crowd}", order_by=order, page_size=SEVEN)
        finally:
            over.set()
        assert others.result() >= 1
    assert sorted(code for code in seen if code in wanted) == sorted(wanted)
    # In the order of their last change others may be met twice: they move while somebody reads.
    if not order.startswith("updated_at"):
        assert len(set(seen)) == len(seen)


def test_all_links_are_listed_without_a_filter(many: Api, crowd: str) -> None:
    listed = many.codes(page_size=500)
    assert len(set(listed)) == len(listed)
    assert set(many.codes(filter=f"tag = {crowd}")) <= set(listed)
    (row,) = many.sql("SELECT count(*) FROM links WHERE deleted_at IS NULL")
    assert len(listed) == row["count"]


def test_a_token_belongs_to_its_filter_and_order(many: Api, crowd: str) -> None:
    first = many.page(filter=f"tag = {crowd}", page_size=SEVEN)
    token = first["next_page_token"]
    # Another size, and other words for the same question, are no other list.
    rest = many.page(filter=f'tag  =  "{crowd}"', order_by="created_at desc", page_size=500, page_token=token)
    assert rest["next_page_token"] == ""
    together = [link["short_code"] for link in (*first["links"], *rest["links"])]
    assert together == many.codes(filter=f"tag = {crowd}", page_size=500)
    others: list[dict[str, str]] = [
        {"filter": f"tag = {crowd}", "order_by": "created_at"},
        {"filter": f"tag = {crowd}", "order_by": "short_code desc"},
        {"filter": f"tag = {crowd} AND state = active"},
        {"filter": f"tag = {crowd.upper()}x"},
        {},
    ]
    for other in others:
        response = many.http.get("/api/v1/urls", params={**other, "page_token": token})
        assert "another filter or order" in bad_fields(response)["page_token"]


@pytest.mark.parametrize("spoil", ["{}x", "x{}", "{}=", "{} ", "{}\x00", "é", "AAAA", "0", "{}{}", "-"])
def test_tokens_that_are_none(many: Api, crowd: str, spoil: str) -> None:
    token = many.page(filter=f"tag = {crowd}", page_size=SEVEN)["next_page_token"]
    fields = {"filter": f"tag = {crowd}", "page_token": spoil.replace("{}", token)}
    assert "no token of this server" in bad_fields(many.http.get("/api/v1/urls", params=fields))["page_token"]


def test_states(api: Api, tag: str) -> None:
    names = ["active", "expired", "exhausted", "blocked", "warned", "deleted"]
    by_state = dict(zip(names, made(api, tag, number=len(names)), strict=True))
    api.sql("UPDATE links SET expires_at = clock_timestamp() WHERE short_code = $1", by_state["expired"])
    api.sql("UPDATE links SET blocked_at = clock_timestamp() WHERE short_code = $1", by_state["blocked"])
    api.sql("UPDATE links SET warned_at = clock_timestamp() WHERE short_code = $1", by_state["warned"])
    api.delete(by_state["deleted"])
    api.updated(by_state["exhausted"], max_clicks=1)
    assert api.http.get(f"/{by_state['exhausted']}").status_code == 302
    for state, code in by_state.items():
        (link,) = api.page(filter=f"tag = {tag} AND state = {state}")["links"]
        assert (link["short_code"], link["state"]) == (code, f"LINK_STATE_{state.upper()}")
    # Deleted ones only for those who ask for them.
    assert set(api.codes(filter=f"tag = {tag}")) == set(by_state.values()) - {by_state["deleted"]}
    assert set(api.codes(filter=f"tag = {tag}", order_by="updated_at")) == set(api.codes(filter=f"tag = {tag}"))
    api.undelete(by_state["deleted"])
    assert set(api.codes(filter=f"tag = {tag} AND state = active")) == {by_state["active"], by_state["deleted"]}


def test_a_link_ends_while_it_is_listed(api: Api, tag: str) -> None:
    """By the time itself, not by the sweep that notes it later."""
    (code,) = made(api, tag, ttl_seconds=1)
    ends = datetime.fromisoformat(api.link(code)["expires_at"])
    seen = set()
    while datetime.now(UTC) < ends + timedelta(seconds=0.4):
        active = api.codes(filter=f"tag = {tag} AND state = active")
        expired = api.codes(filter=f"tag = {tag} AND state = expired")
        assert active in ([code], [])
        # Asked for later: what is not active any more has expired; what has expired already never was active again.
        assert expired == [code] if not active else expired in ([code], [])
        assert api.codes(filter=f"tag = {tag}") == [code]
        seen.add("active" if active else "expired")
    assert seen == {"active", "expired"}


def test_texts(api: Api) -> None:
    word = fresh_alias().replace("-", "x")
    alias = f"Code-{word}"
    code = api.code(
        f"https://www.Shop.{word}.example/Über%20uns/report-2031?secret={word}query#{word}fragment",
        alias=alias,
        title=f"Jahresbericht {word} ÉTÉ",
    )
    other = api.code(title=f"{word} other")
    found = {
        f"text : {word}": {code, other},
        f"text : {word.upper()}": {code, other},
        f'text : "{word} jahresbericht"': {code},
        f'text : "JAHRESBERICHT {word} été"': {code},
        f"text : {word} AND text : shop": {code},
        f"text : {word} AND text : über": {code},
        f"text : {word} AND text : 2031": {code},
        f"text : {word} AND text : rep*": {code},
        f'text : {word} AND text : "jahr* rep*"': {code},
        f"text : code-{word}": {code},
        f"text : {word[:-1]}*": {code, other},
        # Words as a whole, and no secrets.
        f"text : {word} AND text : jahres": set(),
        f"text : {word}query": set(),
        f"text : {word}fragment": set(),
        f"text : {word} AND text : secret": set(),
        f"text : {word} AND text : bericht*": set(),
    }
    for condition, codes in found.items():
        assert set(api.codes(filter=condition)) == codes, condition
    # What it is found by changes with the link.
    api.updated(code, title="nothing", url="https://b.example/")
    assert set(api.codes(filter=f"text : {word} AND text : jahresbericht")) == set()
    assert set(api.codes(filter=f"text : {word} AND text : nothing")) == {code}


def test_tags_are_told_apart_exactly(api: Api, tag: str) -> None:
    one = api.code(tags=[tag, "Blau", "a b", "Ünï"])
    two = api.code(tags=[tag, "blau", "U\u0308ni\u0308"])
    found = {
        f"tag = {tag}": {one, two},
        f"tag = {tag} AND tag = Blau": {one},
        f"tag = {tag} AND tag = blau": {two},
        f'tag = {tag} AND tag = "a b" AND tag = Blau': {one},
        f"tag = {tag} AND tag = a": set(),
        f"tag = {tag} AND tag = Bla": set(),
        f'tag = {tag} AND tag = "Blau*"': set(),
        f"tag = {tag} AND tag = Blau AND tag = blau": set(),
        # In whatever form of Unicode it was given, and is asked for.
        f"tag = {tag} AND tag = Ünï": {one, two},
        f"tag = {tag} AND tag = U\u0308ni\u0308": {one, two},
        f"tag = {tag[:-1]}": set(),
    }
    for condition, codes in found.items():
        assert set(api.codes(filter=condition)) == codes, condition
    api.updated(one, tags=[tag])
    assert api.codes(filter=f"tag = {tag} AND tag = Blau") == []
    assert set(api.codes(filter=f"tag = {tag}")) == {one, two}


def test_bounds_of_the_time_of_making(api: Api, tag: str) -> None:
    first, second, third = made(api, tag, number=3)
    middle = datetime.fromisoformat(api.link(second)["created_at"])
    before, after = ((middle + step).isoformat() for step in (-MICROSECOND, MICROSECOND))
    at = api.link(second)["created_at"]
    elsewhere = middle.astimezone().isoformat()
    found = {
        f'created_at >= "{at}"': [third, second],
        f'created_at > "{at}"': [third],
        f'created_at < "{at}"': [first],
        f'created_at <= "{at}"': [second, first],
        f'created_at >= "{elsewhere}" AND created_at <= "{elsewhere}"': [second],
        f'created_at > "{before}" AND created_at < "{after}"': [second],
        f'created_at > "{at}" AND created_at < "{at}"': [],
        f'created_at >= "{after}" AND created_at <= "{before}"': [],
        'created_at < "2020-01-01T00:00:00Z"': [],
    }
    for condition, codes in found.items():
        assert api.codes(filter=f"tag = {tag} AND {condition}") == codes, condition
        assert api.codes(filter=f"{condition} and tag = {tag}", order_by="created_at", page_size=1) == codes[::-1]


def test_everything_together(api: Api, tag: str) -> None:
    wanted = made(api, tag, title="one two three", ttl_seconds=3600, number=2)
    made(api, tag, title="one two", number=2)
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    condition = f'state = active AND text : "three on*" AND tag = {tag} AND created_at > "{since}"'
    assert api.codes(filter=condition, order_by="created_at", page_size=1) == wanted


BAD: list[tuple[dict[str, str], set[str]]] = [
    ({"page_size": "-1"}, {"page_size"}),
    ({"order_by": "title"}, {"order_by"}),
    ({"order_by": "created_at asc"}, {"order_by"}),
    ({"order_by": "created_at, short_code"}, {"order_by"}),
    ({"filter": "nothing = 1"}, {"filter"}),
    ({"filter": "state"}, {"filter"}),
    ({"filter": "state = gone"}, {"filter"}),
    ({"filter": "state : active"}, {"filter"}),
    ({"filter": "state = active OR state = deleted"}, {"filter"}),
    ({"filter": "state = active AND state = active"}, {"filter"}),
    ({"filter": "state = active AND"}, {"filter"}),
    ({"filter": "(state = active)"}, {"filter"}),
    ({"filter": 'tag = "open'}, {"filter"}),
    ({"filter": 'tag = ""'}, {"filter"}),
    ({"filter": 'tag = "a,b"'}, {"filter"}),
    ({"filter": " AND ".join(f"tag = t{place}" for place in range(6))}, {"filter"}),
    ({"filter": "created_at = 2031-01-01"}, {"filter"}),
    ({"filter": "created_at > yesterday"}, {"filter"}),
    ({"filter": 'created_at > "2031-02-30T00:00:00Z"'}, {"filter"}),
    ({"filter": "text : *"}, {"filter"}),
    ({"filter": "text : a*b"}, {"filter"}),
    ({"filter": "text : a*"}, {"filter"}),
    ({"filter": 'text : "-"'}, {"filter"}),
    ({"filter": "tag = a\x00b"}, {"filter"}),
    ({"filter": "text : " + "x" * 1024}, {"filter"}),
    ({"filter": "é" * 513}, {"filter"}),
    ({"page_token": "x"}, {"page_token"}),
    ({"page_size": "-1", "filter": "x", "order_by": "y", "page_token": "z"}, {"page_size", "filter", "order_by"}),
]


@pytest.mark.parametrize(("fields", "named"), BAD)
def test_bad_arguments_are_named(
    api: Api, links_channel: grpc.Channel, fields: dict[str, str], named: set[str]
) -> None:
    in_json = bad_fields(api.http.get("/api/v1/urls", params=fields))
    assert in_json.keys() == named
    request = ParseDict(fields, links.ListLinksRequest())
    over_grpc = bad_fields_of(refused(lambda: LinkServiceStub(links_channel).ListLinks(request, timeout=TIMEOUT)))
    assert over_grpc == in_json


@pytest.mark.parametrize("size", ["x", "1.5", "99999999999", "5%35x"])
def test_sizes_that_are_no_numbers(api: Api, size: str) -> None:
    response = api.http.get(f"/api/v1/urls?page_size={size}")
    assert response.status_code == 400
    assert "page_size" in response.json()["message"]


def test_sizes_of_pages(many: Api, tag: str) -> None:
    results = many.results([{"url": "https://a.example/", "tags": [tag]}] * (MOST + 1))
    assert all("link" in result for result in results)
    for size, number in ((None, 50), (0, 50), (1, 1), (MOST, MOST), (MOST + 1, MOST), (2**31 - 1, MOST)):
        fields: dict[str, str | int] = {"filter": f"tag = {tag}"}
        if size is not None:
            fields["page_size"] = size
        page = many.page(**fields)
        assert (len(page["links"]), page["next_page_token"] != "") == (number, True)
    assert len(set(many.codes(filter=f"tag = {tag}", page_size=MOST))) == MOST + 1


def test_pages_of_long_links_end_early(many: Api, tag: str, edge_channel: grpc.Channel) -> None:
    """A page has room for some hundred of the longest URLs; the rest is on the next ones."""
    for _ in range(2):
        items = [{"url": f"https://a.example/{place}/" + "x" * 8100, "tags": [tag]} for place in range(250)]
        assert all("link" in result for result in many.results(items))
    pages = list(many.pages(filter=f"tag = {tag}", page_size=MOST))
    assert len(pages) > 1
    codes = [link["short_code"] for page in pages for link in page]
    assert len(set(codes)) == len(codes) == 500
    # As much as gRPC's clients take by themselves.
    request = links.ListLinksRequest(filter=f"tag = {tag}", page_size=MOST)
    page = LinkServiceStub(edge_channel).ListLinks(request, timeout=TIMEOUT)
    assert [link.short_code for link in page.links] == codes[: len(pages[0])]


def test_nothing_found(api: Api, tag: str) -> None:
    assert api.page(filter=f"tag = {tag}") == {"links": [], "next_page_token": ""}
    assert api.page(filter=f"tag = {tag}", page_size=1, order_by="short_code") == {"links": [], "next_page_token": ""}
    # The last page is known to be the last one.
    made(api, tag, number=2)
    assert api.page(filter=f"tag = {tag}", page_size=2)["next_page_token"] == ""


@pytest.mark.parametrize("encode", [quote, quote_plus], ids=["%20", "+"])
@pytest.mark.parametrize(
    "odd", ['say "hi"', "a+b", "100%", "a&b=c", "50%25", "a/b?c#d", "back\\slash", "(x)", "<i>", "a:b", "é 🏷️", "'"]
)
def test_filters_in_a_query_string(api: Api, tag: str, odd: str, encode: object) -> None:
    code = api.code(tags=[tag, odd])
    value = odd.replace("\\", "\\\\").replace('"', '\\"')
    condition = f'tag = "{tag}" AND tag = "{value}"'
    encoded = encode(condition, safe="")  # type: ignore[operator] # one of the two above
    response = api.http.get(httpx.URL(f"{api.mesh.http_url}/api/v1/urls", query=f"filter={encoded}".encode()))
    assert response.status_code == 200, response.text
    assert [link["short_code"] for link in response.json()["links"]] == [code]


def test_the_same_over_grpc(many: Api, crowd: str, links_channel: grpc.Channel) -> None:
    stub = LinkServiceStub(links_channel)
    request = links.ListLinksRequest(filter=f"tag = {crowd}", order_by="short_code", page_size=SEVEN)
    found: list[links.Link] = []
    while True:
        page = stub.ListLinks(request, timeout=TIMEOUT)
        found += page.links
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    as_json = [link for page in many.pages(filter=f"tag = {crowd}", order_by="short_code") for link in page]
    assert [ParseDict(link, links.Link()) for link in as_json] == found


def test_a_list_does_not_wait_for_those_who_change_links(api: Api, tag: str) -> None:
    codes = made(api, tag, number=3)
    with ThreadPoolExecutor(4) as pool:
        changes = [pool.submit(api.update, code, title=str(number)) for number in range(20) for code in codes]
        for _ in range(10):
            assert set(api.codes(filter=f"tag = {tag}", order_by="short_code", page_size=1)) == set(codes)
        assert all(change.result().status_code == 200 for change in changes)


async def test_a_list_shows_links_that_somebody_is_just_changing(api: Api, tag: str) -> None:
    """As they were; whoever waited for the end of the change would be refused before it comes."""
    codes = made(api, tag, number=3, title="before")
    owner = await asyncpg.connect(api.mesh.owner_dsn(), timeout=10)
    try:
        async with owner.transaction():
            await owner.execute("UPDATE links SET title = 'after' WHERE short_code = ANY($1)", codes)
            pages = api.pages(filter=f"tag = {tag}", order_by="short_code", page_size=1)
            listed = [link for page in await asyncio.to_thread(list, pages) for link in page]
    finally:
        await owner.close()
    assert {link["short_code"]: link["title"] for link in listed} == dict.fromkeys(codes, "before")
