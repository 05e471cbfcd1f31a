"""Rules: what a file means, which rule a descriptor meets, and the folder they come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ratelimiter
from native.limits import Algorithm, Limit
from ratelimiter import ruleyaml
from ratelimiter.rules import Rule, Rules, RulesError
from ratelimiter.ruletree import matches_pattern
from waypost.model import LimitEntry

# basic_config.yaml of the reference's tests, without what concerns metrics alone.
BASIC = """
domain: test-domain
descriptors:
  - key: key1
    value: value1
    descriptors:
      - key: subkey1
        rate_limit: {unit: second, requests_per_unit: 5}
      - key: subkey1
        value: subvalue1
        rate_limit: {unit: second, requests_per_unit: 10}
  - key: key2
    rate_limit: {unit: minute, requests_per_unit: 20}
  - key: key2
    value: value2
    rate_limit: {unit: minute, requests_per_unit: 30}
  - key: key2
    value: value3
  - key: key5
    value: value5
    rate_limit: {unit: day, requests_per_unit: 15}
    descriptors:
      - key: subkey5
        value: subvalue5
        rate_limit: {unit: DAY, requests_per_unit: 25}
  - key: key6
    rate_limit: {unlimited: true}
"""


@pytest.fixture(autouse=True, params=["libyaml", "plain"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes the text apart."""
    if request.param == "plain":
        monkeypatch.setattr(ruleyaml, "QuickLoader", None)


def rules(text: str) -> Rules:
    return Rules.parse({"limits/test.yaml": text})


def one_rule(rate_limit: str, beside: str = "") -> str:
    return f"domain: d\ndescriptors:\n  - key: k\n    rate_limit: {{{rate_limit}}}\n    {beside}\n"


def only(rule: Rule | None) -> Limit:
    """The one limit of a rule that has to be there."""
    assert rule is not None
    (limit,) = rule.limits
    return limit.limit


def match(rules: Rules, *pairs: tuple[str, str], domain: str = "test-domain") -> Rule | None:
    found = rules.match(domain, [LimitEntry(*pair) for pair in pairs])
    return None if found is None else found.rule


@pytest.mark.parametrize(
    ("pairs", "limit"),
    [
        ([("key1", "value1")], None),
        ([("key1", "other"), ("subkey1", "x")], None),
        ([("key1", "value1"), ("subkey1", "x")], 5),
        ([("key1", "value1"), ("subkey1", "")], 5),
        ([("key1", "value1"), ("subkey1", "subvalue1")], 10),
        ([("key1", "value1"), ("subkey1", "subvalue1"), ("more", "x")], None),
        ([("subkey1", "subvalue1")], None),
        ([("key2", "x")], 20),
        ([("key2", "value2")], 30),
        ([("key2", "value3")], None),
        ([("key5", "value5")], 15),
        ([("key5", "value5"), ("subkey5", "subvalue5")], 25),
        ([("key5", "value5"), ("subkey5", "other")], None),
        ([("key5", "value5"), ("subkey5", "subvalue5"), ("more", "x")], None),
        ([("unknown", "x")], None),
    ],
)
def test_a_rule_applies_at_its_own_depth(pairs: list[tuple[str, str]], limit: int | None) -> None:
    rule = match(rules(BASIC), *pairs)
    if limit is None:
        assert rule is None
    else:
        assert only(rule).limit == limit


def test_no_rule_in_another_domain() -> None:
    assert match(rules(BASIC), ("key2", "x"), domain="other") is None


def test_unlimited() -> None:
    rule = match(rules(BASIC), ("key6", "x"))
    assert rule is not None
    assert rule.limits == ()


def test_a_rule_knows_its_place_and_its_counters_name() -> None:
    found = rules(BASIC).match("test-domain", [LimitEntry("key1", "value1"), LimitEntry("subkey1", "x")])
    assert found is not None
    assert found.rule.place == "test-domain.key1_value1.subkey1"
    assert found.rule.limits[0].identity == ("test-domain", "key1", "value1", "subkey1", "", "fixed_window", "1000000")
    assert found.values == ("key1", "value1", "subkey1", "x")


def test_pairs_are_not_joined() -> None:
    found = rules(
        "domain: d\ndescriptors:\n  - {key: a_b, rate_limit: {unit: second, requests_per_unit: 1}}\n"
        "  - {key: a, value: b_c, rate_limit: {unit: second, requests_per_unit: 2}}\n"
    )
    assert match(found, ("a", "b"), domain="d") is None
    assert only(match(found, ("a_b", "c"), domain="d")).limit == 1


def test_our_additions() -> None:
    rule = match(
        rules(one_rule("algorithm: token_bucket, unit: minute, multiplier: 5, requests_per_unit: 10, burst: 3")),
        ("k", "x"),
        domain="d",
    )
    assert only(rule) == Limit(Algorithm.TOKEN_BUCKET, 10, 300_000_000, 3)


