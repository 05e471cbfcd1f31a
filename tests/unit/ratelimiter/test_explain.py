"""Explanations: which rule a descriptor meets, by what, or where the search for one ends."""

from __future__ import annotations

import pytest

from ratelimiter.explain import Explanation, explain_match
from ratelimiter.rules import Rules
from waypost.model import LimitEntry

LIMIT = "rate_limit: {unit: second, requests_per_unit: 1}"

RULES = Rules.parse(
    {
        "limits/d.yaml": f"""
domain: d
descriptors:
  - {{key: path, value: /api/*, share_threshold: true, {LIMIT}}}
  - {{key: path, value: /static, rate_limit: {{unlimited: true}}}}
  - key: path
    descriptors:
      - {{key: user, {LIMIT}, limits: [{{unit: day, requests_per_unit: 9}}]}}
      - {{key: user, value: free}}
"""
    }
)


def explain(*pairs: tuple[str, str], domain: str = "d") -> Explanation:
    return explain_match(RULES, domain, [LimitEntry(*pair) for pair in pairs])


@pytest.mark.parametrize(
    ("pairs", "reason", "steps"),
    [
        (
            [("path", "/api/x")],
            "meets the rule d.path_/api/*, with one limit",
            ["descriptor path_/api/*, by its pattern, with one counter for all values"],
        ),
        (
            [("path", "/static")],
            "meets the rule d.path_/static, which is unlimited",
            ["descriptor path_/static, exactly"],
        ),
        (
            [("path", "/other"), ("user", "u")],
            "meets the rule d.path.user, with 2 limits",
            [
                "descriptor path, for any value that has none of its own",
                "descriptor user, for any value that has none of its own",
            ],
        ),
    ],
)
def test_a_rule_that_is_met(pairs: list[tuple[str, str]], reason: str, steps: list[str]) -> None:
    found = explain(*pairs)
    assert found.match is not None
    assert found.match == RULES.match("d", [LimitEntry(*pair) for pair in pairs])
    assert (found.reason, [step.says for step in found.path]) == (reason, steps)


@pytest.mark.parametrize(
    ("pairs", "reason", "last"),
    [
        (
            [("host", "x")],
            "no rule: below d nothing is for host=x; there are other keys: path_/api/*, path_/static, path",
            "no descriptor for it here",
        ),
        (
            [("path", "/other")],
            "no rule: d.path has no limit of its own; the next entry would have to be for one of user, user_free",
            "descriptor path, for any value that has none of its own",
        ),
        (
            [("path", "/other"), ("user", "free")],
            "no rule: d.path.user_free has neither rate_limit nor limits, which lets its requests pass",
            "descriptor user_free, exactly",
        ),
        (
            [("path", "/static"), ("user", "u")],
            "no rule: d.path_/static nests no descriptors, so nothing is for user=u; a rule applies at its own depth",
            "no descriptor for it here",
        ),
    ],
)
def test_why_there_is_none(pairs: list[tuple[str, str]], reason: str, last: str) -> None:
    found = explain(*pairs)
    assert found.match is None
    assert (found.reason, found.path[-1].says) == (reason, last)
    assert RULES.match("d", [LimitEntry(*pair) for pair in pairs]) is None


def test_values_that_are_not_there() -> None:
    rules = Rules.parse({"a": "domain: d\ndescriptors: [{key: k, value: a}, {key: k, value: b}]\n"})
    found = explain_match(rules, "d", [LimitEntry("k", "c")])
    assert found.reason == "no rule: below d nothing is for k=c; there are other values of its key: k_a, k_b"


def test_not_all_that_would_have_matched_are_named() -> None:
    many = ", ".join(f"{{key: k{number}}}" for number in range(20))
    rules = Rules.parse({"a": f"domain: d\ndescriptors: [{many}]\n"})
    found = explain_match(rules, "d", [LimitEntry("x", "")])
    assert found.reason.endswith("there are other keys: k0, k1, k2, k3, k4, k5, k6, k7 and 12 more")


@pytest.mark.parametrize(
    ("domain", "pairs", "reason"),
    [
        ("e", [("path", "x")], "no rules for the domain 'e'"),
        ("d", [("key", "x")], "no rule: below d nothing is for key=x"),
        ("d", [("path", "x"), ("user", "y"), ("z", "")], "no rule: d.path.user nests no descriptors"),
        ("d", [("path", "x")], "no rule: d.path has no limit of its own"),
        ("d", [("path", "x"), ("user", "y")], "meets the rule d.path.user, with 2 limits"),
    ],
)
def test_strangers_hear_of_no_rule_that_they_did_not_ask_about(
    domain: str, pairs: list[tuple[str, str]], reason: str
) -> None:
    found = explain_match(RULES, domain, [LimitEntry(*pair) for pair in pairs], name_others=False)
    assert found.reason.startswith(reason)
    for secret in ("/api/", "/static", "free", "some for"):
        assert secret not in found.reason
    assert found.match == explain_match(RULES, domain, [LimitEntry(*pair) for pair in pairs]).match


def test_no_such_domain() -> None:
    found = explain(("path", "x"), domain="e")
    assert (found.match, found.path) == (None, ())
    assert found.reason == "no rules for the domain 'e'; there are some for d"
