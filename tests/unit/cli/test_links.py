"""`waypost links`: one link at a time."""

from __future__ import annotations

import json
import socket

import pytest

from tests.unit.cli.conftest import Command, fresh
from waypost.cli.refusals import refuse
from waypost.client.channel import Server
from waypost.errors import FieldViolation, InvalidFields

URL = "https://example.com/"


def rows(text: str) -> dict[str, str]:
    """The fields of a link as they are shown."""
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def refused(links: Command, *words: str, code: int = 1) -> list[str]:
    """What a refused command says; asserts its exit code and that it prints nothing else."""
    result = links(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    lines = result.stderr.splitlines()
    assert all(line.startswith("waypost: ") for line in lines)
    return [line.removeprefix("waypost: ") for line in lines]


def test_create_prints_the_short_address(links: Command) -> None:
    alias = fresh()
    assert links.said("create", URL, "--alias", alias) == f"https://go.example/{alias}\n"


def test_create_with_everything(links: Command) -> None:
    alias = fresh()
    link = links.json(
        *("create", URL, "--alias", alias, "--title", "A talk", "--tag", "a b", "--tag", "c", "--ttl", "7d"),
        *("--max-clicks", "3", "--redirect-status", "308", "--forward-query"),
    )
    times = {name: link.pop(name) for name in ("created_at", "updated_at")}
    assert times["created_at"] == times["updated_at"]
    assert link == {
        "short_code": alias,
        "short_url": f"https://go.example/{alias}",
        "original_url": URL,
        "state": "LINK_STATE_ACTIVE",
        "expires_at": "2031-01-08T00:00:00Z",
        "redirect_status": 308,
        "etag": "v1",
        "destination_flags": [],
        "title": "A talk",
        "tags": ["a b", "c"],
        "max_clicks": 3,
        "clicks_used": 0,
        "forward_query": True,
    }
    shown = rows(links.said("get", alias))
    assert shown == {
        **{name: str(value) for name, value in (link | times).items() if value != []},
        "state": "active",
        "tags": "a b, c",
        "forward_query": "yes",
    }
    # A link that has none of it is not said to have none of it.
    assert (
        not {"title", "tags", "max_clicks", "clicks_used", "forward_query", "expires_at"}
        & rows(links.said("get", links.make())).keys()
    )


def test_create_again_with_the_same_id(links: Command) -> None:
    own_id = fresh()
    first = links.json("create", URL, "--request-id", own_id)
    assert links.json("create", URL, "--request-id", own_id) == first
    (said,) = refused(links, "create", "https://other.example/", "--request-id", own_id)
    # Not which: it may be private, and errors are logged.
    assert "the request_id came with another request before" in said
    assert own_id not in said


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--url", "https://new.example/"], "original_url", "https://new.example/"),
        (["--title", "new"], "title", "new"),
        (["--title", ""], "title", ""),
        (["--tag", "x", "--tag", "y"], "tags", ["x", "y"]),
        (["--no-tags"], "tags", []),
        (["--ttl", "1h"], "expires_at", "2031-01-01T01:00:00Z"),
        (["--expires-at", "2033-01-01T01:00:00+01:00"], "expires_at", "2033-01-01T00:00:00Z"),
        (["--no-expiry"], "expires_at", None),
        (["--max-clicks", "9"], "max_clicks", 9),
        (["--no-max-clicks"], "max_clicks", 0),
        (["--redirect-status", "307"], "redirect_status", 307),
        (["--no-forward-query"], "forward_query", False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_update_changes_what_is_given_alone(links: Command, words: list[str], field: str, value: object) -> None:
    code = links.make("--title", "t", "--tag", "a", "--ttl", "1d", "--max-clicks", "3", "--forward-query")
    before = links.json("get", code)
    after = links.json("update", code, *words)
    assert after.get(field) == value
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {field, "etag"}


def test_update_delete_and_undelete_say_what_became_of_the_link(links: Command) -> None:
    code = links.make()
    short_url = f"https://go.example/{code}"
    assert links.said("update", code, "--title", "x") == f"updated {short_url}\n"
    assert links.said("delete", code) == f"deleted {short_url}\n"
    assert rows(links.said("get", code))["state"] == "deleted"
    (said,) = refused(links, "update", code, "--title", "y")
    assert said.endswith(f"(`waypost links undelete {code}` brings it back)")
    assert links.said("undelete", code) == f"undeleted {short_url}\n"
    assert links.json("get", code)["state"] == "LINK_STATE_ACTIVE"


@pytest.mark.parametrize("command", [["update", "--title", "x"], ["delete"], ["undelete"]], ids=" ".join)
def test_an_etag_guards(links: Command, command: list[str]) -> None:
    code = links.make()
    (said,) = refused(links, command[0], code, *command[1:], "--etag", "v7")
    assert "has changed meanwhile" in said
    links.said(command[0], code, *command[1:], "--etag", "v1")


def test_resolve(links: Command) -> None:
    code = links.make("--ttl", "1h")
    assert links.json("resolve", code) == {
        "short_code": code,
        "http_status": 302,
        "location": URL,
        "state": "LINK_STATE_ACTIVE",
        "valid_for": "3600s",
    }
    assert rows(links.said("resolve", code))["state"] == "active"
    unknown = rows(links.said("resolve", "nobody"))
    assert unknown == {"short_code": "nobody", "http_status": "404", "state": "no such link"}


def test_refusals_name_the_options(links: Command) -> None:
    said = refused(links, "create", "javascript:x", "--alias", "a b", "--ttl", "0")
    assert [line.split()[0] for line in said] == ["URL", "--alias", "--ttl"]
    # The same field has another name where it is an option.
    assert refused(links, "update", links.make(), "--max-clicks", str(2**31))[0].startswith("--max-clicks ")


def test_refusals_as_json(links: Command) -> None:
    result = links("create", "javascript:x", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    error = json.loads(result.stderr)
    assert (error["code"], error["message"]) == ("INVALID_ARGUMENT", "url: must be absolute")
    info, bad = error["details"]
    assert (info["reason"], info["domain"]) == ("ERROR_REASON_INVALID_FIELD", "waypost")
    assert bad["field_violations"] == [{"field": "url", "description": "must be absolute"}]
    assert json.loads(links("get", "nobody", "--json").stderr)["code"] == "NOT_FOUND"


def test_nobody_answers(links: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (said,) = refused(links, "get", "x", "--server", f"127.0.0.1:{port}", code=3)
    where = "--server (WAYPOST_SERVER)"
    assert said == f"no Waypost answers at 127.0.0.1:{port}: is `waypost up` running, or is {where} wrong?"
    result = links("get", "x", "--server", f"127.0.0.1:{port}", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert json.loads(result.stderr)["code"] == "UNAVAILABLE"
    # Behind TLS there are more reasons than one.
    (said,) = refused(links, "get", "x", "--server", f"https://127.0.0.1:{port}", code=3)
    assert said.endswith("refused)")
    (said,) = refused(links, "get", "x", "--server", f"https://{links.address}", code=3)
    assert said.endswith("wrong? (no TLS there?)")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["create", URL, "--ttl", "1h", "--expires-at", "2098-01-01T00:00:00Z"], "--ttl and --expires-at exclude"),
        (["create", URL, "--expires-at", "tomorrow"], "2030-01-31T12:00:00Z"),
        (["create", URL, "--expires-at", "2030-01-31T12:00:00"], "2030-01-31T12:00:00Z"),
        (["update", "x"], "nothing to change"),
        (["update", "x", "--etag", "v1"], "nothing to change"),
        (["update", "x", "--tag", "a", "--no-tags"], "--tag and --no-tags exclude"),
        (["update", "x", "--ttl", "1h", "--no-expiry"], "--ttl and --no-expiry exclude"),
        (["update", "x", "--expires-at", "2098-01-01T00:00:00Z", "--no-expiry"], "exclude each other"),
        (["update", "x", "--max-clicks", "1", "--no-max-clicks"], "--max-clicks and --no-max-clicks exclude"),
        (["list", "--all", "--limit", "3"], "--all and --limit exclude"),
        (["get", "x", "--server", "ftp://x"], "--server must be"),
    ],
)
def test_options_that_make_no_sense(links: Command, words: list[str], hint: str) -> None:
    (said,) = refused(links, *words, code=2)
    assert hint in said
    assert hint in json.loads(links(*words, "--json").stderr)["message"]


def test_a_field_of_several_values_is_called_by_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    error = InvalidFields([FieldViolation("tags[1]", "is too long"), FieldViolation("requests[3].tags[0]", "is empty")])
    assert refuse(error, Server("127.0.0.1:8080"), as_json=False) == 1
    assert capsys.readouterr().err == "waypost: --tag is too long\nwaypost: requests[3].--tag is empty\n"
