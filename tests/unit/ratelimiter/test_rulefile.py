"""Rule files with mistakes: each is refused, and told in one line that names the file, the place and the cause."""

from __future__ import annotations

import pytest

from ratelimiter import ruleyaml
from ratelimiter.rules import Rules, RulesError


@pytest.fixture(autouse=True, params=["libyaml", "plain"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes the text apart."""
    if request.param == "plain":
        monkeypatch.setattr(ruleyaml, "QuickLoader", None)


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
            ".unit: invalid rate limit unit 'fortnight' (second, minute, hour, day, week, month, year)",
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
        (
            "unit: second, requests_per_unit: 1, consistency: lax",
            ".consistency: unknown consistency 'lax' (strict, local)",
        ),
        (
            "unit: second, requests_per_unit: 1, on_store_failure: [deny]",
            ".on_store_failure: unknown on_store_failure ['deny'] (allow, deny, local)",
        ),
        ("unit: second, requests_per_unit: 1, count_rejected: 2", ".count_rejected: must be true or false"),
        (
            "unit: second, requests_per_unit: 1, shadow_mode: true",
            ": 'shadow_mode' has no place here: it belongs on the descriptor, beside rate_limit",
        ),
        ("unlimited: true, count_rejected: true", ".count_rejected: has no place in a rule that is unlimited"),
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
        ("domain: d\nspec: 1", "unknown key 'spec' (domain, descriptors, compat)"),
        ("domain: d\ncompat: nginx", "compat: unknown compat 'nginx' (none, envoyproxy)"),
        ("domain: d\nkey: k", "'key' has no place here: it belongs in the list of descriptors"),
        ("domain: d\ndescriptors: {key: k}", "descriptors: must be a list"),
        ("domain: d\ndescriptors: [k]", "descriptors[0]: must be a mapping with a key"),
        ("domain: d\ndescriptors: [{value: v}]", "descriptors[0].key: is missing"),
        ("domain: d\ndescriptors: [{key: }]", "descriptors[0].key: must not be empty"),
        (
            "domain: d\ndescriptors: [{key: k, value: v, share_threshold: true}]",
            "descriptors[0].share_threshold: needs a value with a '*', whose values share one counter",
        ),
        (
            "domain: d\ndescriptors: [{key: k, value: v}, {key: k}, {key: k, value: v}]",
            "descriptors[2]: key 'k' and value 'v' is in descriptors[0] already",
        ),
        (
            "domain: d\ndescriptors: [{key: a, descriptors: [{key: k}, {key: k}]}]",
            "descriptors[0].descriptors[1]: key 'k' is in descriptors[0].descriptors[0] already",
        ),
        ("domain: d\ndescriptors: [{key: k, burst: 2}]", "'burst' has no place here: it belongs in rate_limit"),
        ("domain: d\ndescriptors: [{key: k, compat: x}]", "'compat' has no place here: it belongs at the top of the"),
        ("domain: d\ndescriptors: [{key: k, metadata: [a]}]", "descriptors[0].metadata: must be a mapping"),
        ('domain: d\ndescriptors: [{key: k, metadata: {a: "\\ud800"}}]', "metadata: has half a surrogate pair"),
        ("domain: d\ndescriptors: [{key: k, metadata: &m {a: *m}}]", "metadata: must nest at most 16 deep"),
        (
            "domain: d\ndescriptors: [{key: k, metadata: {a: [" + "x, " * 1000 + "]}}]",
            "metadata: must have at most 1000 values",
        ),
        ("domain: d\ndescriptors: [{key: k, limits: }]", "descriptors[0].limits: must not be empty"),
        ("domain: d\ndescriptors: [{key: k, limits: []}]", "descriptors[0].limits: must not be empty"),
        ("domain: d\ndescriptors: [{key: k, limits: {}}]", "descriptors[0].limits: must be a list"),
        ("domain: d\ndescriptors: [{key: k, limits: [1]}]", "limits[0]: must be a mapping with unit and"),
        (
            "domain: d\ndescriptors: [{key: k, limits: [{unlimited: true, unit: day, requests_per_unit: 1}]}]",
            "limits[0]: 'unlimited' has no place here: it belongs in rate_limit",
        ),
        (
            "domain: d\ndescriptors: [{key: k, rate_limit: {unlimited: true}, limits: [{unit: day}]}]",
            "descriptors[0].limits: has no place beside a rate_limit that is unlimited",
        ),
        (
            "domain: d\ndescriptors:\n- key: k\n  rate_limit: {unit: minute, requests_per_unit: 1}\n"
            "  limits: [{unit: second, multiplier: 60, requests_per_unit: 9}]",
            "descriptors[0].limits[0]: this descriptor has another fixed_window of 60 s already",
        ),
        (
            "domain: d\ndescriptors:\n- key: k\n  rate_limit: {name: a, unit: minute, requests_per_unit: 1}\n"
            "  limits: [{name: b, unit: second, requests_per_unit: 9}]",
            "descriptors[0].limits[0].name: the limits of a descriptor are one rule, and it is called 'a' already",
        ),
        (
            "domain: d\ndescriptors: [{key: k, limits: [" + "{unit: day, requests_per_unit: 1}, " * 17 + "]}]",
            "descriptors[0].limits: must be at most 16",
        ),
        (
            "domain: d\ncompat: envoyproxy\ndescriptors: [{key: k, limits: [{unit: day, requests_per_unit: 1}]}]",
            "limits: has no place with compat: envoyproxy",
        ),
        (
            "domain: d\ncompat: envoyproxy\n"
            "descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1, algorithm: sliding_window}}]",
            "algorithm: a sliding_window has no place with compat: envoyproxy",
        ),
        (
            "domain: d\ncompat: envoyproxy\n"
            "descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1, count_rejected: true}}]",
            "count_rejected: has no place with compat: envoyproxy",
        ),
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
        (
            "a0: &a0 {"
            + ", ".join(f"k{n}: 1" for n in range(600))
            + "}\na1: &a1 {<<: [*a0, *a0]}\na2: {<<: [*a1, *a1]}",
            "is not valid YAML: a mapping has at most 1000 keys",
        ),
    ],
)  # fmt: skip
def test_bad_files(text: str, message: str) -> None:
    assert problem(text).startswith("limits/test.yaml: ")
    assert message in problem(text)


def test_every_problem_of_every_file_is_told() -> None:
    with pytest.raises(RulesError) as caught:
        Rules.parse({"l/a.yaml": "domain: d\nx: 1\ny: 1\n", "l/b.yaml": "domain: d\n", "l/c.yaml": "domain: e\nz: 1\n"})
    assert caught.value.problems == [
        "l/a.yaml: unknown key 'x' (domain, descriptors, compat)",
        "l/a.yaml: unknown key 'y' (domain, descriptors, compat)",
        "l/b.yaml: domain: 'd' is in l/a.yaml already (WAYPOST_LIMITS_MERGE_DOMAINS=true joins them)",
        "l/c.yaml: unknown key 'z' (domain, descriptors, compat)",
    ]


def test_no_more_problems_are_told_than_anybody_reads() -> None:
    with pytest.raises(RulesError) as caught:
        rules("domain: d\ndescriptors: [" + "{key: ''}, " * 150 + "]")
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "and 50 more"


def test_what_aliases_repeat_is_bounded() -> None:
    def level(name: str, inner: str) -> str:
        return f"{name}: &{name} [" + ", ".join(f"{{key: k{n}{inner}}}" for n in range(50)) + "]\n"

    text = level("a", "") + level("b", ", descriptors: *a") + level("c", ", descriptors: *b")
    assert "there are more than 100000 descriptors in all files" in problem(f"{text}domain: d\ndescriptors: *c\n")


@pytest.mark.parametrize(
    "text",
    [
        f"domain: d\ncompat: {'x' * 100_000}\n",
        one_rule(f"unit: {'u' * 100_000}, requests_per_unit: 1"),
        f"domain: d\n? {'k' * 100_000}\n: 1\n",
    ],
)
def test_what_is_told_of_a_mistake_is_short_however_long_that_is(text: str) -> None:
    with pytest.raises(RulesError) as caught:
        rules(text)
    assert all(len(line) <= 1001 for line in caught.value.problems)


def test_a_limit_replaces_a_bounded_number_of_rules() -> None:
    names = ", ".join(f"{{name: n{number}}}" for number in range(101))
    assert problem(one_rule(f"unit: second, requests_per_unit: 1, replaces: [{names}]")).endswith(
        ".replaces: must be at most 100"
    )


def test_metadata_that_an_alias_repeats_is_made_once() -> None:
    found = rules(
        "domain: d\ndescriptors:\n"
        "  - {key: a, metadata: &m {x: [1, 2]}, rate_limit: {unit: second, requests_per_unit: 1}}\n"
        "  - {key: b, metadata: *m, rate_limit: {unit: second, requests_per_unit: 1}}\n"
        "  - {key: c, rate_limit: {unit: second, requests_per_unit: 1}}\n"
    )
    first, second, third = (rule.metadata for _, rule in found.listed())
    assert (first, third) == ({"x": [1, 2]}, None)
    assert first is second
