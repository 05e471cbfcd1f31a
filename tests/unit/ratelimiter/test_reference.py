"""What envoyproxy/ratelimit's own tests expect of it, replayed: loading, matching and, by `compat`, accounting."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from native import Table
from ratelimiter.handlers import Checker
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from ratelimiter.results import CheckResult, DescriptorStatus
from ratelimiter.rulebook import RuleBook
from ratelimiter.rulelimits import UNITS
from ratelimiter.rules import Rules, RulesError
from waypost.model import LimitEntry

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "reference"

SECOND_US = 1_000_000

Case = dict[str, Any]


def cases(name: str) -> list[Any]:
    """The cases of a file, by their names."""
    found = yaml.safe_load((VECTORS / f"{name}.yaml").read_text())
    return [pytest.param(case, id=case["name"]) for case in found]


@pytest.mark.parametrize("case", cases("loading"))
def test_loading(case: Case) -> None:
    texts = {f"limits/{number}.yaml": text for number, text in enumerate(case["files"])}
    if "refused" not in case:
        Rules.parse(texts, merge_domains=case.get("merge_domains", False))
        return
    with pytest.raises(RulesError) as caught:
        Rules.parse(texts, merge_domains=case.get("merge_domains", False))
    assert case["refused"] in str(caught.value)


@pytest.mark.parametrize("case", cases("matching"))
def test_matching(case: Case) -> None:
    texts = {"limits/a.yaml": case["rules"]} | ({"limits/b.yaml": case["more"]} if "more" in case else {})
    rules = Rules.parse(texts, merge_domains=case.get("merge_domains", False))
    for ask in case["asks"]:
        match = rules.match(ask.get("domain", rules.domains[0]), [LimitEntry(*entry) for entry in ask["entries"]])
        if "place" not in ask:
            assert match is None, ask
            continue
        assert match is not None, ask
        rule = match.rule
        assert rule.place == ask["place"]
        assert (match.metric_place or rule.place) == ask.get("metric", rule.place)
        assert list(match.values) == ask.get("counter", [text for entry in ask["entries"] for text in entry])
        assert (rule.name, rule.shadow_mode, rule.metadata) == (
            ask.get("name", ""), ask.get("shadow_mode", False), ask.get("metadata"),
        )  # fmt: skip
        limits = [(limit.limit.limit, limit.limit.window_us) for limit in rule.limits]
        assert limits == ([(ask["limit"], UNITS[ask["unit"]] * SECOND_US)] if "limit" in ask else [])


@pytest.mark.parametrize("case", cases("accounting"))
async def test_accounting(case: Case) -> None:
    rules = Rules.parse({"limits/a.yaml": case["rules"]})
    shadow_mode = case.get("shadow_mode", False)
    checker = Checker(
        RuleBook(rules, datetime.now(UTC)), Table(), lambda: case["now"] * SECOND_US, shadow_mode=shadow_mode
    )
    for request in case["requests"]:
        before = request.get("before", [])
        for index, hits in enumerate(before):
            if hits:
                await checker.check(asked(rules, request, [request["descriptors"][index]], [hits]))
        each = request.get("each", [None] * len(request["descriptors"]))
        result = await checker.check(asked(rules, request, request["descriptors"], each))
        assert seen(result, shadow_mode=shadow_mode) == (request["code"], request["statuses"]), request


def asked(rules: Rules, request: Case, descriptors: list[Any], each: list[int | None]) -> LimitRequest:
    """The request with these descriptors."""
    numbers = request.get("override")
    override = LimitNumbers(numbers["requests_per_unit"], UNITS[numbers["unit"]] * SECOND_US) if numbers else None
    return LimitRequest(
        request.get("domain", rules.domains[0]),
        tuple(
            Descriptor(tuple(LimitEntry(*entry) for entry in entries), hits, override)
            for entries, hits in zip(descriptors, each, strict=True)
        ),
        request.get("hits", 1),
    )


def seen(result: CheckResult, *, shadow_mode: bool) -> tuple[str, list[list[Any]]]:
    """An answer as the vectors have it."""
    return code(result.allowed), [
        # In shadow mode of everything only the request as a whole is let pass; a rule's own is told by its status, too.
        [code(not status.over_limit if shadow_mode else status.allowed), *numbers(status)]
        for status in result.statuses
    ]


def code(allowed: bool) -> str:
    return "OK" if allowed else "OVER_LIMIT"


def numbers(status: DescriptorStatus) -> list[int | None]:
    if status.limit is None:
        return [None, status.remaining, None]
    return [status.limit.limit.limit, status.remaining, status.reset_after_us // SECOND_US]
