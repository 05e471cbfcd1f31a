"""`waypost whoami`, `workspaces`, `members` and `keys`."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.account_server import HERE, AccountServer
from tests.support.answering import Call
from tests.support.link_server import serving
from tests.support.process import environment
from tests.unit.cli.conftest import Command, fresh
from waypost import errors

WAYPOST = Path(sys.executable).parent / "waypost"

# What a terminal would obey: colours, a title, a line break, and marks that turn the direction of text.
NASTY = "a\x1b[31m\x1b]0;t\x07\x9b2J\nb\u202ec\u2066d\u200f"
PLAIN = "a [31m ]0;t  2J b c d "


def rows(text: str) -> dict[str, str]:
    """A card's fields."""
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def test_whoami(waypost: Command) -> None:
    assert rows(waypost.said("whoami", WAYPOST_API_KEY="wp_me.secret")) == {
        "principal": "key:me",
        "workspace_id": HERE,
        "role": "viewer",
        "scopes": "links:read, workspace:read",
    }
    assert rows(waypost.said("whoami")) == {
        "principal": "anonymous",
        "workspace_id": "(none)",
        "role": "(none)",
        "scopes": "(none)",
    }
    assert waypost.json("whoami") == {
        "principal": "anonymous",
        "workspace_id": "",
        "role": "ROLE_UNSPECIFIED",
        "scopes": [],
    }


def test_workspaces(waypost: Command) -> None:
    name = fresh()
    made = waypost.said("workspaces", "create", name, "--owner", "ann")
    assert re.fullmatch(r"[0-9a-f-]{36}\n", made)
    assert waypost.json("workspaces", "create", name)["name"] == name
    table = waypost.said("workspaces", "list", "--all")
    assert table.splitlines()[0].split() == ["ID", "NAME", "CREATED"]
    assert f"{made.strip()}  {name}" in table
    assert {one["workspace_id"] for one in waypost.json("workspaces", "list")} >= {HERE, made.strip()}
    assert waypost.said("workspaces", "rename", "There") == f"{HERE} is called There now\n"
    assert rows(waypost.said("workspaces", "show"))["name"] == "There"
    assert waypost.refused("workspaces", "create", "") == "NAME must be 1 to 128 characters"


def test_members(waypost: Command) -> None:
    ann, bob = fresh(), fresh()
    assert waypost.said("members", "add", ann, "--role", "owner", "--name", "Ann") == f"added {ann} as owner\n"
    assert waypost.json("members", "add", bob, "--role", "viewer")["role"] == "ROLE_VIEWER"
    assert waypost.refused("members", "add", bob, "--role", "viewer") == f"'{bob}' is a member of this workspace"
    assert waypost.said("members", "set", bob, "--role", "editor") == f"updated {bob}, editor\n"
    assert waypost.json("members", "set", bob, "--name", "Bob")["role"] == "ROLE_EDITOR"
    table = waypost.said("members", "list", "--all")
    assert table.splitlines()[0].split() == ["SUBJECT", "ROLE", "ADDED", "NAME"]
    assert re.search(rf"^{bob} +editor +2031-01-01  Bob$", table, re.MULTILINE)
    assert waypost.said("members", "remove", bob) == f"removed {bob}, who was editor\n"
    assert waypost.refused("members", "remove", bob) == f"no member '{bob}' here"
    assert "is the only owner" in waypost.refused("members", "remove", ann)
    assert waypost.refused("members", "set", ann, code=2) == "nothing to change: give --role or --name"
    assert waypost.refused("members", "add", "", "--role", "viewer").startswith("SUBJECT must be 1 to 255")


def test_a_key_stands_alone_on_standard_output(waypost: Command) -> None:
    name = fresh()
    result = waypost("keys", "create", name, "--role", "viewer")
    secret = result.stdout.strip()
    assert re.fullmatch(r"wp_[0-9a-f]{16}\.s{43}", secret)
    assert result.stdout == f"{secret}\n"
    assert result.stderr == f"waypost: this is the key {name} (viewer); it cannot be read again, so keep it safe\n"
    # And nothing else is said, if that is what is wanted.
    assert re.fullmatch(r"wp_[0-9a-f]{16}\.s{43}\n", waypost.said("keys", "create", name, "--quiet"))
    made = waypost.json("keys", "create", name, "--scope", "links:read", "--ttl", "7d")
    assert made["secret"].startswith(f"wp_{made['key']['key_id']}.")
    assert (made["key"]["scopes"], made["key"]["expires_at"]) == (["links:read"], "2031-01-08T00:00:00Z")


def test_no_command_shows_a_secret_again(waypost: Command) -> None:
    name = fresh()
    secret = waypost.said("keys", "create", name, "--quiet").strip()
    key_id = secret[3:19]
    said = [
        waypost.said("keys", *words, *as_json)
        for words in (("list", "--all"), ("show", key_id), ("revoke", key_id), ("show", secret))
        for as_json in ([], ["--json"])
    ]
    assert all(key_id in one for one in said)
    assert not any("sss" in one for one in said)


