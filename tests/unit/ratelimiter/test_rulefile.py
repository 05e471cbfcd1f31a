"""Rule files with mistakes: each is refused, and told in one line that names the file, the place and the cause."""

from __future__ import annotations

import pytest

from ratelimiter.rules import Rules, RulesError


def rules(text: str) -> Rules:
    return Rules.parse({"limits/test.yaml": text})


def one_rule(rate_limit: str, beside: str = "") -> str:
    return f"domain: d\ndescriptors:\n  - key: k\n    rate_limit: {{{rate_limit}}}\n    {beside}\n"


def problem(text: str) -> str:
    with pytest.raises(RulesError) as caught:
        rules(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rate_limit", "message"),
    [
        (
            "unit: fortnight, requests_per_unit: 1",
            ".unit: unknown unit 'fortnight' (second, minute, hour, day, week, month, year)",
        ),
        ("requests_per_unit: 1", ".unit: is missing"),
        ("unit: second", ".requests_per_unit: is missing"),
        (
            "unit: second, requests_per_unit: -1",
            ".requests_per_unit: must be a whole number from 0 to 4294967295",
        ),
        (
            "unit: second, requests_per_unit: 4294967296",
            ".requests_per_unit: must be a whole number from 0 to 4294967295",
        ),
        ("unit: second, requests_per_unit: 1.5", ".requests_per_unit: must be a whole number from 0 to 4294967295"),
        ("unit: second, requests_per_unit: [1]", ".requests_per_unit: must be a whole number from 0 to 4294967295"),
        ("unit: year, requests_per_unit: 1, multiplier: 101", ".multiplier: must be a whole number from 1 to 100"),
        ("unit: year, requests_per_unit: 1, multiplier: 0", ".multiplier: must be a whole number from 1 to 100"),
        ("unit: second, requests_per_unit: 1, burst: 5", ".burst: only a token_bucket has a burst"),
        (
            "unit: second, requests_per_unit: 1, algorithm: leaky",
            ".algorithm: unknown algorithm 'leaky' (fixed_window, sliding_window, token_bucket)",
        ),
        (
            "unit: second, requests_per_unit: 1, algorithm: token_bucket, burst: 0",
            ".burst: must be a whole number from 1 to 4294967295",
        ),
        ("unlimited: true, unit: second", ".unit: has no place in a rule that is unlimited"),
        ("unlimited: perhaps", ".unlimited: must be true or false; "),
        ("unit: second, request_per_unit: 1", ": unknown key 'request_per_unit' (did you mean requests_per_unit?)"),
        ("unit: second, requests_per_unit: 1, consistency: strict", ".consistency: is not supported"),
        ("unit: second, requests_per_unit: 1, replaces: a", ".replaces: must be a list"),
        ("unit: second, requests_per_unit: 1, replaces: [a]", ".replaces[0]: must be a mapping with a name"),
        ("unit: second, requests_per_unit: 1, replaces: [{name: ''}]", ".replaces[0].name: must not be empty"),
        ("unit: second, requests_per_unit: 1, name: a, replaces: [{name: a}]", ".replaces[0]: a rule cannot"),
    ],
)  # fmt: skip
def test_bad_rate_limits(rate_limit: str, message: str) -> None:
    assert problem(one_rule(rate_limit)).startswith("limits/test.yaml: descriptors[0].rate_limit" + message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping with the keys domain and descriptors"),
        ("- domain", "must be a mapping with the keys domain and descriptors"),
        ("descriptors: []", "domain: is missing"),
        ("domain: ''", "domain: must not be empty"),
        ("domain: [a]", "domain: must be a text"),
        (f"domain: {'x' * 256}", "domain: must be at most 255 bytes"),
        ("domain: d\nspec: 1", "unknown key 'spec' (domain, descriptors)"),
        ("domain: d\ncompat: envoyproxy", "compat: is not supported in this version"),
        ("domain: d\ndescriptors: {key: k}", "descriptors: must be a list"),
        ("domain: d\ndescriptors: [k]", "descriptors[0]: must be a mapping with a key"),
        ("domain: d\ndescriptors: [{value: v}]", "descriptors[0].key: is missing"),
        ("domain: d\ndescriptors: [{key: }]", "descriptors[0].key: must not be empty"),
        ("domain: d\ndescriptors: [{key: 'k*'}]", "descriptors[0].key: a '*' in a key is not supported"),
        (
            "domain: d\ndescriptors: [{key: k, value: v, share_threshold: true}]",
            "descriptors[0].share_threshold: needs a value with a '*'",
        ),
        (
            "domain: d\ndescriptors: [{key: k, value: v}, {key: k}, {key: k, value: v}]",
            "descriptors[2]: key 'k' and value 'v' is in descriptors[0] already",
        ),
        (
            "domain: d\ndescriptors: [{key: a, descriptors: [{key: k}, {key: k}]}]",
            "descriptors[0].descriptors[1]: key 'k' is in descriptors[0].descriptors[0] already",
        ),
        ("domain: d\ndescriptors: [{key: k, detailed_metric: true}]", "detailed_metric: is not supported"),
        ("domain: d\ndescriptors: [{key: k, metadata: {a: b}}]", "descriptors[0].metadata: is not supported"),
        ("domain: d\ndescriptors: [{key: k, limits: []}]", "descriptors[0].limits: is not supported"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: }]", "descriptors[0].rate_limit: must be a mapping"),
        ('domain: "\\ud800"', "domain: has half a surrogate pair"),
        ("domain: a\ndomain: b", "line 2: is not valid YAML: duplicate key 'domain'"),
        ("domain: a\n[k]: b", "line 2: is not valid YAML: a key must be a text"),
        ("domain: [a", "line 1: is not valid YAML: expected ',' or ']'"),
        ("domain: a\n---\ndomain: b", "line 2: is not valid YAML: but found another document"),
        ("domain: " + "[" * 10_000, "is not valid YAML: nests too deep"),
        ("domain: \x01", "is not valid YAML: unacceptable character"),
        ("domain: !!python/name:os.system a", "line 1: is not valid YAML: could not determine a constructor"),
        ("domain: d\ndescriptors: &d [{key: k, descriptors: *d}]", "descriptors nest at most 32 deep"),
    ],
)  # fmt: skip
def test_bad_files(text: str, message: str) -> None:
    assert problem(text).startswith("limits/test.yaml: ")
    assert message in problem(text)


def test_what_is_switched_off_asks_for_nothing() -> None:
    rules(one_rule("unit: second, requests_per_unit: 1", "detailed_metric: false\n    value_to_metric: false"))


def test_every_problem_of_every_file_is_told() -> None:
    with pytest.raises(RulesError) as caught:
        Rules.parse({"l/a.yaml": "domain: d\nx: 1\ny: 1\n", "l/b.yaml": "domain: d\n", "l/c.yaml": "domain: e\nz: 1\n"})
    assert caught.value.problems == [
        "l/a.yaml: unknown key 'x' (domain, descriptors)",
        "l/a.yaml: unknown key 'y' (domain, descriptors)",
        "l/b.yaml: domain: 'd' is in l/a.yaml already",
        "l/c.yaml: unknown key 'z' (domain, descriptors)",
    ]