def test_who_counts_and_what_happens_without_the_store() -> None:
    numbers = "unit: minute, requests_per_unit: 1"
    plain = match(rules(one_rule(numbers)), ("k", "x"), domain="d")
    said = f"{numbers}, consistency: local, on_store_failure: deny, count_rejected: true"
    other = match(rules(one_rule(said)), ("k", "x"), domain="d")
    assert plain is not None
    assert other is not None
    (one,), (two,) = plain.limits, other.limits
    assert (one.consistency, one.on_store_failure, one.count_rejected) == ("strict", "local", False)
    assert (two.consistency, two.on_store_failure, two.count_rejected) == ("local", "deny", True)
    # A counter is the same whoever counts.
    assert one.identity == two.identity


def test_a_descriptor_with_several_limits() -> None:
    found = rules(
        "domain: d\n"
        "descriptors:\n"
        "  - key: both\n"
        "    rate_limit: {name: n, unit: second, requests_per_unit: 1}\n"
        "    limits:\n"
        "      - {unit: second, requests_per_unit: 2, algorithm: token_bucket}\n"
        "      - {unit: hour, requests_per_unit: 3, replaces: [{name: m}]}\n"
        "  - key: alone\n"
        "    limits: [{unit: day, requests_per_unit: 4, name: n}]\n"
    )
    both, alone = match(found, ("both", "x"), domain="d"), match(found, ("alone", "x"), domain="d")
    assert both is not None
    assert [limit.limit.limit for limit in both.limits] == [1, 2, 3]
    assert len({limit.identity for limit in both.limits}) == 3
    assert (both.name, both.replaces) == ("n", frozenset({"m"}))
    assert alone is not None
    assert (only(alone).limit, alone.name) == (4, "n")


def test_a_file_for_the_references_accounting() -> None:
    found = rules("compat: envoyproxy\n" + BASIC)
    domain = found.domain("test-domain")
    assert domain is not None
    assert domain.compat == "envoyproxy"
    places = [rule.place for _, rule in found.listed()]
    assert all(rule.reference for _, rule in found.listed())
    assert len(places) == domain.rules == 7
    assert places[:3] == [
        "test-domain.key1_value1.subkey1",
        "test-domain.key1_value1.subkey1_subvalue1",
        "test-domain.key2",
    ]
    assert not any(rule.reference for _, rule in rules(BASIC).listed("test-domain"))


def test_wildcards_in_keys() -> None:
    found = rules(
        "domain: d\n"
        "descriptors:\n"
        "  - {key: header_*, rate_limit: {unit: second, requests_per_unit: 1}}\n"
        "  - {key: '*_id', value: a*, rate_limit: {unit: second, requests_per_unit: 2}}\n"
        "  - {key: header_x, rate_limit: {unit: second, requests_per_unit: 3}}\n"
    )
    # As in the reference, a pattern comes before a key's default.
    assert only(match(found, ("header_x", "v"), domain="d")).limit == 1
    assert only(match(found, ("user_id", "abc"), domain="d")).limit == 2
    assert match(found, ("user_id", "bc"), domain="d") is None


def test_metadata_keeps_numbers_and_flags() -> None:
    found = rules(
        "domain: d\n"
        "descriptors:\n"
        "  - key: k\n"
        "    rate_limit: {unit: second, requests_per_unit: 1}\n"
        "    metadata: {text: '5', number: 5, part: 1.5, flag: true, none: , list: [a, 2], on: {day: 2024-01-02}}\n"
        "  - {key: l, metadata: {}, rate_limit: {unit: second, requests_per_unit: 1}}\n"
    )
    rule = match(found, ("k", "x"), domain="d")
    assert rule is not None
    assert rule.metadata == {
        "text": "5",
        "number": 5,
        "part": 1.5,
        "flag": True,
        "none": None,
        "list": ["a", 2],
        "on": {"day": "2024-01-02"},
    }
    assert hash(rule) == hash(match(found, ("k", "y"), domain="d"))
    other = match(found, ("l", "x"), domain="d")
    assert other is not None
    assert other.metadata is None


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1" + "0" * 400])
def test_what_is_no_number_in_an_answer_stays_text(number: str) -> None:
    limit = "rate_limit: {unit: second, requests_per_unit: 1}"
    found = rules(f"domain: d\ndescriptors: [{{key: k, metadata: {{x: {number}}}, {limit}}}]\n")
    rule = match(found, ("k", "x"), domain="d")
    assert rule is not None
    assert rule.metadata == {"x": number}


