"""`waypost audit`: lists, and exports that are cut off and go on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.account_server import NOW, AccountServer
from tests.support.answering import Call
from tests.support.link_server import serving
from tests.support.process import environment
from tests.support.waiting import until
from tests.unit.cli.conftest import Command, fresh
from tests.unit.cli.test_identity import NASTY
from waypost import errors
from waypost.cli.audit.exported import BLOCK, ExportFile, Reached, Unusable

WAYPOST = Path(sys.executable).parent / "waypost"


def test_a_list(waypost: Command) -> None:
    subject = fresh()
    waypost.said("members", "add", subject, "--role", "viewer")
    table = waypost.said("audit", "list", "--object", subject)
    assert table.splitlines()[0].split() == ["TIME", "ACTION", "OBJECT", "PRINCIPAL", "ADDRESS"]
    assert table.splitlines()[1].split()[2:] == ["member.add", subject, "key:tester", "127.0.0.1"]
    (event,) = waypost.json("audit", "list", "--object", subject, "--action", "member.")
    assert (event["action"], event["details"]) == ("member.add", {})
    assert waypost.json("audit", "list", "--object", subject, "--principal", "anonymous") == []
    assert waypost.json("audit", "list", "--object", subject, "--until", "2030-01-01T00:00:00Z") == []
    assert len(waypost.json("audit", "list", "--object", subject, "--from", "2030-01-01T00:00:00Z")) == 1
    assert waypost.refused("audit", "list", "--from", "monday", code=2) == (
        "--from must be a time like 2030-01-31T12:00:00Z, not 'monday'"
    )


def test_an_export_to_standard_output(waypost: Command) -> None:
    subject = fresh()
    waypost.said("members", "add", subject, "--role", "viewer", "--name", NASTY)
    waypost.said("members", "set", subject, "--name", NASTY)
    result = waypost("audit", "export", "--object", subject)
    assert (result.exit_code, result.stderr) == (0, "exported 1 event\n")
    assert [json.loads(line)["object"] for line in result.stdout.splitlines()] == [subject]
    assert waypost.refused("audit", "export", "--resume", code=2) == "--resume goes on with a file: give it by --output"


@pytest.fixture
def server() -> AccountServer:
    """A server with 25 events, three at a time at most; the sixth to the twelfth have one time."""
    one = AccountServer()
    one.most = 3
    for number in range(25):
        same = timedelta(seconds=5 if 5 <= number < 12 else number)
        one.did("link.create", f"o{number}", NOW + same + timedelta(microseconds=number // 12), title=NASTY)
    return one


@pytest.fixture
async def served(server: AccountServer) -> AsyncIterator[str]:
    """Where it is."""
    async with serving(server) as port:
        yield f"127.0.0.1:{port}"


async def start(served: str, *words: str | Path, **env: str) -> asyncio.subprocess.Process:
    """Starts `waypost audit export …`."""
    return await asyncio.create_subprocess_exec(
        WAYPOST,
        "audit",
        "export",
        *map(str, words),
        env=environment(WAYPOST_SERVER=served, WAYPOST_DATA_DIR="/nonexistent", **env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit code, output and errors."""
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def export(served: str, *words: str | Path) -> tuple[int | None, str, str]:
    """Runs it to its end."""
    return await ended(await start(served, *words))


def objects(file: Path) -> list[str]:
    """Of the events in a file, in their order."""
    return [json.loads(line)["object"] for line in file.read_text().splitlines()]


ALL = [f"o{number}" for number in reversed(range(25))]


