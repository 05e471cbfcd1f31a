"""`waypost limits explain`, `rules`, `reset` and `overrides`, against a server by the contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tests.unit.cli.conftest import Command, fresh
from waypost import errors
from waypost.cli.limits.online import NAMES
from waypost.cli.refusals import sentences
from waypost.client.channel import Server

NASTY = "a\x1b[2Jb\u202ec"


def descriptor() -> list[str]:
    """One that no test has used."""
    return ["route=buy", f"key={fresh()}"]


def test_explaining_a_descriptor(waypost: Command) -> None:
    words = descriptor()
    assert waypost.said("limits", "explain", "shop", *words).splitlines() == [
        "the rule at route, key",
        "  rule shop.route.key",
        "  2 each 60s, fixed_window, strict",
        "    2 left, admits; again as new in 60s",
        f"    counter of {' '.join(words)}",
        "allowed now",
    ]
    assert waypost.said("limits", "explain", "shop", *words, "--hits", "3").splitlines()[-1] == "refused now"
    assert waypost.said("limits", "explain", "shop", "other") == "no rule at this depth\nallowed now\n"
    explained = waypost.json("limits", "explain", "shop", *words)
    assert explained == {
        "allowed": True,
        "descriptors": [
            {
                "rule": "shop.route.key",
                "reason": "the rule at route, key",
                "limits": [
                    {
                        "algorithm": "fixed_window",
                        "limit": 2,
                        "window": "60s",
                        "burst": 2,
                        "consistency": "strict",
                        "counter": [{"key": "route", "value": "buy"}, {"key": "key", "value": words[1][4:]}],
                        "allowed": True,
                        "remaining": 2,
                        "reset_after": "60s",
                    }
                ],
                "overridden": False,
            }
        ],
        "generation": 3,
    }
    assert waypost.refused("limits", "explain", "", *words) == "DOMAIN rate limit domain must not be empty"
    assert waypost("limits", "explain", "shop").exit_code == 2
    assert waypost("limits", "explain", "shop", *words, "--hits", "0").exit_code == 2


def test_what_an_override_does_is_explained(waypost: Command) -> None:
    words = descriptor()
    waypost.said("limits", "overrides", "set", "shop", *words, "--unlimited")
    assert waypost.said("limits", "explain", "shop", *words).splitlines()[1:] == [
        "  rule shop.route.key, its numbers by an override",
        "  unlimited",
        "allowed now",
    ]


def test_rules(waypost: Command) -> None:
    assert [line.split() for line in waypost.said("limits", "rules").splitlines()] == [
        ["RULE", "LIMITS", "MODE"],
        ["shop.route.key", "2", "each", "60s,", "fixed_window,", "strict", "shadow"],
        ["shop.free", "unlimited"],
    ]
    found = waypost.json("limits", "rules", "--domain", "shop")
    assert (found["generation"], found["loaded_at"], found["problems"]) == (3, "2031-01-01T00:00:00Z", [])
    assert [rule["rule"] for rule in found["rules"]] == ["shop.route.key", "shop.free"]
    nothing = waypost("limits", "rules", "--domain", "other")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "no rules\n")


def test_resetting(waypost: Command) -> None:
    words = descriptor()
    said = waypost.said("limits", "reset", "shop", *words)
    assert said == f"0 counters of {' '.join(words)} forgotten\n"
    assert waypost.json("limits", "reset", "shop", *words, "--of", "w") == {"counters": 0}


def test_overrides_are_set_listed_and_deleted(waypost: Command) -> None:
    words, domain = descriptor(), fresh()
    limit = ("--limit", "100", "--per", "minute", "--burst", "200", "--reason", "a sale")
    end = ("--expires-at", "2031-02-01T00:00:00Z")
    made = waypost.json("limits", "overrides", "set", domain, *words, *limit, *end)
    override_id = made["override_id"]
    assert made == {
        "override_id": override_id,
        "domain": domain,
        "entries": [{"key": "route", "value": "buy"}, {"key": "key", "value": words[1][4:]}],
        "unlimited": False,
        "requests_per_unit": 100,
        "unit": "LIMIT_UNIT_MINUTE",
        "burst": 200,
        "reason": "a sale",
        "expires_at": "2031-02-01T00:00:00Z",
        "created_at": made["created_at"],
        "created_by": "key:tester",
    }
    other = descriptor()
    said = waypost.said("limits", "overrides", "set", domain, *other, "--unlimited")
    assert said.startswith(f"{' '.join(other)}: unlimited (")
    table = waypost.said("limits", "overrides", "list", "--domain", domain).splitlines()
    assert table[0].split() == ["ID", "DOMAIN", "DESCRIPTOR", "LIMIT", "EXPIRES", "REASON", "SET", "BY"]
    assert f"{' '.join(words)}  100 per minute, burst 200  2031-02-01  a sale  2031-01-01  key:tester" in table[2]
    listed = waypost.json("limits", "overrides", "list", "--domain", domain)
    assert [one["unit"] for one in listed] == ["LIMIT_UNIT_UNSPECIFIED", "LIMIT_UNIT_MINUTE"]
    assert "burst" in json.loads(waypost.said("limits", "overrides", "list", "--all", "--json").splitlines()[0])

    said = waypost.said("limits", "overrides", "delete", override_id)
    assert said == f"{' '.join(words)}: 100 per minute, burst 200 no longer ({override_id})\n"
    assert waypost.refused("limits", "overrides", "delete", override_id) == f"no override {override_id!r} here"
    assert len(waypost.json("limits", "overrides", "list", "--domain", domain)) == 1
    assert waypost("limits", "overrides", "list", "--domain", "nothing").stderr == "no overrides\n"


def test_an_override_may_end_after_some_time(waypost: Command) -> None:
    before = datetime.now(UTC)
    made = waypost.json("limits", "overrides", "set", fresh(), "a=b", "--unlimited", "--ttl", "2h")
    length = datetime.fromisoformat(made["expires_at"]) - before
    assert timedelta(hours=2) <= length < timedelta(hours=2, minutes=5)


def test_options_that_make_no_sense(waypost: Command) -> None:
    put = ("limits", "overrides", "set", "shop", "a=b")
    assert waypost.refused(*put, code=2) == "give --limit and --per, or else --unlimited"
    assert waypost.refused(*put, "--limit", "1", "--unlimited", code=2) == "give --limit and --per, or else --unlimited"
    both = ("--ttl", "1h", "--expires-at", "2031-02-01T00:00:00Z")
    assert waypost.refused(*put, "--unlimited", *both, code=2) == "--ttl and --expires-at exclude each other: give one"
    assert waypost.refused(*put, "--limit", "1") == "--per is missing"
    for wrong in (("--limit", "-1"), ("--limit", str(2**32)), ("--limit", "x"), ("--limit", "1", "--per", "fortnight")):
        assert waypost(*put, *wrong).exit_code == 2


def test_fields_have_the_names_of_the_command_line() -> None:
    fields = {
        "domain": "DOMAIN",
        "entries": "KEY=VALUE",
        "unit": "--per",
        "requests_per_unit": "--limit",
        "burst": "--burst",
        "expires_at": "--expires-at",
        "reason": "--reason",
    }
    error = errors.InvalidFields([errors.FieldViolation(field, "is wrong") for field in fields])
    said = list(sentences(error, Server("localhost:1"), NAMES))
    assert said == [f"{name} is wrong" for name in fields.values()]


def test_texts_do_nothing_to_a_terminal(waypost: Command) -> None:
    domain = fresh()
    put = ("limits", "overrides", "set", domain, f"key={NASTY}", "--unlimited", "--reason", NASTY)
    said = waypost.said(*put)
    table = waypost.said("limits", "overrides", "list", "--domain", domain)
    explained = waypost.said("limits", "explain", "shop", "route=buy", f"key={NASTY}")
    for text in (said, table, explained, waypost.said(*put, "--json")):
        assert all(char.isprintable() or char == "\n" for char in text)
    assert waypost.json("limits", "overrides", "list", "--domain", domain)[0]["reason"] == NASTY