def test_keys(waypost: Command) -> None:
    name = fresh()
    key = waypost.json("keys", "create", name, "--expires-at", "2033-01-01T00:00:00Z")["key"]
    gone = waypost.json("keys", "create", name, "--expires-at", "2020-01-01T00:00:00Z")["key"]
    assert waypost.json("keys", "show", key["key_id"]) == key
    assert rows(waypost.said("keys", "show", key["key_id"]))["role"] == "editor"
    # A whole key is what people have at hand when it was found where it should not be.
    found = f"wp_{key['key_id']}.{'s' * 43}"
    assert waypost.said("keys", "revoke", found) == f"revoked {key['key_id']}, {name}\n"
    assert "revoked_at" in waypost.json("keys", "show", found)
    table = waypost.said("keys", "list", "--all").splitlines()
    assert table[0].split()[:5] == ["ID", "STATE", "ROLE", "CREATED", "EXPIRES"]
    states = {line.split()[0]: line.split()[1] for line in table[1:]}
    assert (states[key["key_id"]], states[gone["key_id"]]) == ("revoked", "expired")
    assert waypost.refused("keys", "revoke", "wp_none.hunter2") == "no key 'none' here"
    assert waypost.refused("keys", "create", "") == "NAME must be 1 to 128 characters"
    both = waypost.refused("keys", "create", "k", "--ttl", "1d", "--expires-at", "2033-01-01T00:00:00Z", code=2)
    assert both == "--ttl and --expires-at exclude each other: give one"


def test_a_key_that_cannot_be_printed_is_to_be_revoked(waypost: Command) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [WAYPOST, "keys", "create", "lost"],
            env=environment(WAYPOST_SERVER=waypost.address, WAYPOST_DATA_DIR="/nonexistent"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=30,
        )
    lost = re.fullmatch(
        r"waypost: the key (\w+) was made, but could not be printed: No space left on device; "
        r"revoke it with `waypost keys revoke \1`\n",
        done.stderr,
    )
    assert done.returncode == 1
    assert lost is not None, done.stderr
    assert waypost.json("keys", "show", lost[1])["name"] == "lost"


async def test_a_key_whose_answer_was_lost_may_be_there(capfd: pytest.CaptureFixture[str]) -> None:
    server = AccountServer()

    async def lose(call: Call) -> None:
        raise errors.DependencyUnavailable("postgres")

    server.after = lose
    async with serving(server) as port:
        process = await asyncio.create_subprocess_exec(
            WAYPOST,
            "keys",
            "create",
            "lost",
            env=environment(WAYPOST_SERVER=f"127.0.0.1:{port}", WAYPOST_DATA_DIR="/nonexistent"),
        )
        assert await asyncio.wait_for(process.wait(), 30) == 3
    # Asked for once: a second attempt would have made a second key.
    assert len(server.keys) == len(server.calls) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (
        "waypost: it may have been made all the same: if `waypost keys list` shows it, revoke it\n"
        "waypost: postgres does not answer; try again in 1 s\n"
    )


@pytest.mark.parametrize("group", ["workspaces", "members", "keys"])
def test_a_list_has_a_limit(waypost: Command, group: str) -> None:
    for _ in range(2):
        more = {"workspaces": ["create"], "members": ["add", "--role", "viewer"], "keys": ["create", "--quiet"]}[group]
        waypost.said(group, *more, fresh())
    result = waypost(group, "list", "--limit", "1")
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "the first 1; more with --limit N, all with --all\n"
    lines = waypost.said(group, "list", "--all", "--json").splitlines()
    assert len([json.loads(line) for line in lines]) >= 2
    assert waypost.refused(group, "list", "--all", "--limit", "1", code=2) == (
        "--all and --limit exclude each other: give one"
    )


def test_what_a_terminal_would_obey_is_not_printed(waypost: Command) -> None:
    subject = fresh()
    waypost.said("members", "add", subject, "--role", "viewer", "--name", NASTY)
    key = waypost.json("keys", "create", NASTY)["key"]
    said = {
        "members": waypost.said("members", "list", "--all"),
        "keys": waypost.said("keys", "list", "--all"),
        "card": waypost.said("keys", "show", key["key_id"]),
        "sentence": waypost.said("keys", "revoke", key["key_id"]),
    }
    for where, text in said.items():
        assert PLAIN.strip() in text, where
        assert all(char.isprintable() or char == "\n" for char in text), where
    for words in (("members", "list"), ("keys", "list", "--all"), ("keys", "show", key["key_id"])):
        text = waypost.said(*words, "--json")
        assert all(char.isprintable() or char == "\n" for char in text), words
        assert "\\u001b" in text
    # Yet nothing is lost for programs.
    assert waypost.json("keys", "show", key["key_id"])["name"] == NASTY