async def test_an_export_to_a_file(server: AccountServer, served: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    assert await export(served, "-o", file) == (0, f"exported 25 events to {file}\n", "")
    assert objects(file) == ALL
    # Only its owner reads who did what.
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(server.calls) == 9
    first = json.loads(file.read_text().splitlines()[0])
    assert (first["details"], first["occurred_at"]) == ({"title": NASTY}, "2031-01-01T00:00:24.000002Z")
    # What is there is not touched.
    before = file.read_bytes()
    code, _, said = await export(served, "-o", file)
    assert (code, said) == (
        2,
        f"waypost: {file} is there already: go on with it by --resume, or give another file\n",
    )
    assert await export(served, "-o", file, "--resume", "--json") == (
        0,
        json.dumps({"exported": 0, "file": str(file)}, indent=2) + "\n",
        "",
    )
    assert file.read_bytes() == before


@pytest.mark.parametrize("pages", [1, 4, 6, 8])
async def test_an_export_that_is_cut_off_goes_on(
    server: AccountServer, served: str, tmp_path: Path, pages: int
) -> None:
    file = tmp_path / "audit.jsonl"

    async def fail(call: Call) -> None:
        if len(server.calls) > pages:
            raise errors.RateLimited("waypost.read", None)

    server.before = fail
    code, out, said = await export(served, "-o", file)
    assert (code, out) == (1, "")
    assert said.endswith(f"waypost: {file} has {3 * pages} events more: go on with --resume\n")
    assert objects(file) == ALL[: 3 * pages]
    server.before = None
    # In the middle of a line, as after a crash.
    file.write_bytes(file.read_bytes()[:-7])
    assert (await export(served, "-o", file, "--resume"))[0] == 0
    assert objects(file) == ALL


async def test_an_export_to_standard_output_says_where_to_go_on(server: AccountServer, served: str) -> None:
    async def fail(call: Call) -> None:
        if len(server.calls) == 5:
            raise errors.PermissionDenied("audit:read")

    server.before = fail
    code, out, said = await export(served)
    assert code == 1
    last = said.splitlines()[-1]
    assert last.startswith("waypost: 12 events were written: go on with --until 2031-01-01T00:00:13.000002Z")
    again = await export(served, "--until", "2031-01-01T00:00:13.000002Z")
    found = [json.loads(line)["object"] for line in (out + again[1]).splitlines()]
    # None is missing; the last may come again.
    assert list(dict.fromkeys(found)) == ALL
    assert len(found) <= len(ALL) + 1


async def test_ctrl_c_ends_it_in_good_order(server: AccountServer, served: str, tmp_path: Path) -> None:
    file, held = tmp_path / "audit.jsonl", asyncio.Event()

    async def hold(call: Call) -> None:
        if len(server.calls) == 3:
            await held.wait()

    server.before = hold
    process = await start(served, "-o", file)
    await until(lambda: len(server.calls) == 3)
    process.send_signal(signal.SIGINT)
    code, _, said = await ended(process)
    held.set()
    assert (code, said) == (
        130,
        f"waypost: interrupted\nwaypost: {file} has 6 events more: go on with --resume\n",
    )
    assert (await export(served, "-o", file, "--resume"))[0] == 0
    assert objects(file) == ALL


async def test_a_limit_is_waited_for(server: AccountServer, served: str, tmp_path: Path) -> None:
    refusals = iter([0.01, 0.02])

    async def limit(call: Call) -> None:
        if len(server.calls) > 2 and (seconds := next(refusals, None)) is not None:
            raise errors.RateLimited("waypost.read", seconds)

    server.before = limit
    assert (await export(served, "-o", tmp_path / "audit.jsonl"))[0] == 0
    assert objects(tmp_path / "audit.jsonl") == ALL


async def test_an_export_that_never_began_leaves_no_file(server: AccountServer, served: str, tmp_path: Path) -> None:
    async def fail(call: Call) -> None:
        raise errors.Unauthenticated("who are you?")

    server.before = fail
    code, _, said = await export(served, "-o", tmp_path / "audit.jsonl")
    assert (code, said.startswith("waypost: who are you? (give a key by WAYPOST_API_KEY")) == (1, True)
    assert list(tmp_path.iterdir()) == []


async def test_a_reader_who_has_enough(served: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        WAYPOST,
        "audit",
        "export",
        env=environment(WAYPOST_SERVER=served, WAYPOST_DATA_DIR="/nonexistent"),
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


def line(number: int, at: datetime, size: int = 0) -> str:
    """An event as it stands in a file."""
    return json.dumps({"event_id": str(number), "occurred_at": at.isoformat(), "details": {"x": "x" * size}})


def test_where_to_go_on_is_found_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    late, early = datetime(2031, 1, 2, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    # More than one block of them has the last time.
    lines = [line(900, late, BLOCK)] + [line(number, early, 200) for number in range(800)]
    with ExportFile(path, resume=False) as file:
        file.write(lines)
    whole = path.read_bytes()
    for torn in (b"", b'{"event', line(801, early).encode()):
        path.write_bytes(whole + torn)
        with ExportFile(path, resume=True) as file:
            assert file.reached == Reached(early, frozenset(map(str, range(800))))
            file.write(["{}"])
        assert path.read_bytes() == whole + b"{}\n"


@pytest.mark.parametrize("content", [b"", b'{"ev', b'{"event_id": "5", "occ'])
def test_an_export_that_was_cut_off_at_once_begins_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(content)
    with ExportFile(path, resume=True) as file:
        assert file.reached is None
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "content",
    [
        b"short_code,url\nabc,https://example.com/\n",
        b"precious",
        b"\n",
        b"[1]\n",
        b'{"event_id": "1"}\n',
        b'{"event_id": 1, "occurred_at": "2031-01-01T00:00:00Z"}\n',
        b'{"event_id": "1", "occurred_at": "2031-01-01T00:00:00"}\n',
        b"\xff\xfe\n",
        b"x" * 2_000_000 + b"\n",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_that_is_no_export_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(Unusable, match="is no export of the audit log"):
        ExportFile(path, resume=True)
    assert path.read_bytes() == content


def test_two_exports_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with ExportFile(path, resume=False), pytest.raises(Unusable, match="is being written by another export"):
        ExportFile(path, resume=True)
