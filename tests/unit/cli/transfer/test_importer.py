"""The engine of an import, against a server in memory: each link once, whatever happens, and sums that add up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from tests.support.waiting import until
from tests.unit.cli.transfer.files import NOW
from tests.unit.cli.transfer.server import Before, MemoryServer, link
from waypost.backoff import Backoff
from waypost.cli.transfer.batches import Batch, batches
from waypost.cli.transfer.importer import REMEMBERED_SECONDS, Importer, Interrupted, Pace, Stopped
from waypost.cli.transfer.journal import Counts, Job, Journal
from waypost.cli.transfer.records import Draft, Entry, Place, Problem, Rules, UnusableFile
from waypost.client import LinkState, RemoteError, Unreachable
from waypost.client.convert import batch_to_proto
from waypost.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    Draining,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    Overloaded,
    RateLimited,
    UnknownMethod,
    WaypostError,
)

JOB = Job("ab12", "memory", "kutt", "utf-8", "", random_codes=False, batch_size=10)
FAST = Pace(parallel=4, patience=5.0, backoff=Backoff(base=0.001, cap=0.002))


class Ears:
    """What an import tells while it runs."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.waited: list[tuple[float, str]] = []

    def done(self, counts: Counts) -> None:
        self.counts += counts

    def waits(self, seconds: float, reason: str) -> None:
        self.waited.append((seconds, reason))


class Run:
    """One file's import, of `count` good links; `run` may be called again and again as the command may."""

    def __init__(self, path: Path, server: MemoryServer, count: int = 95, *, named: bool = True) -> None:
        self.path = path
        self.server = server
        self.ears = Ears()
        self.entries = [
            Entry(Place("line", i + 2), Draft(f"https://example.com/{i}", f"code{i}" if named else ""))
            for i in range(count)
        ]

    def batches(self) -> Iterator[Batch]:
        return batches(self.entries, Rules(NOW), JOB.batch_size)

    async def run(self, pace: Pace = FAST, *, restart: bool = False) -> Counts:
        with Journal.open(self.path, JOB, NOW, restart=restart) as journal:
            await Importer(self.server, journal, self.ears, pace).run(self.batches())
        return self.total()

    def total(self) -> Counts:
        """The sums, which must add up."""
        with Journal.open(self.path, JOB, NOW) as journal:
            total = sum((outcome.counts for outcome in journal.outcomes()), Counts())
        assert total.read == total.imported + total.already_there + total.skipped + total.failed
        return total

    def problems(self) -> list[Problem]:
        with Journal.open(self.path, JOB, NOW) as journal:
            found = [problem for outcome in journal.outcomes() for problem in outcome.problems]
        return sorted(found, key=lambda problem: problem.place.number)

    def each_once(self) -> None:
        """Every link of the file was made exactly once."""
        assert self.server.made == {entry.draft.url: 1 for entry in self.entries}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def first(number: int, error: WaypostError) -> Before:
    return lambda arrival: error if arrival <= number else None


async def test_every_link_is_made_in_batches_so_many_at_a_time(path: Path) -> None:
    server = MemoryServer()
    run = Run(path, server)
    assert await run.run() == Counts(read=95, imported=95)
    run.each_once()
    assert sorted(map(len, server.arrivals)) == [5] + [10] * 9
    assert server.most_at_once == 4
    assert run.ears.counts == Counts(read=95, imported=95)
    assert server.links["code7"].original_url == "https://example.com/7"


