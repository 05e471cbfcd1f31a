"""The judge itself is put on trial: it must find every kind of fault in histories that were broken on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.support.load import Attempt, ClientLog, Kind, Load, Outcome, Window, check, judge, make_links
from tests.support.mesh import Mesh, mesh_running


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with mesh_running() as mesh:
        yield mesh


async def _execute(mesh: Mesh, statement: str, *args: object) -> None:
    connection = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
    try:
        await connection.execute(statement, *args)
    finally:
        await connection.close()


async def test_a_sound_history_passes(mesh: Mesh) -> None:
    links = await make_links(mesh, 3)
    async with Load(mesh, creates=40, redirects=40, links=links) as load:
        await load.more(20, Kind.CREATE)
        await load.more(20, Kind.REDIRECT)
    assert not (await check(load.log, mesh)).faults
    assert len(load.log.acknowledged()) >= 20


async def test_a_lost_link_is_found(mesh: Mesh) -> None:
    async with Load(mesh) as load:
        lost, kept = [await load.create(number) for number in range(2)]
    await _execute(mesh, "DELETE FROM links WHERE short_code = $1", lost.short_code)
    verdict = await check(load.log, mesh)
    assert len(verdict.lost) == 2, "the database and the API, one each"
    assert all(lost.short_code in fault for fault in verdict.faults)
    assert kept.short_code not in " ".join(verdict.faults)


async def test_a_link_that_leads_elsewhere_is_found(mesh: Mesh) -> None:
    async with Load(mesh) as load:
        made = await load.create(0)
        await _execute(
            mesh, "UPDATE links SET original_url = 'https://example.org/' WHERE short_code = $1", made.short_code
        )
        assert len((await check(load.log, mesh)).wrong) == 2

        async def redirected_elsewhere() -> None:
            while (await load.redirect(made.short_code, made.url)).outcome is not Outcome.WRONG:
                pass

        await asyncio.wait_for(redirected_elsewhere(), 20)
    verdict = await check(load.log, mesh)
    assert "https://example.org/ instead of" in verdict.unexpected[0]


async def test_a_link_that_was_made_twice_is_found(mesh: Mesh) -> None:
    async with Load(mesh) as load:
        made = await load.create(0)
    await _execute(
        mesh,
        "INSERT INTO links (workspace_id, short_code, original_url, redirect_status) "
        "SELECT workspace_id, short_code || 'x', original_url, redirect_status FROM links WHERE short_code = $1",
        made.short_code,
    )
    assert len((await check(load.log, mesh)).duplicate) == 1


async def test_a_known_link_that_is_not_found_is_no_mere_failure(mesh: Mesh) -> None:
    async with Load(mesh) as load:
        assert (await load.redirect("nosuch1", "https://example.com/")).outcome is Outcome.WRONG
        assert load.log.wrong()


def _log(*rows: tuple[float, float, Outcome]) -> ClientLog:
    return ClientLog(
        [
            Attempt(Kind.CREATE, number, f"u{number}", began, 0.0, f"c{number}", ended, 200, outcome)
            for number, (began, ended, outcome) in enumerate(rows)
        ]
    )


def test_an_acknowledged_link_that_nobody_asks_for_again_is_not_taken_for_granted() -> None:
    assert judge(_log((0.0, 1.0, Outcome.DONE)), [("c0", "u0")], {}).lost


def test_what_was_not_acknowledged_may_be_there_or_not() -> None:
    log = _log((0.0, 1.0, Outcome.FAILED))
    assert not judge(log, [], {}).faults
    assert not judge(log, [("c9", "u0")], {}).faults


def test_figures_of_a_fault() -> None:
    done, failed = Outcome.DONE, Outcome.FAILED
    log = _log((1.0, 1.5, done), (9.0, 10.5, failed), (11.0, 12.0, failed), (12.0, 13.5, done), (30.0, 31.0, failed))
    report = log.report(Kind.CREATE, Window(10.0, 20.0))
    assert (report.attempted, report.done, report.failed_inside, report.failed_outside) == (5, 2, 2, 1)
    assert report.error_rate_inside == pytest.approx(2 / 3)
    assert report.longest_gap == 12.0
    assert report.recovered_after == 21.0
    assert report.slowest == 1.5
