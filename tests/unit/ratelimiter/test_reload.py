"""Hot reload: what counts as a change, when it is read, and what becomes of it."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog.testing
from prometheus_client import CollectorRegistry

from native import Table
from ratelimiter.app import watched_rules
from ratelimiter.handlers import Checker
from ratelimiter.reload import RuleWatch
from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.rulebook import RulesNotInForce
from ratelimiter.rules import Rules, RulesError
from ratelimiter.settings import Settings
from tests.support.waiting import until
from waypost.model import LimitEntry
from waypost.settings import BadSettings

ENTRIES = (LimitEntry("k", "x"),)


def text(limit: int) -> str:
    return f"domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: day, requests_per_unit: {limit}}}}}]\n"


def limit(watch: RuleWatch) -> int:
    """The limit in force."""
    match = watch.book.rules.match("d", ENTRIES)
    assert match is not None
    return match.rule.limits[0].limit.limit


async def settle(watch: RuleWatch) -> tuple[int, tuple[str, ...]]:
    """Two looks, after which a change has been read; generation and problems then."""
    await watch.look()
    await watch.look()
    return watch.book.generation, watch.book.problems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that limits to 1."""
    folder = tmp_path / "limits"
    folder.mkdir()
    (folder / "d.yaml").write_text(text(1))
    return folder


@pytest.fixture
def watch(folder: Path) -> RuleWatch:
    return RuleWatch(folder)


async def test_nothing_is_read_while_nothing_changes(folder: Path, watch: RuleWatch) -> None:
    loaded_at = watch.book.loaded_at
    (folder / "README").write_text("not a rule file")
    (folder / ".d.yaml.swp").write_text("nor this")
    assert await settle(watch) == (1, ())
    assert watch.book.loaded_at is loaded_at


async def test_an_edit(folder: Path, watch: RuleWatch) -> None:
    before = datetime.now(UTC)
    (folder / "d.yaml").write_text(text(2))
    assert await settle(watch) == (2, ())
    assert limit(watch) == 2
    assert watch.book.loaded_at >= before
    assert await settle(watch) == (2, ())


async def test_a_file_replaced_by_one_of_the_same_size_and_age(folder: Path, watch: RuleWatch) -> None:
    old = (folder / "d.yaml").stat()
    new = folder / ".new"
    new.write_text(text(2))
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.replace(folder / "d.yaml")
    assert await settle(watch) == (2, ())
    assert limit(watch) == 2


async def test_files_that_come_and_go(folder: Path, watch: RuleWatch) -> None:
    (folder / "e.yml").write_text("domain: e\n")
    assert await settle(watch) == (2, ())
    assert list(watch.book.rules.domains) == ["d", "e"]
    (folder / "e.yml").rename(folder / "e.yml.off")
    assert await settle(watch) == (3, ())
    assert list(watch.book.rules.domains) == ["d"]


async def test_links_that_are_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    def version(name: str, number: int) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "d.yaml").write_text(text(number))
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    version("..2026_01", 1)
    (tmp_path / "d.yaml").symlink_to("..data/d.yaml")
    watch = RuleWatch(tmp_path)
    assert limit(watch) == 1
    version("..2026_02", 2)
    (tmp_path / "..2026_01" / "d.yaml").unlink()
    assert await settle(watch) == (2, ())
    assert limit(watch) == 2


async def test_a_folder_that_is_itself_a_swapped_link(tmp_path: Path) -> None:
    for name, number in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "d.yaml").write_text(text(number))
    (tmp_path / "limits").symlink_to("one")
    watch = RuleWatch(tmp_path / "limits")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "limits")
    assert await settle(watch) == (2, ())
    assert limit(watch) == 2


async def test_a_file_is_not_read_while_it_is_written(folder: Path, watch: RuleWatch) -> None:
    whole = text(2)
    for end in (20, 40, 60):
        (folder / "d.yaml").write_text(whole[:end])
        await watch.look()
        assert (watch.book.generation, watch.book.problems) == (1, ())
    (folder / "d.yaml").write_text(whole)
    assert await settle(watch) == (2, ())


