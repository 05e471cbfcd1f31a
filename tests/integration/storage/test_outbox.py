"""The outbox: events live and die with their transaction and say what the contract says."""

from __future__ import annotations

import asyncpg

from tests.integration.storage.conftest import PUBLIC_URL
from tests.support.links import add, new_link, store
from waypost.adapters.postgres_links import PostgresStorage
from waypost.api.v1 import event_pb2, link_service_pb2
from waypost.convert import link_to_proto
from waypost.model import DEFAULT_WORKSPACE, DestinationFlag, EventType, LinkEvent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_an_event_becomes_true_with_its_transaction(storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        link = await add(work.links, new_link(flags=(DestinationFlag.IP_ADDRESS,)))
        assert link is not None
        await work.outbox.add_all([LinkEvent(EventType.LINK_CREATED, link, "correlation-1", TRACE)])
        assert await owner.fetchval("SELECT count(*) FROM outbox") == 0
        await work.commit()
    row = await owner.fetchrow("SELECT * FROM outbox")
    assert row is not None
    assert (row["type"], row["subject"], row["version"]) == ("link_created", "abc1234", 1)
    assert (row["correlation_id"], row["traceparent"]) == ("correlation-1", TRACE)
    assert (row["workspace_id"], row["occurred_at"]) == (link.workspace_id, link.created_at)
    assert (row["claimed_until"], row["published_at"]) == (None, None)
    event = event_pb2.Event.FromString(row["payload"])
    assert event.id == str(row["event_id"])
    assert event.type == event_pb2.EVENT_TYPE_LINK_CREATED
    assert event.dedupe_key == row["dedupe_key"]
    assert event.link == link_to_proto(link, f"{PUBLIC_URL}/abc1234", link.updated_at)
    assert list(event.link.destination_flags) == [link_service_pb2.DESTINATION_FLAG_IP_ADDRESS]


async def test_an_event_is_undone_with_its_transaction(storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        link = await add(work.links, new_link())
        assert link is not None
        await work.outbox.add_all([LinkEvent(EventType.LINK_CREATED, link, "c")])
    assert await owner.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_delete_has_its_own_version_and_key(storage: PostgresStorage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link(), event=True)
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        link = await work.links.lock("abc1234")
        assert link is not None
        deleted = await work.links.set_deleted(link, deleted=True)
        await work.outbox.add_all([LinkEvent(EventType.LINK_DELETED, deleted, "c")])
        await work.commit()
    rows = await owner.fetch("SELECT version, dedupe_key, payload FROM outbox ORDER BY id")
    assert [row["version"] for row in rows] == [1, 2]
    assert len({row["dedupe_key"] for row in rows}) == 2
    event = event_pb2.Event.FromString(rows[1]["payload"])
    assert event.link.state == link_service_pb2.LINK_STATE_DELETED
