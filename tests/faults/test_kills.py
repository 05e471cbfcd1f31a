"""One process of the mesh is killed under load, each in its turn: what is promised then, and how soon all is well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from tests.support.load import ClientLog, Kind, Load, Report, Window, check, make_links, percentile
from tests.support.mesh import Mesh, mesh_running

CREATES, REDIRECTS = 15.0, 60.0
BEFORE_SECONDS, AFTER = 1.5, 30
HEAL_SECONDS = 5.0
"""From the kill to the last failure: one restart, and what breakers and reconnects add."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """One mesh for all: each test leaves it healed."""
    with mesh_running(env={"WAYPOST_GATEWAY_LOCAL_CREATES_PER_MINUTE": "100000", "WAYPOST_SWEEP_INTERVAL_SECONDS": "1"}) as mesh:
        yield mesh


@dataclass(frozen=True, slots=True)
class Killed:
    """What became of a run; `restarted_after`: seconds from the kill until the supervisor called it ready again."""

    log: ClientLog
    window: Window
    restarted_after: float

    def report(self, kind: Kind) -> Report:
        return self.log.report(kind, self.window)


async def _kill_under_load(mesh: Mesh, name: str, seed: int) -> Killed:
    """Kills `name` in the middle of steady traffic, waits until it is back, and judges what clients saw."""
    links = await make_links(mesh.http_url, 20)
    async with Load(mesh.http_url, creates=CREATES, redirects=REDIRECTS, links=links, seed=seed) as load:
        await load.more(20, Kind.CREATE)
        seen = len(mesh.events)
        began = time.monotonic()
        pid = mesh.kill(name)
        restarting = await mesh.wait_event(after=seen, process=name, state="restarting")
        ready = await mesh.wait_event(after=seen, process=name, state="ready")
        await load.more(AFTER, Kind.CREATE)
        await load.more(AFTER, Kind.REDIRECT)
        await load.end()
    assert "SIGKILL" in restarting["detail"]
    assert restarting["level"] == "warning"
    assert ready["pid"] != pid
    others = {event["process"] for event in mesh.events[seen:] if event.get("state") in ("restarting", "failed")}
    assert others == {name}
    killed = Killed(load.log, Window(began, began + HEAL_SECONDS), ready["seen"] - began)
    print(f"kill {name}: ready after {killed.restarted_after:.2f} s")
    for kind in Kind:
        report = killed.report(kind)
        print(f"  {kind}: {report}, p99 {percentile(load.log.of(kind), 0.99):.3f} s")
        # One bound says it all: every attempt that ended later than this after the kill was a success.
        assert report.failed_outside == 0, load.log.failures(kind)[-3:]
        assert report.wrong == 0
    verdict = await check(load.log, mesh.http_url, mesh.owner_dsn())
    assert not verdict.faults
    return killed


@pytest.mark.parametrize("name", ["gateway", "postgres", "envoy", "ratelimiter", "workers"])
async def test_x(mesh: Mesh, name: str) -> None:
    k = await _kill_under_load(mesh, name, 1)
    for kind in Kind:
        for a in k.log.failures(kind)[:6]: print("   ", f"{a.began-k.window.began:.2f} {a.seconds:.2f}", a.status, a.detail[:300])