async def test_a_bad_file_keeps_all_that_was_in_force(folder: Path, watch: RuleWatch) -> None:
    await watch.book.probe()
    (folder / "d.yaml").write_text(text(2))
    (folder / "e.yaml").write_text("domain: e\ndescriptors: [{key: k, rate_limit: {unit: fortnight}}]\n")
    generation, problems = await settle(watch)
    assert (generation, limit(watch), watch.book.rules.domains) == (1, 1, ("d",))
    assert problems[0].startswith("limits/e.yaml: descriptors[0].rate_limit.unit: invalid rate limit unit 'fortnight'")
    with pytest.raises(RulesNotInForce, match=r"^generation 1 goes on serving; limits/e\.yaml: .* \(and 1 more\)$"):
        await watch.book.probe()
    (folder / "e.yaml").unlink()
    assert await settle(watch) == (2, ())
    assert limit(watch) == 2
    await watch.book.probe()
    assert watch.book.describe().startswith("generation 2, loaded at 2")


async def test_a_half_written_file_that_lies_still(folder: Path, watch: RuleWatch) -> None:
    (folder / "d.yaml").write_text(text(2)[:-5])
    generation, problems = await settle(watch)
    assert generation == 1
    assert "is not valid YAML" in problems[0]
    (folder / "d.yaml").write_text(text(2))
    assert await settle(watch) == (2, ())


async def test_a_folder_that_is_emptied_or_vanishes_and_returns(folder: Path, watch: RuleWatch) -> None:
    (folder / "d.yaml").unlink()
    assert await settle(watch) == (1, (f"{folder}: the folder of rules has no *.yaml or *.yml file",))
    folder.rmdir()
    gone = f"{folder}: the folder of rules cannot be read (No such file or directory)"
    assert await settle(watch) == (1, (gone,))
    assert limit(watch) == 1
    folder.mkdir()
    (folder / "d.yaml").write_text(text(3))
    assert await settle(watch) == (2, ())
    assert limit(watch) == 3


async def test_a_link_that_leads_nowhere(folder: Path, watch: RuleWatch) -> None:
    (folder / "e.yaml").symlink_to("nowhere.yaml")
    assert await settle(watch) == (1, ("limits/e.yaml: cannot be read (No such file or directory)",))


async def test_a_problem_is_logged_once(folder: Path, watch: RuleWatch) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            (folder / "d.yaml").write_text("domain: ''\n")
            await settle(watch)
        (folder / "d.yaml").write_text("domain: [a]\n")
        await settle(watch)
        (folder / "d.yaml").write_text(text(2))
        await settle(watch)
    assert [(line["event"], line["generation"]) for line in lines] == [
        ("rules refused", 1),
        ("rules refused", 1),
        ("rules loaded", 2),
    ]
    assert watch.book.failures == 4


async def test_first_rules_have_to_be_good(folder: Path) -> None:
    (folder / "d.yaml").write_text("domain: ''\n")
    with pytest.raises(RulesError, match="domain: must not be empty"):
        RuleWatch(folder)
    with pytest.raises(BadSettings, match=r"^WAYPOST_LIMITS_DIR: limits/d\.yaml: domain: must not be empty$"):
        watched_rules(Settings(limits_dir=str(folder)), CollectorRegistry())


async def test_metrics(folder: Path) -> None:
    registry = CollectorRegistry()
    watch = watched_rules(Settings(limits_dir=str(folder)), registry)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"ratelimit_rules_{name}")

    assert (value("generation"), value("reload_failures_total")) == (1, 0)
    assert value("loaded_timestamp_seconds") == watch.book.loaded_at.timestamp()
    (folder / "d.yaml").write_text("domain: ''\n")
    await settle(watch)
    assert (value("generation"), value("reload_failures_total")) == (1, 1)
    (folder / "d.yaml").write_text(text(2))
    await settle(watch)
    assert (value("generation"), value("reload_failures_total")) == (2, 1)
    assert value("loaded_timestamp_seconds") == watch.book.loaded_at.timestamp()


