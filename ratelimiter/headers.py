"""What an answer tells HTTP clients of their limits: which of them, and when to try again.

For the forms see `waypost.limit_headers`; `Retry-After` is that of RFC 9110, 10.2.3, in whole seconds, rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence

from ratelimiter.results import CheckResult, DescriptorStatus
from ratelimiter.ruletree import RuleLimit
from waypost.limit_headers import ToldLimit, headers_of

MAX_POLICIES = 10
"""So many limits are told at most."""

DEGRADED = "x-waypost-degraded"
"""Set in an answer that was given without the store."""


def response_headers(result: CheckResult, *, shadow_mode: bool = False) -> list[tuple[str, str]]:
    """Names and values. Limits that only pretend to hold (`shadow_mode`: all of them) are not told."""
    headers = [] if shadow_mode else _limit_headers(result)
    if not result.allowed and result.retry_after_us is not None:
        headers.append(("Retry-After", str(_seconds(result.retry_after_us))))
    if result.degraded:
        headers.append((DEGRADED, "true"))
    return headers


def _limit_headers(result: CheckResult) -> list[tuple[str, str]]:
    told = [(s, s.limit) for s in result.statuses if s.limit is not None and s.match and not s.match.rule.shadow_mode]
    if not told:
        return []
    return headers_of(_told(*min(_deciding(told), key=_room)), [_told(*one) for one in told[:MAX_POLICIES]])


def _told(status: DescriptorStatus, limit: RuleLimit) -> ToldLimit:
    return ToldLimit(
        rule=_name(status),
        limit=limit.limit.limit,
        window=_seconds(limit.limit.window_us),
        remaining=status.remaining,
        reset=_seconds(status.reset_after_us),
    )


Told = tuple[DescriptorStatus, RuleLimit]


def _deciding(told: Sequence[Told]) -> list[Told]:
    """Those that decide: of quotas, which refuse only together, the one with the most left."""
    deciding = [one for one in told if not _is_quota(one[0])]
    quotas = [one for one in told if _is_quota(one[0])]
    return [*deciding, max(quotas, key=_room)] if quotas else deciding


def _room(told: Told) -> tuple[bool, int, int]:
    """Refusals first, of these the one that takes longest; else what has the least left."""
    status, _ = told
    return (status.allowed, -status.reset_after_us if not status.allowed else 0, status.remaining)


def _is_quota(status: DescriptorStatus) -> bool:
    return status.match is not None and status.match.rule.quota_mode


def _name(status: DescriptorStatus) -> str:
    rule = status.match.rule if status.match is not None else None
    return "" if rule is None else rule.name or rule.place


def _seconds(span_us: int) -> int:
    return -(-span_us // 1_000_000)
