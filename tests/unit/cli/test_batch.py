"""`waypost links batch`: a link for each line."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.answering import Call
from tests.support.link_server import LinkServer, serving
from tests.unit.cli.conftest import Command, fresh
from waypost.cli.batch import MAX_BYTES, MAX_LINE, batches, lines, make_all
from waypost.cli.patience import MAX_WAIT, MAX_WAITS
from waypost.client import MAX_BATCH, Client, NewLink
from waypost.client.channel import Server
from waypost.errors import RateLimited

URL = "https://example.com/"


def test_urls_and_json_in_their_order(links: Command, tmp_path: Path) -> None:
    one, two = fresh(), fresh()
    file = tmp_path / "links.txt"
    file.write_text(
        f"\ufeff# two links\n\n{json.dumps({'url': URL, 'alias': one, 'tags': ['x'], 'ttl_seconds': 60})}\r\n"
        f"  {json.dumps({'url': URL, 'alias': two, 'title': None})}  "
    )
    assert links.said("batch", str(file)) == f"https://go.example/{one}\nhttps://go.example/{two}\n"
    assert links.json("get", one)["expires_at"] == "2031-01-01T00:01:00Z"
    assert links.said("batch", "-", stdin=f"{URL}\n").startswith("https://go.example/random")


def test_what_is_refused_stops_nothing_else(links: Command) -> None:
    taken = links.make()
    text = f'{URL}\njavascript:x\n{{"url": "{URL}", "alias": "{taken}"}}\n{{"url": 5}}\n{URL}\n'
    result = links("batch", "-", stdin=text)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == [
        "line 2",
        "line 3",
        "line 4",
        "3 of 5 links were not made",
    ]
    assert "line 2: url must be absolute" in result.stderr
    assert "line 4: url must be a text" in result.stderr

    result = links("batch", "-", "--json", stdin=text)
    assert (result.exit_code, result.stderr) == (1, "")
    results = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["line"] for one in results] == [1, 2, 3, 4, 5]
    assert ["link" in one for one in results] == [True, False, False, False, True]
    assert [one["error"]["code"] for one in results[1:4]] == ["INVALID_ARGUMENT", "ALREADY_EXISTS", "INVALID_ARGUMENT"]


def test_the_same_file_again_under_one_id(links: Command) -> None:
    text, own_id = "".join(f"{URL}{number}\n" for number in range(MAX_BATCH + 1)), fresh()
    first = links.said("batch", "-", "--request-id", own_id, stdin=text)
    assert len(set(first.splitlines())) == MAX_BATCH + 1
    assert links.said("batch", "-", "--request-id", own_id, stdin=text) == first
    result = links("batch", "-", "--request-id", own_id, stdin=text.replace("example", "other"))
    assert result.exit_code == 1
    assert result.stderr.startswith("waypost: nothing was made of line 1 and those after it:\n")
    assert "came with another request" in result.stderr


def test_an_empty_file_makes_nothing(links: Command) -> None:
    assert links.said("batch", "-", stdin="\n# nothing\n") == ""


@pytest.mark.parametrize("data", [b"\x7fELF\x02\0\xff\n" * 50, f"{URL}\n".encode("utf-16")], ids=["program", "utf-16"])
def test_a_file_that_is_no_text_is_refused_as_a_whole(links: Command, data: bytes) -> None:
    result = links("batch", "-", stdin=data)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "waypost: the file is not text in UTF-8: nothing was made of it\n"
    assert "not text" in json.loads(links("batch", "-", "--json", stdin=data).stderr)["message"]


def test_lines_in_another_encoding_are_told_twenty_times(links: Command) -> None:
    data = f"{URL}\n".encode() + f"{URL}ü\n".encode("latin-1") * 50 + f"{URL}\n".encode()
    result = links("batch", "-", stdin=data)
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 2)
    said = result.stderr.splitlines()
    assert said[:20] == [f"waypost: line {number}: is not UTF-8" for number in range(2, 22)]
    assert said[20:] == ["waypost: 30 more lines are not UTF-8", "waypost: 50 of 52 links were not made"]
    # Programs are told of every line.
    assert len(links("batch", "-", "--json", stdin=data).stdout.splitlines()) == 52


def test_one_link_is_no_plural(links: Command) -> None:
    assert links("batch", "-", stdin="javascript:x\n").stderr.endswith("\nwaypost: 1 of 1 link was not made\n")


def test_no_such_file(links: Command) -> None:
    result = links("batch", "/no/such/file")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "/no/such/file" in result.stderr


async def test_a_limit_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    server, refusals = LinkServer(), iter([0.01, 0.02])

    async def limit(call: Call) -> None:
        if (seconds := next(refusals, None)) is not None:
            raise RateLimited("create", seconds)

    server.before = limit
    async with serving(server) as port, Client(f"127.0.0.1:{port}") as client:
        where, file = Server(f"127.0.0.1:{port}"), io.BytesIO(b"https://example.com/")
        assert await make_all(client, where, file, as_json=False, request_id="mine") == 0
    assert [call.request.request_id for call in server.calls] == ["mine/0"] * 3
    said = capsys.readouterr()
    assert (said.out, said.err) == ("https://go.example/random0\n", "")


@pytest.mark.parametrize("seconds", [0.0, 0.001, MAX_WAIT + 1])
async def test_a_limit_that_admits_nothing_ends_it(capsys: pytest.CaptureFixture[str], seconds: float) -> None:
    server = LinkServer()

    async def limit(call: Call) -> None:
        raise RateLimited("create", seconds)

    server.before = limit
    async with serving(server) as port, Client(f"127.0.0.1:{port}") as client:
        where, file = Server(f"127.0.0.1:{port}"), io.BytesIO(b"# first\nhttps://example.com/")
        assert await make_all(client, where, file, as_json=False, request_id=None) == 1
    assert len(server.calls) == (MAX_WAITS + 1 if seconds == 0.001 else 1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "waypost: nothing was made of line 2 and those after it:"
    assert second.startswith("waypost: too many requests")


def parsed(data: bytes | str) -> NewLink | str:
    """What a single line is read as."""
    (line,) = lines(io.BytesIO(data if isinstance(data, bytes) else data.encode()))
    return line.link


def test_every_field() -> None:
    fields = {
        "url": URL,
        "alias": "talk",
        "title": "t",
        "tags": ["a"],
        "expires_at": "2031-01-01T00:00:00Z",
        "max_clicks": 1,
        "redirect_status": 301,
        "forward_query": True,
    }
    assert parsed(json.dumps(fields)) == NewLink(
        url=URL,
        alias="talk",
        title="t",
        tags=["a"],
        expires_at=datetime(2031, 1, 1, tzinfo=UTC),
        max_clicks=1,
        redirect_status=301,
        forward_query=True,
    )
    assert parsed('{"url": "u", "ttl_seconds": 9}') == NewLink(url="u", ttl=timedelta(seconds=9))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{", "is no JSON"),
        ("{" * 50_000, "is no JSON"),
        ("{}", "url is missing"),
        ('{"url": "u", "Alias": "x"}', "'Alias' is no field"),
        ('{"url": "u", "max_clicks": true}', "max_clicks must be a whole number"),
        ('{"url": "u", "max_clicks": 1.5}', "max_clicks must be a whole number"),
        ('{"url": "u", "max_clicks": 4294967296}', "max_clicks"),
        ('{"url": "u", "forward_query": 1}', "forward_query must be true or false"),
        ('{"url": "u", "tags": "a"}', "tags must be a list of texts"),
        ('{"url": "u", "tags": [1]}', "tags must be a list of texts"),
        ('{"url": "u", "expires_at": "tomorrow"}', "expires_at must be a time like"),
        ('{"url": "u", "expires_at": "2031-01-01T00:00:00Z", "ttl_seconds": 1}', "exclude each other"),
        ('{"url": "\\ud800"}', "Unicode"),
        (b"https://\xff/", "is not UTF-8"),
        ("x" * (MAX_LINE + 1), "is longer than 64 KiB"),
    ],
)
def test_lines_that_ask_for_nothing_that_could_be(text: str | bytes, hint: str) -> None:
    link = parsed(text)
    assert isinstance(link, str)
    assert hint in link


def test_a_line_too_long_takes_no_other_with_it() -> None:
    found = list(lines(io.BytesIO(b"x" * 300_000 + b"\nhttps://example.com/\n")))
    assert [line.number for line in found] == [1, 2]
    assert found[1].link == NewLink(url=URL)


def test_calls_stay_below_what_the_server_takes() -> None:
    assert [len(batch) for batch in batches(lines(io.BytesIO(b"u\n" * 2500)))] == [1000, 1000, 500]
    long = ("u" * 8000 + "\n").encode() * 1000
    sizes = [sum(line.size for line in batch) for batch in batches(lines(io.BytesIO(long)))]
    assert len(sizes) > 1
    assert max(sizes) <= MAX_BYTES
