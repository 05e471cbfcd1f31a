"""Reports and blocked links as the job roles have them: bounded, whole or not at all, and over all workspaces."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from gateway.abuse import page_tokens
from gateway.abuse.addresses import ShortAddresses
from gateway.abuse.decisions import Decisions
from gateway.abuse.handlers import AbuseHandlers
from gateway.abuse.requests import ListReports
from gateway.cache import CacheMetrics, RedirectCache
from tests.integration.storage.conftest import PUBLIC_URL
from tests.support.abuse import OPERATORS, operator, report
from tests.support.links import new_link, store
from tests.support.postgres import Database
from tests.support.visitors import NOW, Feed
from tests.support.waiting import until
from waypost.abuse import (
    MAX_OPEN_BY_ADDRESS,
    MAX_OPEN_OF_LINK,
    BlockedLink,
    NewReport,
    Place,
    Report,
    ReportCategory,
    ReportQuery,
)
from waypost.adapters import postgres_abuse
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_abuse import PostgresAbuse, PostgresReportIntake
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_redirects import PostgresRedirectReader
from waypost.adapters.queries import QUERIES
from waypost.api.v1 import event_pb2, link_service_pb2
from waypost.errors import InvalidFields, LinkNotFound, ResourceNotFound
from waypost.model import DEFAULT_WORKSPACE, Destination, EventType, LinkEvent

HOSTILE = [
    "'); DROP TABLE reports; --",
    "' OR '1'='1",
    '"; SELECT pg_sleep(10); --',
    "$1 $2::uuid $$ $body$ E'\\x00' \\' \\",
    "%s %(name)s {0} {name} {{}}",
    "<img src=x onerror=alert(1)><script>fetch('//evil.example')</script>",
    '=HYPERLINK("https://evil.example";"click")',
    "line one\nline two\ttabbed",
    "名前 \U0001f480 \U00013000 é e\u0301",
    "x" * 2000,
    "\U0001f480" * 2000,
]


@dataclass
class Desk:
    """Where operators sit: the use cases over the database, with the local cache."""

    intake: PostgresReportIntake
    store: PostgresAbuse
    cache: RedirectCache
    handlers: AbuseHandlers

    async def all(self, *, closed: bool = False, short_code: str = "") -> list[Report]:
        return list((await self.store.list_reports(ReportQuery(200, closed, short_code))).reports)


@pytest.fixture
async def visitors(database: Database) -> AsyncIterator[Postgres]:
    """The pool of visitors, who report."""
    async with Postgres(database.url("waypost_redirect"), max_size=8) as pool:
        yield pool


@pytest.fixture
async def operators(database: Database) -> AsyncIterator[Postgres]:
    """The pool of operators."""
    async with Postgres(database.url("waypost_operator"), max_size=8, acquire_timeout=5) as pool:
        yield pool


@pytest.fixture
def desk(visitors: Postgres, operators: Postgres) -> Desk:
    intake, store = PostgresReportIntake(visitors), PostgresAbuse(operators, PUBLIC_URL)
    cache = RedirectCache(PostgresRedirectReader(visitors), Feed(), CacheMetrics(CollectorRegistry()))
    return Desk(intake, store, cache, AbuseHandlers(intake, store, Decisions(store, cache), ShortAddresses(PUBLIC_URL)))


def new_report(short_code: str = "abc1234", address: str = "198.51.100.7", comment: str = "") -> NewReport:
    return NewReport(uuid4(), short_code, ReportCategory.SPAM, comment, "", address)


async def audit(owner: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await owner.fetch("SELECT * FROM audit_log ORDER BY id"))


async def events(owner: asyncpg.Connection) -> list[event_pb2.Event]:
    return [event_pb2.Event.FromString(row["payload"]) for row in await owner.fetch("SELECT * FROM outbox ORDER BY id")]


async def test_a_report_comes_to_the_operators(desk: Desk, storage: PostgresStorage) -> None:
    link = await store(storage, new_link())
    report_id = await desk.handlers.report(report(f"{PUBLIC_URL}/abc1234+?utm=1", "a comment", "me@x.example"), "::/64")
    (found,) = await desk.all()
    assert found == Report(
        report_id,
        "abc1234",
        ReportCategory.PHISHING,
        "a comment",
        "me@x.example",
        found.created_at,
        None,
        link.destination.url,
        False,
        DEFAULT_WORKSPACE,
    )
    assert await desk.all(closed=True) == []


@pytest.mark.parametrize("code", ["nothing1", "ABC1234", "abc123", "abc12345"])
async def test_a_report_of_no_link_is_not_stored(desk: Desk, storage: PostgresStorage, code: str) -> None:
    await store(storage, new_link())
    with pytest.raises(LinkNotFound):
        await desk.handlers.report(report(code), "192.0.2.7")
    assert await desk.all() == []


@pytest.mark.parametrize("code", ["abc1234\x00", "\ud800", "é", "' OR ''='", ""])
async def test_what_is_no_code_is_no_link(desk: Desk, storage: PostgresStorage, code: str) -> None:
    await store(storage, new_link())
    assert await desk.intake.add(new_report(code)) is False
    async with desk.store.unit_of_work() as work:
        assert await work.links.lock(code) is None
    if code:
        assert await desk.all(short_code=code) == []


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_texts_are_texts(
    desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection, text: str
) -> None:
    await store(storage, new_link())
    await desk.handlers.report(report(comment=text, contact=text.split("\n")[0][:254]), "' OR 1=1")
    (found,) = await desk.all(short_code="abc1234")
    assert (found.comment, found.contact) == (text, text.split("\n")[0][:254])
    caller = operator("user:' OR ''='\"; --", "call-'1")
    blocked = await desk.handlers.block("abc1234", text[:1000], caller)
    assert blocked.reason == text[:1000]
    await desk.handlers.unblock("abc1234", text[:1000], caller)
    assert [json.loads(row["details"])["reason"] for row in await audit(owner)] == [text[:1000]] * 2
    assert {row["principal"] for row in await audit(owner)} == {"user:' OR ''='\"; --"}
    assert await owner.fetchval("SELECT count(*) FROM reports") == 1


async def test_what_cannot_be_stored_is_shown_as_replaced(desk: Desk, storage: PostgresStorage) -> None:
    await store(storage, new_link())
    await desk.handlers.report(report(comment="a\x00b\u202ec\ud800d\r\ne\x1b[2Jf"), "192.0.2.7")
    (found,) = await desk.all()
    assert found.comment == "a\ufffdb\ufffdc\ufffdd\ne\ufffd[2Jf"


async def test_one_address_fills_no_table(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    await store(storage, new_link("other12"))
    for _ in range(MAX_OPEN_BY_ADDRESS + 3):
        assert await desk.intake.add(new_report())
    assert await owner.fetchval("SELECT count(*) FROM reports") == MAX_OPEN_BY_ADDRESS
    # Neither another address nor another link pays for it.
    assert await desk.intake.add(new_report(address="198.51.100.8"))
    assert await desk.intake.add(new_report("other12"))
    assert await owner.fetchval("SELECT count(*) FROM reports") == MAX_OPEN_BY_ADDRESS + 2
    # What is closed, or a day old, is in nobody's way.
    await owner.execute("UPDATE reports SET closed_at = now() WHERE ctid IN (SELECT ctid FROM reports LIMIT 1)")
    await owner.execute(
        "UPDATE reports SET created_at = now() - INTERVAL '25 hours' "
        "WHERE ctid IN (SELECT ctid FROM reports WHERE closed_at IS NULL LIMIT 1)"
    )
    for _ in range(5):
        assert await desk.intake.add(new_report())
    assert await owner.fetchval("SELECT count(*) FROM reports") == MAX_OPEN_BY_ADDRESS + 4


async def test_rivals_of_one_address_are_counted_exactly(
    database: Database, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())
    async with Postgres(database.url("waypost_redirect"), max_size=8, acquire_timeout=10) as pool:
        intake = PostgresReportIntake(pool)
        assert all(await asyncio.gather(*(intake.add(new_report()) for _ in range(60))))
    assert await owner.fetchval("SELECT count(*) FROM reports") == MAX_OPEN_BY_ADDRESS


async def test_many_addresses_fill_no_table(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    await owner.execute(
        "INSERT INTO reports (id, link_id, category, address) "
        "SELECT gen_random_uuid(), links.id, 'spam', n::text FROM links, generate_series(1, $1::int) AS n",
        MAX_OPEN_OF_LINK - 1,
    )
    for number in range(3):
        assert await desk.intake.add(new_report(address=f"203.0.113.{number}"))
    assert await owner.fetchval("SELECT count(*) FROM reports") == MAX_OPEN_OF_LINK
    await desk.handlers.block("abc1234", "enough", operator())
    assert await desk.intake.add(new_report())
    assert len(await desk.all()) == 1


async def test_pages_of_reports_have_each_once(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    await store(storage, new_link("other12"))
    for number in range(7):
        await desk.intake.add(new_report("abc1234" if number % 2 else "other12", comment=str(number)))
    # Some of one instant: the id decides.
    await owner.execute("UPDATE reports SET created_at = (SELECT min(created_at) FROM reports) WHERE comment < '4'")
    seen: list[Report] = []
    token, pages = "", 0
    while token or not pages:
        page, token = await desk.handlers.reports(ListReports(2, token, False, ""))
        seen += page.reports
        pages += 1
        if pages == 2:
            # Whoever closes what was shown moves nobody.
            await desk.handlers.close(str(seen[0].report_id), operator())
    assert pages == 4
    assert Counter(found.comment for found in seen) == Counter(map(str, range(7)))
    assert seen == sorted(seen, key=lambda found: (found.created_at, found.report_id))
    assert [found.comment for found in await desk.all(short_code="abc1234")] == sorted(
        (found.comment for found in seen if found.short_code == "abc1234" and found is not seen[0]),
        key=[found.comment for found in seen].index,
    )
    (closed,) = await desk.all(closed=True)
    assert closed.report_id == seen[0].report_id
    assert await desk.all(closed=True, short_code=seen[0].short_code) == [closed]


async def test_a_page_of_large_reports_is_shorter(
    desk: Desk, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_abuse, "MAX_PAGE_BYTES", 10_000)
    await store(storage, new_link(url="https://example.org/" + "x" * 6000))
    for _ in range(4):
        await desk.intake.add(new_report())
    first, token = await desk.handlers.reports(ListReports(0, "", False, ""))
    second, end = await desk.handlers.reports(ListReports(0, token, False, ""))
    assert (len(first.reports), len(second.reports), end) == (2, 2, "")
    assert len({found.report_id for found in first.reports + second.reports}) == 4


async def test_closing_a_report(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    report_id = await desk.handlers.report(report(comment="secret words"), "192.0.2.7")
    closed = await desk.handlers.close(str(report_id).upper(), operator())
    assert closed.closed_at is not None
    assert closed.closed_at >= closed.created_at
    assert await desk.handlers.close(str(report_id), operator()) == closed
    (entry,) = await audit(owner)
    assert (entry["action"], entry["object"], entry["workspace_id"]) == (
        "report.close",
        str(report_id),
        DEFAULT_WORKSPACE,
    )
    assert json.loads(entry["details"]) == {"short_code": "abc1234", "category": "phishing"}
    assert "192.0.2.7" not in str(dict(entry))
    for unknown in (str(uuid4()), "nonsense", f"{{{report_id}}}", "\x00"):
        with pytest.raises(ResourceNotFound):
            await desk.handlers.close(unknown, operator())
    assert len(await audit(owner)) == 1


async def test_a_block_is_one_transaction(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    link = await store(storage, new_link())
    await desk.intake.add(new_report())
    await desk.intake.add(new_report(address="203.0.113.9"))
    redirect = await desk.cache.lookup("abc1234")
    assert redirect is not None
    blocked = await desk.handlers.block("abc1234", " phishing\r\nof a bank ", operator())
    assert (blocked.short_code, blocked.url) == ("abc1234", link.destination.url)
    assert (blocked.workspace_id, blocked.reason) == (DEFAULT_WORKSPACE, "phishing\nof a bank")
    assert blocked.blocked_at is not None
    # The local cache reads anew at once.
    redirect = await desk.cache.lookup("abc1234")
    assert redirect is not None
    assert (redirect.blocked, redirect.version) == (True, 2)

    (event,) = await events(owner)
    assert (event.type, event.version, event.subject) == (event_pb2.EVENT_TYPE_LINK_UPDATED, 2, "abc1234")
    assert (event.dedupe_key, event.correlation_id) == ("link/abc1234/2", "call-1")
    assert event.workspace_id == str(DEFAULT_WORKSPACE)
    assert event.link.state == link_service_pb2.LINK_STATE_BLOCKED
    assert event.link.short_url == f"{PUBLIC_URL}/abc1234"
    (entry,) = await audit(owner)
    assert entry["workspace_id"] == DEFAULT_WORKSPACE != OPERATORS
    assert (entry["principal"], entry["address"]) == ("key:operator12345678", "192.0.2.1")
    assert (entry["action"], entry["object"], entry["correlation_id"]) == ("link.block", "abc1234", "call-1")
    assert json.loads(entry["details"]) == {"reason": "phishing\nof a bank", "reports_closed": "2"}
    assert await desk.all() == []
    closed = await desk.all(closed=True)
    assert len(closed) == 2
    assert all(found.blocked and found.closed_at is not None for found in closed)


async def test_what_fails_in_the_middle_has_not_been(
    desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())
    await desk.intake.add(new_report())
    before = await desk.cache.lookup("abc1234")
    with pytest.raises(asyncpg.CheckViolationError):
        await desk.handlers.block("abc1234", "why", operator("user:" + "x" * 300))
    assert await owner.fetchval("SELECT blocked_at FROM links") is None
    assert (await audit(owner), await events(owner)) == ([], [])
    assert len(await desk.all()) == 1
    assert await desk.cache.lookup("abc1234") is before
    # The connection is none the worse for it.
    await desk.handlers.block("abc1234", "why", operator())


async def test_blocking_again_changes_the_reason_alone(
    desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())
    first = await desk.handlers.block("abc1234", "first", operator())
    second = await desk.handlers.block("abc1234", "second", operator())
    assert second == replace(first, reason="second")
    assert [json.loads(row["details"]) for row in await audit(owner)] == [
        {"reason": "first"},
        {"reason": "second", "reason_before": "first"},
    ]
    # Every version of a link is told.
    assert [event.version for event in await events(owner)] == [2, 3]
    # Asked again for the same, it does nothing at all, but for reports that have come in meanwhile.
    assert await desk.handlers.block("abc1234", "second", operator()) == second
    assert len(await audit(owner)) == 2
    await desk.intake.add(new_report())
    assert await desk.handlers.block("abc1234", "second", operator()) == second
    assert await desk.all() == []
    assert json.loads((await audit(owner))[-1]["details"]) == {"reason": "second", "reports_closed": "1"}
    assert await owner.fetchval("SELECT version FROM links") == 3


async def test_unblocking(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    untouched = await desk.handlers.unblock("abc1234", "why not", operator())
    assert (untouched.blocked_at, untouched.reason) == (None, "")
    assert (await audit(owner), await events(owner)) == ([], [])
    await desk.handlers.block("abc1234", "phishing", operator())
    redirect = await desk.cache.lookup("abc1234")
    assert redirect is not None
    assert redirect.blocked
    back = await desk.handlers.unblock("abc1234", "a mistake", operator())
    assert back == untouched
    redirect = await desk.cache.lookup("abc1234")
    assert redirect is not None
    assert not redirect.blocked
    assert [event.link.state for event in await events(owner)] == [
        link_service_pb2.LINK_STATE_BLOCKED,
        link_service_pb2.LINK_STATE_ACTIVE,
    ]
    entry = (await audit(owner))[-1]
    assert entry["action"] == "link.unblock"
    assert json.loads(entry["details"]) == {"reason": "a mistake", "reason_before": "phishing"}
    assert (await desk.store.list_blocked(10, None)).links == ()


async def test_a_deleted_link_stays_blocked_when_it_comes_back(desk: Desk, storage: PostgresStorage) -> None:
    await store(storage, new_link())

    async def set_deleted(deleted: bool) -> None:
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            link = await work.links.lock("abc1234")
            assert link is not None
            await work.links.set_deleted(link, deleted=deleted)
            await work.commit()

    await set_deleted(True)
    assert await desk.intake.add(new_report())
    assert (await desk.handlers.block("abc1234", "why", operator())).blocked_at is not None
    await set_deleted(False)
    link = await storage.get_link(DEFAULT_WORKSPACE, "abc1234")
    assert link is not None
    assert (link.blocked, link.deleted_at) == (True, None)


async def test_fields_are_refused_before_anything_is_asked(desk: Desk, storage: PostgresStorage) -> None:
    await store(storage, new_link())
    for decide in (desk.handlers.block, desk.handlers.unblock):
        with pytest.raises(InvalidFields):
            await decide("abc1234", " \n ", operator())
        with pytest.raises(InvalidFields):
            await decide("", "why", operator())
        for code in ("nothing1", "ABC1234", "a/b", "abc1234\x00"):
            with pytest.raises(LinkNotFound):
                await decide(code, "why", operator())


async def test_pages_of_blocked_links_have_each_once(
    desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    codes = [f"code{number}" for number in range(5)]
    for code in codes:
        await store(storage, new_link(code, f"https://example.org/{code}"))
        await desk.handlers.block(code, f"because of {code}", operator())
    await store(storage, new_link("free123"))
    await owner.execute("UPDATE links SET blocked_at = now() WHERE short_code IN ('code1', 'code2')")
    seen: list[BlockedLink] = []
    sizes: list[int] = []
    token = ""
    while token or not sizes:
        page, token = await desk.handlers.blocked(2, token)
        seen += page.links
        sizes.append(len(page.links))
    assert sizes == [2, 2, 1]
    assert [link.short_code for link in seen] == ["code2", "code1", "code4", "code3", "code0"]
    assert all(link.reason == f"because of {link.short_code}" for link in seen)
    with pytest.raises(InvalidFields):
        await desk.handlers.blocked(2, page_tokens.encode(Place(NOW, str(uuid4())), "reports", False, ""))


async def test_operators_at_once_agree(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    for number in range(5):
        await desk.intake.add(new_report(address=str(number)))
    answers = await asyncio.gather(
        *(desk.handlers.block("abc1234", f"reason {number}", operator(f"user:{number}")) for number in range(6))
    )
    assert len({answer.blocked_at for answer in answers}) == 1
    (link,) = (await desk.store.list_blocked(10, None)).links
    assert link in answers
    versions = [event.version for event in await events(owner)]
    assert versions == [2, 3, 4, 5, 6, 7]
    entries = [json.loads(row["details"]) for row in await audit(owner)]
    assert len(entries) == 6
    assert [entry.get("reports_closed") for entry in entries] == ["5", *[None] * 5]
    # Each found what the one before it had left.
    assert [entry.get("reason_before") for entry in entries] == [None, *(entry["reason"] for entry in entries[:-1])]
    assert link.reason == entries[-1]["reason"]

    await asyncio.gather(
        *(desk.handlers.unblock("abc1234", "back", operator()) for _ in range(3)),
        *(desk.handlers.block("abc1234", link.reason, operator()) for _ in range(3)),
    )
    row = await owner.fetchrow("SELECT blocked_at, version FROM links")
    assert row is not None
    last = (await events(owner))[-1]
    assert (last.version, last.link.state == link_service_pb2.LINK_STATE_BLOCKED) == (
        row["version"],
        row["blocked_at"] is not None,
    )


async def test_a_block_and_its_owners_updates_lose_nothing(
    desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())

    async def update(number: int) -> None:
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            before = await work.links.lock("abc1234")
            assert before is not None
            after = await work.links.update(
                before, replace(before, destination=Destination(f"https://example.org/{number}"), title=f"t{number}")
            )
            assert after.blocked == before.blocked
            await work.outbox.add_all([LinkEvent(EventType.LINK_UPDATED, after, "owner")])
            await work.commit()

    async def owners_part() -> None:
        for number in range(10):
            await update(number)

    async def operators_part() -> None:
        for number in range(10):
            await desk.handlers.block("abc1234", f"reason {number}", operator())
            await desk.handlers.unblock("abc1234", "back", operator())
        await desk.handlers.block("abc1234", "for good", operator())

    await asyncio.gather(owners_part(), operators_part())
    link = await storage.get_link(DEFAULT_WORKSPACE, "abc1234")
    assert link is not None
    assert (link.destination.url, link.title, link.blocked) == ("https://example.org/9", "t9", True)
    told = await events(owner)
    assert [event.version for event in told] == list(range(2, link.version + 1))
    assert link.version == 1 + 10 + 21
    assert (told[-1].link.original_url, told[-1].link.state) == (
        "https://example.org/9",
        link_service_pb2.LINK_STATE_BLOCKED,
    )


async def test_a_block_whose_caller_goes_away_is_made(
    desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())
    await desk.cache.lookup("abc1234")
    holding = owner.transaction()
    await holding.start()
    await owner.execute("SELECT FROM links FOR UPDATE")
    call = asyncio.create_task(desk.handlers.block("abc1234", "why", operator()))

    async def waits() -> bool:
        return bool(await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(waits)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()
    await holding.rollback()

    async def is_blocked() -> bool:
        redirect = await desk.cache.lookup("abc1234")
        return redirect is not None and redirect.blocked

    await until(is_blocked)
    assert len(await audit(owner)) == 1


async def test_links_of_every_workspace_may_be_blocked(
    desk: Desk, owner: asyncpg.Connection, storage: PostgresStorage
) -> None:
    other = UUID(int=2)
    await owner.execute("INSERT INTO workspaces (id, name) VALUES ($1, 'other')", other)
    async with storage.unit_of_work(other) as work:
        await work.links.add_all([new_link("theirs1", workspace_id=other)])
        await work.commit()
    await desk.intake.add(new_report("theirs1"))
    assert [found.workspace_id for found in await desk.all()] == [other]
    assert (await desk.handlers.block("theirs1", "why", operator())).workspace_id == other
    assert [row["workspace_id"] for row in await audit(owner)] == [other]
    assert await owner.fetchval("SELECT workspace_id FROM outbox") == other


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("waypost_redirect", "SELECT comment FROM reports"),
        ("waypost_redirect", "SELECT contact FROM reports"),
        ("waypost_redirect", "SELECT * FROM reports"),
        ("waypost_redirect", "UPDATE reports SET closed_at = now()"),
        ("waypost_redirect", "DELETE FROM reports"),
        ("waypost_redirect", "UPDATE links SET blocked_at = NULL"),
        ("waypost_api", "SELECT id FROM reports"),
        (
            "waypost_api",
            "INSERT INTO reports (id, link_id, category, address) VALUES (gen_random_uuid(), 1, '', '')",
        ),
        ("waypost_operator", "UPDATE reports SET comment = ''"),
        ("waypost_operator", "DELETE FROM reports"),
        ("waypost_operator", "UPDATE links SET original_url = 'https://evil.example/'"),
        ("waypost_operator", "UPDATE links SET deleted_at = now()"),
        ("waypost_operator", "DELETE FROM links"),
        ("waypost_operator", "UPDATE audit_log SET principal = 'x'"),
        ("waypost_operator", "DELETE FROM audit_log"),
        ("waypost_operator", "SELECT payload FROM outbox"),
    ],
)
async def test_roles_do_no_more_than_their_job(database: Database, role: str, statement: str) -> None:
    connection = await asyncpg.connect(database.url(role))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_owners_do_not_unblock(storage: PostgresStorage, desk: Desk, api: Postgres) -> None:
    await store(storage, new_link())
    await desk.handlers.block("abc1234", "why", operator())
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        before = await work.links.lock("abc1234")
        assert before is not None
        after = await work.links.update(before, replace(before, blocked=False, title="new"))
        assert after.blocked
        await work.commit()


async def test_lists_go_by_their_indexes(desk: Desk, storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    """Among many closed reports and free links, open and blocked ones are found without reading the rest."""
    await store(storage, new_link())
    await owner.execute(
        "INSERT INTO reports (id, link_id, category, address, closed_at) "
        "SELECT gen_random_uuid(), links.id, 'spam', n::text, now() FROM links, generate_series(1, 5000) AS n"
    )
    await desk.intake.add(new_report())
    await owner.execute("ANALYZE reports")
    await owner.execute("SET ROLE waypost_operator")
    await owner.execute("SET enable_seqscan = off")
    for name, index in (("list_open_reports", "reports_open"), ("list_blocked_links", "links_blocked_by_time")):
        plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {QUERIES[name]}", None, None, 51))
        assert index in plan, plan