@pytest.mark.parametrize(
    ("unit", "seconds"), [("second", 1), ("hour", 3600), ("week", 604_800), ("month", 2_592_000), ("Year", 31_536_000)]
)
def test_units(unit: str, seconds: int) -> None:
    rule = match(rules(one_rule(f"unit: {unit}, requests_per_unit: 1")), ("k", "x"), domain="d")
    assert only(rule) == Limit(Algorithm.FIXED_WINDOW, 1, seconds * 1_000_000)


def test_wildcards_come_in_the_order_of_the_file_between_value_and_default() -> None:
    found = rules(
        "domain: d\n"
        "descriptors:\n"
        "  - {key: k, rate_limit: {unit: second, requests_per_unit: 1}}\n"
        "  - {key: k, value: ab*, rate_limit: {unit: second, requests_per_unit: 2}}\n"
        "  - {key: k, value: a*z, rate_limit: {unit: second, requests_per_unit: 3}}\n"
        "  - {key: k, value: abz, rate_limit: {unit: second, requests_per_unit: 4}}\n"
    )
    limits = {}
    for value in ("x", "abc", "ab..z", "a..z", "abz", "ab*"):
        limits[value] = only(match(found, ("k", value), domain="d")).limit
    assert limits == {"x": 1, "abc": 2, "ab..z": 2, "a..z": 3, "abz": 4, "ab*": 2}


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("foo*", "foo", True),
        ("foo*", "fo", False),
        ("*foo", "a foo", True),
        ("bar*b", "barb", True),
        ("bar*b", "bar", False),
        ("ab*ba", "aba", False),
        ("foo*bar*baz", "foo.bar.baz", True),
        ("foo*bar*baz", "foobarbaz", True),
        ("foo*bar*baz", "foo.baz", False),
        ("foo*bar*baz", "foo.ba.rbaz", False),
        ("a*b*b", "ab", False),
        ("a**b", "ab", True),
    ],
)
def test_patterns(pattern: str, value: str, fits: bool) -> None:
    assert matches_pattern(pattern.split("*"), value) is fits


def test_share_threshold_makes_one_counter_of_all_values_of_a_pattern() -> None:
    found = rules(
        "domain: d\n"
        "descriptors:\n"
        "  - key: files\n"
        "    value: files/*\n"
        "    share_threshold: true\n"
        "    rate_limit: {unit: minute, requests_per_unit: 1}\n"
        "    descriptors:\n"
        "      - {key: user, rate_limit: {unit: minute, requests_per_unit: 1}}\n"
        "  - {key: files, value: own/*, rate_limit: {unit: minute, requests_per_unit: 1}}\n"
    )

    def values(*pairs: tuple[str, str]) -> tuple[str, ...]:
        hit = found.match("d", [LimitEntry(*pair) for pair in pairs])
        assert hit is not None
        return hit.values

    assert values(("files", "files/a")) == ("files", "files/*")
    assert values(("files", "files/a"), ("user", "u")) == ("files", "files/*", "user", "u")
    assert values(("files", "own/a")) == ("files", "own/a")


def test_modes_and_replaces() -> None:
    found = rules(
        one_rule(
            "name: own, unit: second, requests_per_unit: 1, replaces: [{name: a}, {name: b}]",
            "shadow_mode: yes\n    quota_mode: true",
        )
    )
    rule = match(found, ("k", "x"), domain="d")
    assert rule is not None
    assert (rule.name, rule.shadow_mode, rule.quota_mode) == ("own", True, True)
    assert rule.replaces == frozenset({"a", "b"})


def test_values_are_kept_as_written() -> None:
    found = rules(
        "domain: d\ndescriptors:\n  - {key: port, value: 0x50, rate_limit: {unit: second, requests_per_unit: 1_000}}\n"
        "  - {key: flag, value: yes, rate_limit: {unit: second, requests_per_unit: 1}}\n"
    )
    assert match(found, ("port", "0x50"), domain="d") is not None
    assert match(found, ("port", "80"), domain="d") is None
    assert match(found, ("flag", "yes"), domain="d") is not None


def test_anchors_and_merges() -> None:
    found = rules(
        "domain: d\n"
        "descriptors:\n"
        "  - {key: a, rate_limit: &minute {unit: minute, requests_per_unit: 1}}\n"
        "  - {key: b, rate_limit: {<<: *minute, requests_per_unit: 2}}\n"
    )
    rule = match(found, ("b", "x"), domain="d")
    assert only(rule) == Limit(Algorithm.FIXED_WINDOW, 2, 60_000_000)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: a\n")
    (tmp_path / "b.yml").write_text("domain: b\n")
    (tmp_path / ".hidden.yaml").write_text("domain: [\n")
    (tmp_path / "notes.txt").write_text("domain: [\n")
    assert Rules.load(tmp_path).domains == ("a", "b")


def test_folders_that_hold_no_rules(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"has no \*\.yaml or \*\.yml file"):
        Rules.load(tmp_path)
    with pytest.raises(RulesError, match=r"absent: the folder of rules cannot be read \(No such file or directory\)"):
        Rules.load(tmp_path / "absent")


