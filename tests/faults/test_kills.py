"""A process of the mesh is killed under load, each in its turn: what clients see of it, and how soon all is well."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.load import ClientLog, Kind, Load, Outcome, Report, Window, check, make_links
from tests.support.mesh import GONE_SECONDS, Mesh, mesh_running, running_mesh
from tests.support.waiting import until

CREATES, REDIRECTS = 15.0, 60.0
"""Each second; enough to have some under way at any moment, and little enough for a small machine."""
HEAL_SECONDS = 30.0
"""From a kill until all goes well. A start takes one to two seconds where nothing else runs."""
DATABASE_HEAL_SECONDS = 10.0
"""From the moment when the database is up again: a look each half of a second, and time for a busy machine."""
COMMAND_SECONDS = 2.0
"""Most time that the gateway gives a statement."""
BUSY_SECONDS = 3.0
"""What a busy machine may add to a time limit."""
ENV = {"WAYPOST_GATEWAY_LOCAL_CREATES_PER_MINUTE": "100000", "WAYPOST_SWEEP_INTERVAL_SECONDS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """One mesh for all: each test leaves it healed."""
    with mesh_running(env=ENV) as mesh:
        yield mesh


@dataclass(slots=True)
class Kill:
    """What became of a kill. `dead_by`: when the supervisor had seen the end of the process, in monotonic seconds;
    `restarted_after`: seconds until it called the process ready again; `healed_after`: until all went well.
    """

    log: ClientLog
    began: float = field(default_factory=time.monotonic)
    dead_by: float = 0.0
    restarted_after: float = 0.0
    healed_after: float = 0.0

    @property
    def reports(self) -> dict[Kind, Report]:
        window = Window(self.began, self.began + self.healed_after)
        return {kind: self.log.report(kind, window) for kind in Kind}


@asynccontextmanager
async def _killed(mesh: Mesh, name: str, after: int = 20) -> AsyncIterator[Kill]:
    """Kills `name` in the middle of steady traffic, when `after` creates are done.

    At the end of the block it waits until `name` is back and all is well.

    Whatever is killed: it is started again and that is said; nothing that was acknowledged is lost, nothing is answered
    wrongly, and after a while nothing fails any more.
    """
    links = await make_links(mesh, 20)
    async with Load(mesh, creates=CREATES, redirects=REDIRECTS, links=links) as load:
        await load.more(after, Kind.CREATE)
        seen = len(mesh.events)
        kill = Kill(load.log)
        pid = mesh.kill(name)
        yield kill
        restarting = await mesh.wait_event(after=seen, process=name, state="restarting")
        ready = await mesh.wait_event(after=seen, process=name, state="ready")
        await load.more(10, Kind.CREATE)
        await load.more(10, Kind.REDIRECT)
        # What begins after this must not fail any more.
        kill.healed_after = time.monotonic() - kill.began
        await load.more(30, Kind.CREATE)
        await load.more(30, Kind.REDIRECT)
        await load.end()
    kill.dead_by = restarting["seen"]
    kill.restarted_after = ready["seen"] - kill.began
    assert ready["pid"] != pid
    assert restarting["level"] == "warning"
    assert "signal SIGKILL" in restarting["detail"]
    # Nobody else went down with it.
    down = {event["process"] for event in mesh.events[seen:] if event.get("state") in ("restarting", "failed")}
    assert down == {name}
    assert kill.healed_after < HEAL_SECONDS
    print(f"\n{name} killed, ready after {kill.restarted_after:.2f} s")
    for kind, report in kill.reports.items():
        print(f"  {kind}: {report}")
        assert report.failed_outside == 0, load.log.failures(kind)[-3:]
        assert report.wrong == 0, load.log.wrong()[:3]
    verdict = await check(load.log, mesh)
    assert not verdict.faults


async def test_a_killed_gateway_costs_no_more_than_what_it_was_working_on(mesh: Mesh) -> None:
    async with _killed(mesh, "gateway") as kill:
        pass
    # Creates that had reached it are not sent again, since nobody knows whether they were done. Everything else waits
    # at the edge until it is back.
    under_way = [a for a in kill.log.of(Kind.CREATE) if a.began <= kill.dead_by and a.ended >= kill.began]
    assert len(kill.log.failures(Kind.CREATE)) <= len(under_way)
    assert not kill.log.failures(Kind.REDIRECT)


async def test_a_killed_postgres_leaves_cached_links_alone(mesh: Mesh) -> None:
    async with _killed(mesh, "postgres") as kill:
        pass
    assert not kill.log.failures(Kind.REDIRECT)
    refused = kill.log.failures(Kind.CREATE)
    assert refused
    for attempt in refused:
        assert attempt.status == 503, attempt
        assert "ERROR_REASON_DEPENDENCY_UNAVAILABLE" in attempt.detail
        assert "google.rpc.RetryInfo" in attempt.detail
        assert attempt.seconds < COMMAND_SECONDS + BUSY_SECONDS, attempt
    assert kill.reports[Kind.CREATE].recovered_after - kill.restarted_after < DATABASE_HEAL_SECONDS


async def test_a_killed_envoy_is_back_soon(mesh: Mesh) -> None:
    async with _killed(mesh, "envoy") as kill:
        pass
    # It is the only door: nobody gets through meanwhile, and nobody gets half an answer.
    assert {attempt.status for kind in Kind for attempt in kill.log.failures(kind)} <= {0}


async def test_without_the_ratelimiter_the_gateway_decides_by_itself(mesh: Mesh) -> None:
    async with _killed(mesh, "ratelimiter") as kill:
        pass
    for kind in Kind:
        assert not kill.log.failures(kind), kill.log.failures(kind)[:3]


async def test_killed_workers_go_on_with_their_jobs(mesh: Mesh) -> None:
    connection = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
    try:
        async with _killed(mesh, "workers") as kill:
            async with httpx.AsyncClient(base_url=mesh.http_url, trust_env=False) as client:
                answer = await client.post(
                    "/api/v1/shorten", json={"url": "https://example.com/brief", "ttl_seconds": 1}
                )
            code = answer.raise_for_status().json()["short_code"]

        async def swept() -> bool:
            return bool(
                await connection.fetchval("SELECT expired_at IS NOT NULL FROM links WHERE short_code = $1", code)
            )

        await until(swept)
        for kind in Kind:
            assert not kill.log.failures(kind), kill.log.failures(kind)[:3]
    finally:
        await connection.close()


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["gateway", "postgres", "envoy", "ratelimiter", "workers"])
async def test_every_kill_heals_whenever_it_comes(name: str, seed: int) -> None:
    with mesh_running(env=ENV) as mesh:
        async with _killed(mesh, name, after=random.Random(seed).randint(1, 100)):
            pass


async def test_a_killed_supervisor_takes_everything_with_it_and_loses_nothing(data: Path) -> None:
    async with running_mesh(data) as mesh:
        links = await make_links(mesh, 5)
        async with Load(mesh, creates=CREATES, redirects=REDIRECTS, links=links) as load:
            await load.more(20, Kind.CREATE)
            began = time.monotonic()
            mesh.process.kill()
            await mesh.gone(GONE_SECONDS)
            gone_after = time.monotonic() - began
            await load.more(5, Kind.CREATE, Outcome.FAILED)
            await load.end()
    began = time.monotonic()
    async with running_mesh(data, mesh.env) as second:
        print(
            f"\nsupervisor killed: all gone after {gone_after:.2f} s, ready again in {time.monotonic() - began:.2f} s"
        )
        assert second.http_url == mesh.http_url
        verdict = await check(load.log, second)
        assert not verdict.faults
        assert len(load.log.acknowledged()) >= 20


async def test_a_killed_supervisor_is_followed_by_the_next_at_once(data: Path) -> None:
    async with running_mesh(data) as mesh:
        links = await make_links(mesh, 3)
        mesh.process.kill()
        # It waits for the guardian of the first, on the same ports and the same data.
        async with running_mesh(data, mesh.env) as second, Load(second) as load:
            answers = await asyncio.gather(*(load.redirect(code, url) for code, url in links.items()))
            assert [answer.outcome for answer in answers] == [Outcome.DONE] * 3
        await mesh.gone()