async def test_reloads_under_load_lose_no_counts(folder: Path) -> None:
    reloads: asyncio.Queue[int] = asyncio.Queue()
    watch = RuleWatch(folder, interval=0.001, judged=lambda book: reloads.put_nowait(book.generation))
    checker = Checker(watch.book, Table(), lambda: 1_700_000_000_000_000)
    allowed = 0

    async def load() -> None:
        nonlocal allowed
        while True:
            allowed += (await checker.check(LimitRequest("d", (Descriptor(ENTRIES),)))).allowed
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work) for work in (watch.run(), load(), load())]
    try:
        # Each version allows as many more; what the versions before it have counted stays counted.
        for version in range(2, 12):
            (folder / ".new").write_text(text(version * 100))
            (folder / ".new").replace(folder / "d.yaml")
            async with asyncio.timeout(20):
                assert await reloads.get() == version
            await until(lambda most=version * 100: allowed == most)  # type: ignore[misc]
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert allowed == 1100


async def test_who_asks_has_the_folder_read_though_it_does_not_lie_still(folder: Path, watch: RuleWatch) -> None:
    (folder / "d.yaml").write_text(text(2))
    watch.ask()
    with structlog.testing.capture_logs() as log:
        await watch.look()
    assert (watch.book.generation, limit(watch)) == (2, 2)
    assert [line["event"] for line in log] == ["rules loaded"]
    # Once.
    assert await settle(watch) == (2, ())
    watch.ask()
    assert await settle(watch) == (3, ())


async def test_what_is_wrong_is_said_again_to_who_asks(folder: Path, watch: RuleWatch) -> None:
    (folder / "d.yaml").write_text("domain: d\nspec: 1\n")
    await settle(watch)
    with structlog.testing.capture_logs() as log:
        watch.ask()
        await watch.look()
        await watch.look()
    assert [line["event"] for line in log] == ["rules refused"]
    assert watch.book.failures == 2


async def test_a_folder_that_changes_while_it_is_read_is_read_again_for_who_asked(
    folder: Path, watch: RuleWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = watch._load

    def meanwhile() -> Rules:
        monkeypatch.undo()
        found = load()
        (folder / "d.yaml").write_text(text(3000))
        return found

    monkeypatch.setattr(watch, "_load", meanwhile)
    watch.ask()
    await watch.look()
    assert watch.book.generation == 1
    # Not at once: it may go on changing, and each reading costs seconds where files are large.
    await watch.look()
    assert watch.book.generation == 1
    await watch.look()
    assert (watch.book.generation, limit(watch)) == (2, 3000)


async def test_who_asked_while_it_changed_is_told_what_is_wrong_once_it_lies_still(
    folder: Path, watch: RuleWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "d.yaml").write_text("domain: d\nspec: 1\n")
    await settle(watch)
    load = watch._load

    def meanwhile() -> Rules:
        monkeypatch.undo()
        (folder / "e.yaml").write_text(text(1).replace("domain: d", "domain: e"))
        return load()

    monkeypatch.setattr(watch, "_load", meanwhile)
    with structlog.testing.capture_logs() as log:
        watch.ask()
        for _ in range(4):
            await watch.look()
    assert [line["event"] for line in log] == ["rules refused"]


async def test_asking_does_not_wait_for_the_next_look(folder: Path) -> None:
    watch = RuleWatch(folder, interval=3600)
    running = asyncio.create_task(watch.run())
    watch.ask()
    await until(lambda: watch.book.generation == 2)
    watch.ask()
    await until(lambda: watch.book.generation == 3)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_nobody_waits_for_the_collector_while_rules_are_read(
    folder: Path, watch: RuleWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, enabled = Rules.load, []

    def seen(folder: Path, *, merge_domains: bool) -> Rules:
        enabled.append(gc.isenabled())
        return load(folder, merge_domains=merge_domains)

    monkeypatch.setattr(Rules, "load", seen)
    for content, generation in ((text(2), 2), ("domain: d\nspec: 1\n", 2)):
        (folder / "d.yaml").write_text(content)
        assert (await settle(watch))[0] == generation
        assert gc.isenabled()
    assert enabled == [False, False]