def test_files_of_one_domain_are_joined_if_they_may(tmp_path: Path) -> None:
    one = "domain: d\ndescriptors: [{key: a, rate_limit: {unit: second, requests_per_unit: 1}}]\n"
    (tmp_path / "a.yaml").write_text(one)
    (tmp_path / "b.yaml").write_text(one.replace("key: a", "key: a, value: x*"))
    with pytest.raises(RulesError, match=r"b\.yaml: domain: 'd' is in .*/a\.yaml already"):
        Rules.load(tmp_path)
    found = Rules.load(tmp_path, merge_domains=True)
    domain = found.domain("d")
    assert domain is not None
    assert (domain.rules, [name.rpartition("/")[2] for name in domain.files]) == (2, ["a.yaml", "b.yaml"])
    places = [match(found, ("a", value), domain="d") for value in ("xyz", "y")]
    assert [rule and rule.place for rule in places] == ["d.a_x*", "d.a"]
    (tmp_path / "c.yaml").write_text("compat: envoyproxy\n" + one)
    with pytest.raises(RulesError) as caught:
        Rules.load(tmp_path, merge_domains=True)
    first, second = caught.value.problems
    assert "c.yaml: compat: must be the same as in" in first
    assert "c.yaml: descriptors: key 'a' is in another file of 'd' already" in second


def test_a_folder_and_its_files_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: a\n" + "#" * (4 * 1024 * 1024))
    with pytest.raises(RulesError, match=r"a\.yaml: is larger than 4 MiB$"):
        Rules.load(tmp_path)
    for number in range(5):
        (tmp_path / f"{number}.yaml").write_text("#" * (4 * 1024 * 1024))
    (tmp_path / "a.yaml").unlink()
    with pytest.raises(RulesError, match=r"4\.yaml: the files are larger than 16 MiB together$"):
        Rules.load(tmp_path)
    for number in range(1001):
        (tmp_path / f"{number}.yaml").write_text("")
    with pytest.raises(RulesError, match="has more than 1000 files"):
        Rules.load(tmp_path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(RulesError, match=r"pipe\.yaml: cannot be read \(Is not a regular file\)"):
        Rules.load(tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "limits"
    (folder / "folder.yaml").mkdir(parents=True)
    (folder / "latin.yaml").write_bytes(b"domain: \xe9\n")
    with pytest.raises(RulesError) as caught:
        Rules.load(folder)
    assert caught.value.problems == [
        "limits/folder.yaml: cannot be read (Is a directory)",
        "limits/latin.yaml: is not UTF-8",
    ]


def test_the_example_of_the_manual() -> None:
    manual = Path(__file__).resolve().parents[3] / "docs" / "limits.md"
    found = rules(manual.read_text().split("```yaml\n")[1].split("```")[0])
    keyed, free = match(found, ("api_key", "k"), domain="shop"), match(found, ("api_key", "monitoring"), domain="shop")
    assert keyed is not None
    assert [(limit.limit.capacity, limit.limit.window_us) for limit in keyed.limits] == [(20, 1_000_000), (1000, DAY)]
    assert free is not None
    assert free.limits == ()
    search = match(found, ("path", "/search/shoes"), ("remote_address", "192.0.2.7"), domain="shop")
    assert only(search) == Limit(Algorithm.FIXED_WINDOW, 30, MINUTE)


MINUTE, DAY = 60_000_000, 86_400_000_000


@pytest.mark.parametrize(
    ("route_class", "who", "limit", "window", "burst"),
    [
        ("create", "remote_address", 30, MINUTE, 120),
        ("create", "principal", 6000, MINUTE, 12000),
        ("create", "workspace", 30000, MINUTE, 60000),
        ("write", "remote_address", 1200, MINUTE, 2400),
        ("write", "principal", 6000, MINUTE, 12000),
        ("write", "workspace", 30000, MINUTE, 60000),
        ("read", "remote_address", 6000, MINUTE, 6000),
        ("read", "principal", 30000, MINUTE, 30000),
        ("read", "workspace", 150000, MINUTE, 150000),
        ("report", "remote_address", 100, DAY, 10),
        ("report", "principal", 1000, DAY, 100),
    ],
)
def test_the_rules_that_come_with_the_product(route_class: str, who: str, limit: int, window: int, burst: int) -> None:
    found = Rules.load(Path(ratelimiter.__path__[0]) / "limits")
    rule = match(found, ("route_class", route_class), (who, "192.0.2.7"), domain="waypost")
    assert rule is not None
    assert rule.place == f"waypost.route_class_{route_class}.{who}"
    assert only(rule) == Limit(Algorithm.TOKEN_BUCKET, limit, window, burst)
