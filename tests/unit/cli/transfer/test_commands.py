"""`waypost links import` and `export` as programs of their own, against a server in memory behind real gRPC."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.shell import DONE, FAILED, NO_ANSWER, PROGRAMS, WRONG_USAGE
from tests.support.process import environment
from tests.support.waiting import until
from tests.unit.cli.transfer.files import SAMPLES
from tests.unit.cli.transfer.grpc_server import Serving, ended, run, serving, start
from tests.unit.cli.transfer.server import MemoryServer, link
from waypost.client import Link, LinkState
from waypost.errors import RateLimited, WaypostError

INTERRUPTED = 130


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
async def served(server: MemoryServer) -> AsyncIterator[Serving]:
    async with serving(server) as found:
        yield found


def kutt(folder: Path, count: int, name: str = "links.csv") -> Path:
    path = folder / name
    rows = "".join(f"code{i},https://example.com/{i}\n" for i in range(count))
    path.write_text(f"address,target\n{rows}")
    return path


def each_once(server: MemoryServer, count: int) -> None:
    assert server.made == {f"https://example.com/{i}": 1 for i in range(count)}


async def test_a_file_is_imported_and_said_so_in_one_line(
    served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    path = kutt(tmp_path, 25)
    (tmp_path / "links.csv.waypost-report.csv").write_text("of an earlier run")
    assert await run(served, "import", path, "--batch-size", "10", cwd=tmp_path) == (
        DONE,
        f"{path}: Kutt; read 25: imported 25, already there 0, skipped 0, failed 0\n",
        "",
    )
    each_once(server, 25)
    assert {file.name for file in tmp_path.iterdir()} == {"links.csv", "links.csv.waypost-import"}


async def test_what_is_left_out_is_told_and_listed(served: Serving, server: MemoryServer, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "kutt_table.csv", tmp_path / "kutt.csv")
    code, out, err = await run(served, "import", "kutt.csv", cwd=tmp_path)
    assert (code, out) == (FAILED, "kutt.csv: Kutt; read 4: imported 1, already there 0, skipped 3, failed 0\n")
    assert err.splitlines() == [
        "waypost: line 3 (secret) skipped: it asks for a password, which cannot be carried over",
        "waypost: line 4 (spam01) skipped: it is banned",
        "waypost: line 5 (gone42) skipped: it expired at 2024-06-01T00:00:00Z",
        "waypost: the same is in kutt.csv.waypost-report.csv",
    ]
    with (tmp_path / "kutt.csv.waypost-report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "place": "line",
        "number": "3",
        "result": "skipped",
        "code": "secret",
        "url": "https://example.com/two",
        "reason": "it asks for a password, which cannot be carried over",
    }
    assert len(rows) == 3
    assert list(server.links) == ["Ab3dEf"]


async def test_twenty_problems_are_told_and_all_are_listed_none_as_a_formula(tmp_path: Path) -> None:
    rows = "".join(f"=cmd{i},ftp://example.com/\n" for i in range(50))
    (tmp_path / "links.csv").write_text(f"address,target\n{rows}")
    code, out, err = await run(None, "import", "links.csv", "--dry-run", "--report", "all.csv", cwd=tmp_path)
    assert (code, out) == (FAILED, "links.csv: Kutt; read 50: to import 0, skipped 0, failed 50\n")
    lines = err.splitlines()
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "waypost: and 30 more; all of them are in all.csv"
    with (tmp_path / "all.csv").open(newline="") as file:
        listed = list(csv.reader(file))
    assert len(listed) == 51
    assert {row[3][:2] for row in listed[1:]} == {"'="}


async def test_a_report_that_cannot_be_written_is_told_before_anything_is_sent(
    served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    kutt(tmp_path, 3)
    code, out, _ = await run(served, "import", "links.csv", "--report", "no/x.csv", cwd=tmp_path)
    assert (code, out) == (WRONG_USAGE, "")
    assert server.arrivals == []
    assert [file.name for file in tmp_path.iterdir()] == ["links.csv"]


async def test_a_report_whose_usual_place_is_taken_can_go_elsewhere(
    served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    kutt(tmp_path, 3)
    (tmp_path / "links.csv.waypost-report.csv").mkdir()
    code, out, err = await run(served, "import", "links.csv", cwd=tmp_path)
    assert (code, out, server.arrivals) == (WRONG_USAGE, "", [])
    assert err == (
        "waypost: the report links.csv.waypost-report.csv cannot be written: Is a directory: name another place with "
        "--report\n"
    )
    assert (await run(served, "import", "links.csv", "--report", "x.csv", cwd=tmp_path))[0] == DONE


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_report_that_fails_in_the_end_takes_nothing_else_with_it(
    as_json: bool, served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    (tmp_path / "links.csv").write_text("address,target\ncode0,https://example.com/0\nx,https://example.com/\n")
    # A device that is full: opened without trouble, and of no use.
    command = ["import", "links.csv", "--report", "/dev/full"]
    code, out, err = await run(served, *command, *(["--json"] if as_json else []), cwd=tmp_path)
    assert code == FAILED
    reason = "--report /dev/full cannot be written: No space left on device"
    if as_json:
        said = json.loads(out)
        assert (said["imported"], said["failed"], said["message"], said["report"]) == (1, 1, reason, None)
        assert len(said["problems"]) == 1
    else:
        assert out == "links.csv: Kutt; read 2: imported 1, already there 0, skipped 0, failed 1\n"
        first, last = err.splitlines()
        assert first.startswith("waypost: line 3 (x) failed: ")
        assert last == f"waypost: {reason}"
    each_once(server, 1)


async def test_json_of_a_dry_run_says_what_there_is_to_import(tmp_path: Path) -> None:
    kutt(tmp_path, 3)
    code, out, _ = await run(None, "import", "links.csv", "--dry-run", "--json", cwd=tmp_path)
    said = json.loads(out)
    assert (code, said["dry_run"], said["read"], said["to_import"]) == (DONE, True, 3, 3)
    assert not {"imported", "already_there"} & said.keys()


async def test_a_dry_run_sends_and_writes_nothing(tmp_path: Path) -> None:
    path = kutt(tmp_path, 3)
    code, out, err = await run(None, "import", path, "--dry-run", cwd=tmp_path)
    assert (code, out) == (DONE, f"{path}: Kutt; read 3: to import 3, skipped 0, failed 0\n")
    assert err == "waypost: nothing was sent: this is as far as can be told without the server\n"
    assert [file.name for file in tmp_path.iterdir()] == ["links.csv"]


async def test_json_has_the_sums_and_the_problems(served: Serving, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "bitly.csv", tmp_path / "bitly.csv")
    code, out, err = await run(served, "import", "bitly.csv", "--json", "--prefix", "b-", cwd=tmp_path)
    assert (code, err) == (FAILED, "")
    assert json.loads(out) == {
        "file": "bitly.csv",
        "format": "bitly",
        "dry_run": False,
        "complete": True,
        "message": "",
        "resumed": False,
        "read": 3,
        "imported": 2,
        "already_there": 0,
        "skipped": 1,
        "failed": 0,
        "tidied": 0,
        "problems": [
            {
                "line": 4,
                "result": "skipped",
                "code": "2XyZold",
                "url": "https://example.com/old",
                "reason": "it is archived",
            }
        ],
        "report": "bitly.csv.waypost-report.csv",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "none.csv cannot be read: No such file or directory"),
        (
            ["links.csv", "--format", "bitly"],
            "links.csv is in no format known here: it has the columns address, target",
        ),
        (["links.csv", "--encoding", "klingon"], "--encoding 'klingon' is unknown"),
        (["links.csv", "--encoding", "hex"], "--encoding 'hex' is unknown"),
        (["links.csv", "--prefix", "a", "--random-codes"], "--prefix and --random-codes exclude each other"),
        (["links.csv", "--server", "a b"], "--server must be host:port"),
        (["links.csv", "--journal", "no/such/folder", "--server", "localhost:1"], "the journal no/such/folder cannot"),
        (["-"], "import needs a file, not standard input"),
        (["links.csv", "--report", "no/x.csv"], "--report no/x.csv cannot be written: No such file or directory"),
    ],
)
async def test_wrong_usage_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    kutt(tmp_path, 1)
    code, out, err = await run(None, "import", *arguments, cwd=tmp_path)
    assert (code, out) == (WRONG_USAGE, "")
    (line,) = err.splitlines()
    assert line.startswith(f"waypost: {message}")


async def test_without_an_answer_it_says_how_to_go_on(tmp_path: Path) -> None:
    kutt(tmp_path, 3)
    code, out, err = await run(None, "import", "links.csv", "--server", "127.0.0.1:1", cwd=tmp_path)
    assert (code, out) == (
        NO_ANSWER,
        "links.csv: Kutt; read 0: imported 0, already there 0, skipped 0, failed 0\n",
    )
    assert err == (
        "waypost: no Waypost answers at 127.0.0.1:1: is `waypost up` running, or is --server (WAYPOST_SERVER) wrong? "
        "Run the same command again to go on\n"
    )


async def test_a_second_run_says_that_all_was_done_and_other_options_are_refused(
    served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    kutt(tmp_path, 3)
    first = await run(served, "import", "links.csv", cwd=tmp_path)
    again = await run(served, "import", "links.csv", cwd=tmp_path)
    assert (first[:2], first[2]) == (again[:2], "")
    assert again[2] == (
        "waypost: all of it was imported before, and nothing was sent now; to import it once more: --restart\n"
    )
    assert len(server.arrivals) == 1
    code, _, err = await run(served, "import", "links.csv", "--prefix", "x-", cwd=tmp_path)
    assert code == WRONG_USAGE
    assert "begun with something else: prefix ('' before)" in err
    code, out, _ = await run(served, "import", "links.csv", "--restart", cwd=tmp_path)
    assert (code, out) == (
        DONE,
        "links.csv: Kutt; read 3: imported 0, already there 3, skipped 0, failed 0\n",
    )


@pytest.mark.parametrize("options", [[], ["--random-codes"]])
async def test_killed_again_and_again_it_makes_each_link_once(
    options: list[str], served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    kutt(tmp_path, 2000)
    command = ("import", "links.csv", "--batch-size", "10", *options)
    for arrivals in (1, 5, 21, 120):
        process = await start(served, *command, cwd=tmp_path)
        await until(lambda wanted=arrivals: len(server.arrivals) >= wanted)  # type: ignore[misc]
        process.kill()
        assert (await ended(process))[0] == -signal.SIGKILL
    assert len(server.made) < 2000
    code, out, err = await run(served, *command, cwd=tmp_path)
    assert (code, out, err) == (
        DONE,
        "links.csv: Kutt; read 2,000: imported 2,000, already there 0, skipped 0, failed 0\n",
        "",
    )
    each_once(server, 2000)
    # What was sent again came under the id that it had before.
    assert len(set(server.ids)) == 200
    assert len(server.ids) > 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_awaits_what_is_under_way_and_the_next_run_goes_on(
    number: signal.Signals, served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    kutt(tmp_path, 200)
    server.gate.clear()
    command = ("import", "links.csv", "--batch-size", "10")
    process = await start(served, *command, cwd=tmp_path)
    await until(lambda: server.at_once == 4)
    process.send_signal(number)
    await asyncio.sleep(0.1)
    assert process.returncode is None
    server.gate.set()
    code, out, err = await ended(process)
    assert (code, out, err) == (
        INTERRUPTED,
        "links.csv: Kutt; read 40: imported 40, already there 0, skipped 0, failed 0\n",
        "waypost: interrupted; run the same command again to go on\n",
    )
    code, out, _ = await run(served, *command, cwd=tmp_path)
    assert (code, out) == (
        DONE,
        "links.csv: Kutt; read 200: imported 200, already there 0, skipped 0, failed 0\n",
    )
    each_once(server, 200)


async def test_ctrl_c_twice_awaits_nothing(served: Serving, server: MemoryServer, tmp_path: Path) -> None:
    kutt(tmp_path, 200)
    server.gate.clear()
    process = await start(served, "import", "links.csv", "--batch-size", "10", cwd=tmp_path)
    await until(lambda: server.at_once == 4)
    for seconds in (0.5, 30.0):
        process.send_signal(signal.SIGINT)
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=seconds)
    code, out, err = await ended(process)
    assert code == INTERRUPTED
    assert "Traceback" not in err
    server.gate.set()
    code, out, _ = await run(served, "import", "links.csv", "--batch-size", "10", cwd=tmp_path)
    assert (code, out) == (
        DONE,
        "links.csv: Kutt; read 200: imported 200, already there 0, skipped 0, failed 0\n",
    )
    each_once(server, 200)


async def test_two_at_a_time_are_refused(served: Serving, server: MemoryServer, tmp_path: Path) -> None:
    kutt(tmp_path, 3)
    server.gate.clear()
    process = await start(served, "import", "links.csv", cwd=tmp_path)
    await until(lambda: server.at_once == 1)
    code, _, err = await run(served, "import", "links.csv", cwd=tmp_path)
    assert code == WRONG_USAGE
    assert "another import of this file is running" in err
    server.gate.set()
    assert (await ended(process))[0] == DONE


async def test_a_terminal_shows_a_bar_and_what_is_waited_for(tmp_path: Path) -> None:
    first: list[float] = []

    def bucket(_: int) -> WaypostError | None:
        first.append(time.monotonic())
        left = first[0] + 1.5 - time.monotonic()
        return RateLimited("create per address", left) if left > 0 else None

    server = MemoryServer(before=bucket)
    async with serving(server) as served:
        kutt(tmp_path, 30)
        with _screen() as (here, there):
            process = await asyncio.create_subprocess_exec(
                PROGRAMS / "waypost",
                *("links", "import", "links.csv", "--batch-size", "10", "--server", served.address),
                cwd=tmp_path,
                env=environment(TERM="xterm", COLUMNS="160"),
                stdin=there,
                stdout=there,
                stderr=there,
            )
            async with asyncio.timeout(30):
                assert await process.wait() == DONE
            shown = os.read(here, 1_000_000).decode()
    assert "s: the server's limit 'create per address' is reached" in shown
    assert "━" in shown
    assert "read 30: imported 30" in shown.splitlines()[-1]


@contextmanager
def _screen() -> Iterator[tuple[int, int]]:
    here, there = pty.openpty()
    try:
        yield here, there
    finally:
        os.close(here)
        os.close(there)


def fill(server: MemoryServer, count: int) -> None:
    for i in range(count):
        server.links[f"code{i}"] = link(f"code{i}", f"https://example.com/{i}", title=f"=Title {i}", tags=("a", "b c"))


def essence(links: dict[str, Link]) -> dict[str, Link]:
    return {code: replace(one, etag="") for code, one in links.items()}


@pytest.mark.parametrize("shape", ["csv", "json"])
async def test_an_export_can_be_imported_elsewhere(
    shape: str, served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    fill(server, 1200)
    assert await run(served, "export", "--format", shape, "-o", "links", cwd=tmp_path) == (
        DONE,
        "exported 1,200 links to links\n",
        "",
    )
    other = MemoryServer()
    async with serving(other) as elsewhere:
        assert (await run(elsewhere, "import", "links", cwd=tmp_path))[0] == DONE
    assert essence(other.links) == essence(server.links)


async def test_standard_output_has_the_links_alone(served: Serving, server: MemoryServer, tmp_path: Path) -> None:
    fill(server, 2)
    server.links["gone1"] = link("gone1", state=LinkState.DELETED)
    code, out, err = await run(served, "export", "--format", "json", cwd=tmp_path)
    assert (code, err) == (DONE, "exported 2 links\n")
    assert [json.loads(line)["short_code"] for line in out.splitlines()] == ["code0", "code1"]
    code, out, err = await run(served, "export", "--filter", "state = deleted", "--json", cwd=tmp_path)
    assert (code, json.loads(err)) == (DONE, {"exported": 1, "file": "-"})
    assert (await run(served, "export", "--filter", "state = deleted", cwd=tmp_path))[2] == "exported 1 link\n"
    assert [row["short_code"] for row in csv.DictReader(out.splitlines())] == ["gone1"]


async def test_an_export_that_breaks_off_leaves_the_old_file(
    served: Serving, server: MemoryServer, tmp_path: Path
) -> None:
    fill(server, 1200)
    served.fail_pages_after(1000)
    (tmp_path / "links.csv").write_text("old")
    code, out, err = await run(served, "export", "-o", "links.csv", cwd=tmp_path)
    assert (code, out, err) == (FAILED, "", "waypost: a defect\n")
    assert [file.name for file in tmp_path.iterdir()] == ["links.csv"]
    assert (tmp_path / "links.csv").read_text() == "old"


async def test_exports_go_through_links_and_into_devices(served: Serving, server: MemoryServer, tmp_path: Path) -> None:
    fill(server, 2)
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "real.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert (await run(served, "export", "-o", "link.csv", cwd=tmp_path))[0] == DONE
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("short_code,")
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    process = await start(served, "export", "-o", "pipe", cwd=tmp_path)
    assert (await asyncio.to_thread((tmp_path / "pipe").read_text)).startswith("short_code,")
    assert (await ended(process))[0] == DONE
    assert (tmp_path / "pipe").is_fifo()


async def test_a_reader_that_has_enough_is_no_error(served: Serving, server: MemoryServer, tmp_path: Path) -> None:
    fill(server, 20_000)
    done = await asyncio.to_thread(
        subprocess.run,
        [
            "bash",
            "-c",
            f"{PROGRAMS / 'waypost'} links export --server {served.address} | head -1; echo ${{PIPESTATUS[0]}}",
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[0].startswith("short_code,")
    assert (done.stdout.splitlines()[1], done.stderr) == ("0", "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--filter", "nonsense"], FAILED, "--filter has 'nonsense': give a condition"),
        (["-o", "no/such/folder"], FAILED, "no/such/folder cannot be written: No such file or directory"),
        (["--server", "127.0.0.1:1"], NO_ANSWER, "no Waypost answers at 127.0.0.1:1"),
    ],
)
async def test_an_export_that_cannot_be_done_is_told_in_one_line(
    arguments: list[str], code: int, message: str, served: Serving, tmp_path: Path
) -> None:
    found, out, err = await run(None if "--server" in arguments else served, "export", *arguments, cwd=tmp_path)
    assert (found, out) == (code, "")
    (line,) = err.splitlines()
    assert line.startswith(f"waypost: {message}")