async def test_records_are_refused_one_by_one_and_the_reasons_are_kept(path: Path) -> None:
    server = MemoryServer()
    server.links["Taken"] = link("Taken", "https://other.example/")
    server.links["gone1"] = link("gone1", "https://example.com/gone", state=LinkState.DELETED)
    run = Run(path, server, 3)
    run.entries += [
        Entry(Place("line", 10), Draft("https://example.com/", "healthz")),
        Entry(Place("line", 11), Draft("https://example.com/", "Taken")),
        Entry(Place("line", 12), Draft("https://example.com/", "taken")),
        Entry(Place("line", 13), Draft("https://example.com/gone", "gone1")),
        Entry(Place("line", 14), Draft("https://example.com/", "x")),
        Entry(Place("line", 15), Draft("https://example.com/", "old1", unfit="it is archived")),
        Entry(Place("line", 16), problem="it is not valid JSON"),
    ]
    assert await run.run() == Counts(read=10, imported=3, skipped=1, failed=6)
    assert [(one.place.number, one.kind, one.code, one.reason) for one in run.problems()] == [
        (10, "failed", "healthz", "its alias is a reserved word: choose another alias"),
        (11, "failed", "Taken", "the alias 'Taken' is taken by a link to https://other.example/"),
        (12, "failed", "taken", "the alias 'taken' is taken by one that differs in upper and lower case only"),
        (13, "failed", "gone1", "the alias 'gone1' was that of a link that is deleted"),
        (14, "failed", "x", run.problems()[4].reason),
        (15, "skipped", "old1", "it is archived"),
        (16, "failed", "", "it is not valid JSON"),
    ]


async def test_a_file_of_which_nothing_can_be_sent_asks_nothing(path: Path) -> None:
    server = MemoryServer()
    run = Run(path, server, 0)
    run.entries = [Entry(Place("line", i), problem="bad") for i in range(25)]
    assert await run.run() == Counts(read=25, failed=25)
    assert server.arrivals == []


async def test_an_alias_that_is_taken_by_the_same_link_is_there_already(path: Path) -> None:
    server = MemoryServer()
    server.links["code0"] = link("code0", "https://example.com/0")
    server.links["code1"] = link("code1", "https://xn--mnchen-3ya.de/ü")
    run = Run(path, server, 3)
    run.entries[1] = replace(run.entries[1], draft=Draft("https://MÜNCHEN.de/ü", "code1"))
    # The same link twice in one file.
    run.entries.append(Entry(Place("line", 9), run.entries[2].draft))
    assert await run.run() == Counts(read=4, imported=1, already_there=3)


@pytest.mark.parametrize(
    "error",
    [
        Overloaded(10),
        Draining(),
        DependencyUnavailable("postgres", 0.001),
        DeadlineExceeded(1.0),
        Unreachable("memory", "refused"),
        IdempotencyKeyInUse("x", 0.001),
        RemoteError(grpc.StatusCode.UNAVAILABLE, "proxy"),
        RemoteError(grpc.StatusCode.INTERNAL, "again", retry_after=0.001),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("made", [False, True])
async def test_what_passes_is_tried_again_and_makes_no_link_twice(error: WaypostError, made: bool, path: Path) -> None:
    if hasattr(error, "retry_after") and error.retry_after is not None:
        error.retry_after = 0.001
    server = MemoryServer(lose=first(6, error)) if made else MemoryServer(before=first(6, error))
    run = Run(path, server)
    assert await run.run() == Counts(read=95, imported=95)
    run.each_once()
    assert len(server.arrivals) == 10 + 6
    assert str(error).removesuffix(": refused") in {reason for _, reason in run.ears.waited}


async def test_a_limit_is_waited_for_by_one_for_all(path: Path) -> None:
    """A bucket that admits one batch, then another each 20 ms: nobody asks more often than needed."""
    loop = asyncio.get_running_loop()
    free_at = loop.time()

    def bucket(_: int) -> WaypostError | None:
        nonlocal free_at
        if loop.time() < free_at:
            return RateLimited("create per address", free_at - loop.time())
        free_at = loop.time() + 0.1
        return None

    server = MemoryServer(before=bucket)
    run = Run(path, server)
    assert await run.run() == Counts(read=95, imported=95)
    run.each_once()
    # Ten are admitted; before that each is refused about once in its turn, and the first four once more.
    assert len(server.arrivals) <= 10 + 10 + 4
    assert {reason for _, reason in run.ears.waited} == {"the server's limit 'create per address' is reached"}


async def test_a_limit_that_admits_no_such_batch_ever_ends_the_import(path: Path) -> None:
    run = Run(path, MemoryServer(before=first(99, RateLimited("few", None))))
    with pytest.raises(Stopped, match="'few' never admits so many links at once: use a smaller --batch-size") as caught:
        await run.run()
    assert caught.value.answered
    assert run.total() == Counts()


@pytest.mark.parametrize(
    ("error", "answered", "message"),
    [
        (Unreachable("memory", "refused"), False, "no Waypost answers at memory: refused"),
        (DependencyUnavailable("postgres"), True, "postgres does not answer"),
    ],
)
async def test_patience_has_an_end(error: WaypostError, answered: bool, message: str, path: Path) -> None:
    if isinstance(error, DependencyUnavailable):
        error.retry_after = 0.001
    run = Run(path, MemoryServer(before=first(10**9, error)))
    with pytest.raises(Stopped, match=message) as caught:
        await run.run(replace(FAST, patience=0.1))
    assert caught.value.answered is answered
    assert await Run(path, MemoryServer()).run() == Counts(read=95, imported=95)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (IdempotencyKeyReused("x"), "begin anew with --restart"),
        (UnknownMethod("BatchCreateLinks"), "this server is too old"),
        (RemoteError(grpc.StatusCode.INTERNAL, "a defect"), "a defect"),
    ],
)
async def test_what_does_not_pass_ends_the_import_and_loses_nothing(
    error: WaypostError, message: str, path: Path
) -> None:
    server = MemoryServer(before=lambda arrival: error if arrival == 5 else None)
    run = Run(path, server)
    with pytest.raises(Stopped, match=message):
        await run.run()
    done = run.total()
    assert done.imported == done.read == len(server.made)
    assert 0 < done.read < 95
    assert await run.run() == Counts(read=95, imported=95)
    run.each_once()


