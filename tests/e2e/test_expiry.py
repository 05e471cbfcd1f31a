"""The end of a link, exact by the database's clock, and what the sweep makes of it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import grpc
import pytest

from tests.e2e.api import Api
from tests.support.waiting import until
from waypost.api.v1 import event_pb2
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

SLACK = timedelta(milliseconds=250)
"""How well the gateway knows the database's clock: half of a round trip on a busy machine."""


@pytest.fixture
async def clock(api: Api) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(api.mesh.owner_dsn(), timeout=10)
    yield connection
    await connection.close()


@pytest.mark.parametrize("as_time", [False, True], ids=["ttl_seconds", "expires_at"])
async def test_a_link_ends_in_its_second(
    api: Api, clock: asyncpg.Connection, gateway_channel: grpc.Channel, as_time: bool
) -> None:
    async def now() -> datetime:
        at: datetime = await clock.fetchval("SELECT clock_timestamp()")
        return at

    ends = (await now() + timedelta(seconds=3)).replace(microsecond=0)
    link = api.make(**({"expires_at": ends.isoformat()} if as_time else {"ttl_seconds": 3}))
    code, ends = link["short_code"], datetime.fromisoformat(link["expires_at"])
    stub = LinkServiceStub(gateway_channel)
    seen = set()
    while "after" not in seen:
        before = await now()
        redirect = api.http.get(f"/{code}").status_code
        state = api.link(code)["state"]
        foretold = stub.ResolveLink(links.ResolveLinkRequest(short_code=code), timeout=10)
        after = await now()
        if after < ends - SLACK:
            assert (redirect, state, foretold.http_status) == (302, "LINK_STATE_ACTIVE", 302)
            assert foretold.valid_for.ToTimedelta() <= ends - before + SLACK
            seen.add("before")
        elif before >= ends + SLACK:
            assert (redirect, state, foretold.http_status) == (410, "LINK_STATE_EXPIRED", 410)
            seen.add("after")
    assert seen == {"before", "after"}


async def test_the_sweep_marks_what_is_over_and_tells_of_it_once(api: Api, clock: asyncpg.Connection) -> None:
    code = api.code(ttl_seconds=1)
    deleted = api.code(ttl_seconds=1)
    api.http.delete(f"/api/v1/urls/{deleted}")
    lasting = api.code(ttl_seconds=3600)

    async def marked() -> bool:
        return bool(await clock.fetchval("SELECT expired_at IS NOT NULL FROM links WHERE short_code = $1", code))

    await until(marked, 30)
    (row,) = await clock.fetch("SELECT expires_at, expired_at, version FROM links WHERE short_code = $1", code)
    assert row["expired_at"] >= row["expires_at"]
    assert row["version"] == 2

    # Two more rounds of the sweep tell of nothing more.
    sweeps = "SELECT count(*) FROM job_runs WHERE job = 'expiry_sweep' AND finished_at IS NOT NULL"
    done = await clock.fetchval(sweeps)

    async def swept_again() -> bool:
        return bool(await clock.fetchval(sweeps) >= done + 2)

    await until(swept_again)
    events = await clock.fetch("SELECT type, payload FROM outbox WHERE subject = $1 ORDER BY version", code)
    assert [event["type"] for event in events] == ["link_created", "link_updated"]
    event = event_pb2.Event.FromString(events[1]["payload"])
    assert (event.type, event.version) == (event_pb2.EVENT_TYPE_LINK_UPDATED, 2)
    assert event.link.state == links.LINK_STATE_EXPIRED
    assert event.link.short_url == f"{api.mesh.http_url}/{code}"
    for other, types in ((deleted, ["link_created", "link_deleted"]), (lasting, ["link_created"])):
        rows = await clock.fetch("SELECT type FROM outbox WHERE subject = $1 ORDER BY version", other)
        assert [row["type"] for row in rows] == types
