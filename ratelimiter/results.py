"""What the limiter answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from native.limits import Decision
from native.request import Mode
from ratelimiter.asking import Asked
from ratelimiter.ruletree import Match, RuleLimit

UNLIMITED = 2**32 - 1
"""`remaining` of a descriptor whose rule is unlimited, as in Envoy's protocol."""


@dataclass(frozen=True, slots=True)
class DescriptorStatus:
    """What became of one descriptor; all zero and empty when no rule matched it."""

    allowed: bool
    """Whether it admits the request by itself; always true in shadow mode."""
    match: Match | None = None
    limit: RuleLimit | None = None
    """Of several limits the one that refuses, or else the tightest. None: unlimited, or no rule."""
    remaining: int = 0
    reset_after_us: int = 0
    retry_after_us: int | None = 0
    """In a refusal, until this descriptor would admit the request; None: never."""
    over_limit: bool = False
    """Whether the limit is exceeded, in shadow mode too."""
    strict: bool = False
    """Counted for all replicas together."""
    degraded: bool = False
    """Decided without the store that should have."""

    @property
    def rule(self) -> str:
        """The place of the rule; empty: none."""
        return "" if self.match is None else self.match.rule.place


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The decision on a request and a status for each of its descriptors, in their order."""

    allowed: bool
    statuses: tuple[DescriptorStatus, ...]
    retry_after_us: int | None = None
    """In a refusal, until the same request is admitted if nobody else spends. None: admitted now, or no wait helps."""

    @property
    def degraded(self) -> bool:
        """Whether a limit was decided without the store that should have."""
        return any(status.degraded for status in self.statuses)


def result(
    matches: Sequence[Match | None],
    asked: Sequence[Asked],
    decisions: Sequence[Decision],
    admitted: bool,
    degraded: bool,
) -> CheckResult:
    """Puts together what became of a request. `degraded`: of its strict limits."""
    by_descriptor: dict[int, list[tuple[Asked, Decision]]] = {}
    for one, decision in zip(asked, decisions, strict=True):
        by_descriptor.setdefault(one.question.descriptor, []).append((one, decision))
    statuses = tuple(_status(match, by_descriptor.get(index, ()), degraded) for index, match in enumerate(matches))
    return CheckResult(admitted, statuses, None if admitted else _retry_after(statuses))


def _status(match: Match | None, asked: Sequence[tuple[Asked, Decision]], degraded: bool) -> DescriptorStatus:
    if match is None:
        return DescriptorStatus(allowed=True)
    if not asked:
        return DescriptorStatus(allowed=True, match=match, remaining=UNLIMITED)
    one, decision = max(asked, key=lambda pair: _tightness(pair[1]))
    over_limit = not decision.allowed
    return DescriptorStatus(
        allowed=not over_limit or bool(one.question.mode & Mode.SHADOW),
        match=match,
        limit=one.limit,
        remaining=decision.remaining,
        reset_after_us=decision.reset_after_us,
        retry_after_us=decision.retry_after_us,
        over_limit=over_limit,
        strict=one.strict,
        degraded=degraded and one.strict,
    )


def _tightness(decision: Decision) -> tuple[bool, float, int]:
    """Refusals first, of these the one that takes longest; else what has the least left."""
    wait = float("inf") if decision.retry_after_us is None else decision.retry_after_us
    return not decision.allowed, wait, -decision.remaining


def _retry_after(statuses: Sequence[DescriptorStatus]) -> int | None:
    """When all that refuse admit; of quota rules, if all refuse, when one of them does."""
    refusing = [status for status in statuses if not status.allowed]
    waits = [status.retry_after_us for status in refusing if not _quota(status)]
    quotas = [status for status in statuses if _quota(status)]
    if quotas and all(not status.allowed for status in quotas):
        waits.append(min((s.retry_after_us for s in quotas if s.retry_after_us is not None), default=None))
    known = [wait for wait in waits if wait is not None]
    return max(known) if known and len(known) == len(waits) else None


def _quota(status: DescriptorStatus) -> bool:
    return status.match is not None and status.match.rule.quota_mode and status.limit is not None