async def test_a_stop_awaits_what_is_under_way_and_the_next_run_does_the_rest(path: Path) -> None:
    server = MemoryServer()
    server.gate.clear()
    run = Run(path, server)
    with Journal.open(path, JOB, NOW) as journal:
        importer = Importer(server, journal, run.ears, FAST)
        task = asyncio.create_task(importer.run(run.batches()))
        await until(lambda: server.at_once == 4)
        importer.stop()
        server.gate.set()
        with pytest.raises(Interrupted):
            await task
    assert run.total() == Counts(read=40, imported=40)
    assert len(server.arrivals) == 4
    assert await run.run() == Counts(read=95, imported=95)
    assert len(server.arrivals) == 10
    run.each_once()


async def test_a_stop_ends_any_waiting(path: Path) -> None:
    server = MemoryServer(before=first(10**9, RateLimited("slow", 3600.0)))
    run = Run(path, server)
    with Journal.open(path, JOB, NOW) as journal:
        importer = Importer(server, journal, run.ears, FAST)
        task = asyncio.create_task(importer.run(run.batches()))
        await until(lambda: bool(run.ears.waited))
        importer.stop()
        async with asyncio.timeout(20):
            with pytest.raises(Interrupted):
                await task


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("made", [False, True])
async def test_a_cancelled_import_is_taken_up_again_without_making_a_link_twice(
    named: bool, made: bool, path: Path
) -> None:
    """What was under way when it was cut off was made or not; nobody has heard."""
    for cut in range(1, 11):
        cutting: list[asyncio.Task[None]] = []

        def cancel(arrival: int, cut: int = cut, cutting: list[asyncio.Task[None]] = cutting) -> None:
            if arrival == cut and cutting:
                cutting.pop().cancel()

        server = MemoryServer(lose=cancel) if made else MemoryServer(before=cancel)
        run = Run(path.with_name(f"journal{cut}"), server, named=named)
        with Journal.open(run.path, JOB, NOW) as journal:
            task = asyncio.create_task(Importer(server, journal, run.ears, FAST).run(run.batches()))
            cutting.append(task)
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await run.run() == Counts(read=95, imported=95)
        run.each_once()


