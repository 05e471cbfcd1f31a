"""What an answer tells HTTP clients of their limits.

`X-RateLimit-Limit`, `-Remaining` and `-Reset` as Envoy has them, after draft-polli-ratelimit-headers-03; `RateLimit`
and `RateLimit-Policy` after draft-ietf-httpapi-ratelimit-headers-10; `Retry-After` after RFC 9110, 10.2.3. Times are
whole seconds, rounded up: who waits that long does not come too early.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

from ratelimiter.results import CheckResult, DescriptorStatus
from ratelimiter.ruletree import RuleLimit

MAX_POLICIES = 10
MAX_NAME = 120
"""Bounds of what is told: so many limits, and names of so many characters."""

DEGRADED = "x-waypost-degraded"
"""Set in an answer that was given without the store."""

# Printable ASCII but for what a quoted text of a structured field escapes (RFC 9651, 3.3.3).
_PLAIN = " !#$&'()*+,/:;<=>?@[]^`{|}"


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
    tightest, limit = min(_deciding(told), key=_room)
    told = told[:MAX_POLICIES]
    names = [_name(status) for status, _ in told]
    policies = [f'{one.limit.limit};w={_window(one)};name="{name}"' for (_, one), name in zip(told, names, strict=True)]
    left = [
        f'"{name}";r={status.remaining};t={_seconds(status.reset_after_us)}'
        for (status, _), name in zip(told, names, strict=True)
    ]
    quotas = [f'"{name}";q={one.limit.limit};w={_window(one)}' for (_, one), name in zip(told, names, strict=True)]
    return [
        ("X-RateLimit-Limit", f"{limit.limit.limit}, {', '.join(policies)}"),
        ("X-RateLimit-Remaining", str(tightest.remaining)),
        ("X-RateLimit-Reset", str(_seconds(tightest.reset_after_us))),
        ("RateLimit", ", ".join(left)),
        # The same limit may have been met by several descriptors.
        ("RateLimit-Policy", ", ".join(dict.fromkeys(quotas))),
    ]


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
    return "" if rule is None else _quoted(rule.name or rule.place)


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    # What an HTTP header cannot carry, in the manner of a URL.
    return quote(name, safe=_PLAIN)[:MAX_NAME]


def _window(limit: RuleLimit) -> int:
    return _seconds(limit.limit.window_us)


def _seconds(span_us: int) -> int:
    return -(-span_us // 1_000_000)
