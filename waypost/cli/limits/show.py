"""Rate limits as commands print them: as JSON like the API's, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from waypost.cli.output import printable
from waypost.cli.show import timestamp
from waypost.client import (
    ExplainedLimit,
    LimitExplanation,
    LimitOverride,
    LimitRule,
    LimitRules,
    LimitUnit,
    RuleLimit,
)


def entries_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """`KEY=VALUE` words as entries; without a sign the value is empty."""
    return [(key, value) for key, _, value in (word.partition("=") for word in words)]


def entries_text(entries: Iterable[tuple[str, str]]) -> str:
    """The entries as a command takes them."""
    return " ".join(f"{key}={value}" for key, value in entries)


def explanation_object(explanation: LimitExplanation) -> dict[str, Any]:
    """The explanation as the API has it in JSON."""
    return {
        "allowed": explanation.allowed,
        "descriptors": [
            {
                "rule": one.rule,
                "reason": one.reason,
                "limits": [_explained_object(limit) for limit in one.limits],
                "overridden": one.overridden,
            }
            for one in explanation.descriptors
        ],
        "generation": explanation.generation,
    }


def explanation_lines(explanation: LimitExplanation) -> Iterator[str]:
    """The same for people."""
    for one in explanation.descriptors:
        yield printable(one.reason)
        if one.rule:
            yield f"  rule {printable(one.rule)}{', its numbers by an override' if one.overridden else ''}"
        for limit in one.limits:
            yield f"  {_limit_text(limit)}, {limit.consistency}"
            verdict = "admits" if limit.allowed else "refuses"
            yield f"    {limit.remaining:,} left, {verdict}; again as new in {span(limit.reset_after)}"
            yield f"    counter of {printable(entries_text(limit.counter))}"
        if one.rule and not one.limits:
            yield "  unlimited"
    yield "allowed now" if explanation.allowed else "refused now"


def rules_object(rules: LimitRules) -> dict[str, Any]:
    """The rules as the API has them in JSON."""
    return {
        "rules": [
            {
                "domain": rule.domain,
                "rule": rule.rule,
                "limits": [_limit_object(limit) for limit in rule.limits],
                "shadow_mode": rule.shadow_mode,
                "quota_mode": rule.quota_mode,
            }
            for rule in rules.rules
        ],
        "generation": rules.generation,
        **({} if rules.loaded_at is None else {"loaded_at": timestamp(rules.loaded_at)}),
        "problems": list(rules.problems),
    }


def rule_text(rule: LimitRule) -> str:
    """A rule's limits."""
    return "; ".join(f"{_limit_text(limit)}, {limit.consistency}" for limit in rule.limits) or "unlimited"


def modes_text(rule: LimitRule) -> str:
    """What is special about how a rule counts."""
    return " ".join([*["shadow"] * rule.shadow_mode, *["quota"] * rule.quota_mode])


def override_object(override: LimitOverride) -> dict[str, Any]:
    """The override as the API has it in JSON."""
    unit = override.unit
    known = unit is not None and unit is not LimitUnit.UNKNOWN
    return {
        "override_id": override.override_id,
        "domain": override.domain,
        "entries": [{"key": key, "value": value} for key, value in override.entries],
        "unlimited": override.unlimited,
        "requests_per_unit": override.requests_per_unit,
        "unit": f"LIMIT_UNIT_{unit.upper()}" if unit is not None and known else "LIMIT_UNIT_UNSPECIFIED",
        "burst": override.burst,
        "reason": override.reason,
        **({} if override.expires_at is None else {"expires_at": timestamp(override.expires_at)}),
        "created_at": timestamp(override.created_at),
        "created_by": override.created_by,
    }


def numbers_text(override: LimitOverride) -> str:
    """`10 per minute, burst 20`, or `unlimited`."""
    if override.unit is None:
        return "unlimited"
    burst = f", burst {override.burst:,}" if override.burst else ""
    return f"{override.requests_per_unit:,} per {override.unit}{burst}"


def span(length: timedelta) -> str:
    """As protobuf's JSON has it: `60s`, `0.250s`, with 0, 3 or 6 digits after the point."""
    seconds, microseconds = divmod(round(length / timedelta(microseconds=1)), 1_000_000)
    digits = f".{microseconds:06}".removesuffix("000") if microseconds else ""
    return f"{seconds}{digits}s"


def _limit_object(limit: RuleLimit | ExplainedLimit) -> dict[str, Any]:
    return {
        "algorithm": limit.algorithm,
        "limit": limit.limit,
        "window": span(limit.window),
        "burst": limit.burst,
        "consistency": limit.consistency,
    }


def _explained_object(limit: ExplainedLimit) -> dict[str, Any]:
    return {
        **_limit_object(limit),
        "counter": [{"key": key, "value": value} for key, value in limit.counter],
        "allowed": limit.allowed,
        "remaining": limit.remaining,
        "reset_after": span(limit.reset_after),
    }


def _limit_text(limit: RuleLimit | ExplainedLimit) -> str:
    burst = f" of {limit.burst:,}" if limit.algorithm == "token_bucket" else ""
    return f"{limit.limit:,} each {span(limit.window)}, {limit.algorithm}{burst}"