async def test_after_a_day_links_are_known_by_their_aliases(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Unreachable("memory", "cut off")
    server = MemoryServer(lose=lambda _: lost)
    run = Run(path, server)
    with pytest.raises(Stopped):
        await run.run(replace(FAST, patience=0.0))
    made = len(server.made)
    assert made > 0
    server.forget_requests()
    server._lose = lambda _: None
    _a_day_passes(monkeypatch)
    assert await run.run() == Counts(read=95, imported=95 - made, already_there=made)
    run.each_once()


async def test_after_a_day_links_without_an_alias_are_not_risked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = MemoryServer(lose=lambda _: Unreachable("memory", "cut off"))
    run = Run(path, server, named=False)
    # One that has an alias is safe to send.
    run.entries[3] = Entry(run.entries[3].place, replace(run.entries[3].draft, code="named"))
    with pytest.raises(Stopped):
        await run.run(replace(FAST, patience=0.0))
    made = len(server.made)
    server.forget_requests()
    server._lose = lambda _: None
    _a_day_passes(monkeypatch)
    assert await run.run() == Counts(read=95, imported=95 - made, already_there=1, failed=made - 1)
    run.each_once()
    assert {problem.reason for problem in run.problems()} == {
        "it was sent a day ago or longer, and nobody knows any more whether it was made: look for it"
    }


def _a_day_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + REMEMBERED_SECONDS)


async def test_a_finished_import_sends_nothing_more(path: Path) -> None:
    server = MemoryServer()
    run = Run(path, server)
    await run.run()
    arrivals = len(server.arrivals)
    assert await run.run() == Counts(read=95, imported=95)
    assert len(server.arrivals) == arrivals


async def test_begun_anew_it_finds_all_there(path: Path) -> None:
    server = MemoryServer()
    run = Run(path, server)
    await run.run()
    assert await run.run(restart=True) == Counts(read=95, already_there=95)
    run.each_once()


async def test_a_file_that_breaks_off_leaves_whole_batches(path: Path) -> None:
    server = MemoryServer()
    run = Run(path, server)

    def broken() -> Iterator[Entry]:
        yield from run.entries[:37]
        raise UnusableFile("is not valid JSON")

    with (
        Journal.open(path, JOB, NOW) as journal,
        pytest.raises(UnusableFile),
    ):
        await Importer(server, journal, run.ears, FAST).run(batches(broken(), Rules(NOW), 10))
    assert run.total() == Counts(read=30, imported=30)


def test_batches_are_cut_by_bytes_as_well_and_always_the_same() -> None:
    entries = [Entry(Place("line", i), Draft(f"https://example.com/{'x' * 8000}{i}", f"code{i}")) for i in range(1000)]
    cut = list(batches(entries, Rules(NOW), 1000))
    assert len(cut) == 4
    assert [batch.index for batch in cut] == list(range(len(cut)))
    assert sum(batch.read for batch in cut) == 1000
    for batch in cut:
        request = batch_to_proto([one.link for one in batch.candidates], "x" * 128)
        assert request.ByteSize() <= min(3 * 1024 * 1024, batch.bytes + 200)
    assert [batch.read for batch in batches(entries, Rules(NOW), 1000)] == [batch.read for batch in cut]


def test_no_more_than_some_batches_are_held(path: Path) -> None:
    """The file is read only as fast as the server takes it."""
    server = MemoryServer()
    server.gate.clear()
    read = 0

    def counted() -> Iterator[Entry]:
        nonlocal read
        for i in range(1000):
            read += 1
            yield Entry(Place("line", i), Draft(f"https://example.com/{i}", f"code{i}"))

    async def main() -> None:
        with Journal.open(path, JOB, NOW) as journal:
            importer = Importer(server, journal, Ears(), FAST)
            task = asyncio.create_task(importer.run(batches(counted(), Rules(NOW), 10)))
            await until(lambda: server.at_once == 4)
            for _ in range(100):
                await asyncio.sleep(0)
            assert read <= 60
            server.gate.set()
            await task

    asyncio.run(main())
    assert read == 1000
