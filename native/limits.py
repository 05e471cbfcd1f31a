"""Rate limit algorithms as pure functions: a limit, a counter's state, a cost and the time give a decision.

Times are integer microseconds since the Unix epoch, spans integer microseconds; nothing here reads a clock. Numbers are
from 0 to `MAX`, and all arithmetic on them is exact, but that a count or a span beyond `MAX` is cut off there: a client
may then be told to wait for 292,000 years where more are meant.

`look` decides and changes nothing; `spend` decides and, if it admits, takes the cost. A request that meets several
limits is looked at in all of them first, so that a refusal by one costs nothing in another (`native.request`); `take`
is for a cost that must be accounted for whatever is left, `give_back` for one that did not come about.

The algorithms:

- fixed window: at most `limit` hits in each window; windows are aligned to the epoch.
- sliding window counter: as a fixed window, but hits of the previous window still count in proportion to how much of it
  a window that ended now would cover: `current + ceil(previous * rest of window / window) + hits <= limit`. It assumes
  that the previous hits came evenly; bursts at its end can bring up to twice the limit into one span of a window's
  length. (https://blog.cloudflare.com/counting-things-a-lot-of-different-things/)
- token bucket: holds `burst` tokens, refills evenly at `limit` tokens a window, a hit takes one: at most
  `burst + limit * span / window` hits in any span. (RFC 2215, section 3.6)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MAX = 2**63 - 1
"""The largest number of hits, time and span. Others raise OverflowError."""


class Algorithm(StrEnum):
    """How hits are counted against a limit."""

    FIXED_WINDOW = "fixed_window"
    SLIDING_WINDOW = "sliding_window"
    TOKEN_BUCKET = "token_bucket"  # noqa: S105 - no password


@dataclass(frozen=True, slots=True)
class Limit:
    """What is allowed: `limit` hits each `window_us`.

    A token bucket holds `burst` tokens (None: as many as `limit`); windows have no burst. A limit of 0 always refuses.
    Raises ValueError when a number is out of its range.
    """

    algorithm: Algorithm
    limit: int
    window_us: int
    burst: int | None = None

    def __post_init__(self) -> None:
        if self.limit < 0 or self.window_us < 1:
            raise ValueError("a limit must be at least 0, its window at least 1 microsecond")
        if self.burst is not None and (self.burst < 1 or self.algorithm is not Algorithm.TOKEN_BUCKET):
            raise ValueError("a burst must be at least 1 and belongs to a token bucket")
        if max(self.limit, self.window_us, self.burst or 0) > MAX:
            raise ValueError("a limit, its window and its burst must be at most 2**63 - 1")

    @property
    def capacity(self) -> int:
        """The most hits that can be admitted at one moment."""
        return self.limit if self.burst is None or self.limit == 0 else self.burst


@dataclass(slots=True)
class State:
    """One counter. A new one is all zeros, whatever its algorithm; one that is back at zero may be forgotten.

    What is stored is what was used, not what is left: a rule whose numbers change keeps its counts.
    """

    updated_us: int = 0
    """When the state was last changed. Never goes back: an earlier time is taken for this one."""
    count: int = 0
    """Windows: hits admitted in the window of `updated_us`. Token bucket: tokens that are missing from a full one."""
    previous: int = 0
    """Sliding window: hits admitted in the window before."""
    fraction: int = 0
    """Token bucket: how much of the next token has come back, in parts of `window_us`; always less than a whole one."""


class Decision(NamedTuple):
    """The answer to one cost at one time; spans are counted from the time that was passed in."""

    allowed: bool
    remaining: int
    """What is left now: after a spend without what it took, after a look or a refusal untouched."""
    reset_after_us: int
    """Until the window ends or the bucket is full; in a refusal that a wait can mend, the same as `retry_after_us`."""
    retry_after_us: int | None
    """Until the same cost is admitted if nobody else spends, not a microsecond more; 0 if it is admitted now.

    None: no wait helps, because the cost is more than the limit ever holds.
    """


def check(hits: int, now_us: int) -> None:
    """Raises OverflowError unless both are within their range."""
    if not (0 <= hits <= MAX and 0 <= now_us <= MAX):
        raise OverflowError("hits and times are from 0 to 2**63 - 1")


def look(limit: Limit, state: State, hits: int, now_us: int) -> Decision:
    """Decides on `hits` (at least 0) at `now_us` and leaves `state` as it is.

    No hits at all are admitted while there is something left.
    """
    check(hits, now_us)
    return _decide(limit, at(limit, state, now_us), hits, now_us)


def spend(limit: Limit, state: State, hits: int, now_us: int) -> Decision:
    """Decides as `look` does and, if it admits, takes `hits` from `state`. A refusal changes nothing."""
    check(hits, now_us)
    current = at(limit, state, now_us)
    decision = _decide(limit, current, hits, now_us)
    if not decision.allowed or hits == 0:
        return decision
    state.updated_us = current.updated_us
    state.count = current.count = current.count + hits
    state.previous = current.previous
    state.fraction = current.fraction
    reset_after_us = min(MAX, current.updated_us - now_us + _until_reset(limit, current))
    return Decision(True, decision.remaining - hits, reset_after_us, 0)


def take(limit: Limit, state: State, hits: int, now_us: int) -> None:
    """Takes `hits` that are admitted already from `state`, or all that is left if that is less."""
    check(hits, now_us)
    current = at(limit, state, now_us)
    if current.count + hits <= limit.capacity:
        current.count += hits
    elif current.count < limit.capacity:
        current.count, current.fraction = limit.capacity, 0
    state.updated_us, state.count = current.updated_us, current.count
    state.previous, state.fraction = current.previous, current.fraction


def give_back(limit: Limit, state: State, hits: int, now_us: int) -> None:
    """Gives `hits` back to `state`, or all that is counted now if that is less.

    Hits of the window before stay counted.
    """
    check(hits, now_us)
    current = at(limit, state, now_us)
    if hits >= current.count:
        current.count, current.fraction = 0, 0
    else:
        current.count -= hits
    state.updated_us, state.count = current.updated_us, current.count
    state.previous, state.fraction = current.previous, current.fraction


def count(limit: Limit, state: State, hits: int, now_us: int) -> Decision:
    """Counts `hits`, which may be negative, whatever comes of it, as envoyproxy/ratelimit does; for fixed windows.

    Admitted if the count is within the limit afterwards. What was refused stays counted; a count never gets below 0.
    """
    check(abs(hits), now_us)
    current = at(limit, state, now_us)
    state.updated_us, state.count = current.updated_us, min(MAX, max(0, current.count + hits))
    state.previous, state.fraction = current.previous, current.fraction
    until_reset = min(MAX, state.updated_us - now_us + _until_reset(limit, state))
    allowed = state.count <= limit.limit
    retry_after_us = 0 if allowed else None if hits > limit.limit else until_reset
    return Decision(allowed, max(0, limit.limit - state.count), until_reset, retry_after_us)


def at(limit: Limit, state: State, now_us: int) -> State:
    """The state as it stands at `now_us`, or when it was last changed if that is later, as a new object."""
    now_us = max(now_us, state.updated_us)
    if limit.algorithm is Algorithm.TOKEN_BUCKET:
        refilled = state.fraction + (now_us - state.updated_us) * limit.limit
        tokens, fraction = divmod(refilled, limit.window_us)
        if tokens >= state.count:
            return State(now_us)
        return State(now_us, count=state.count - tokens, fraction=fraction)

    windows_passed = now_us // limit.window_us - state.updated_us // limit.window_us
    if windows_passed == 0:
        return State(now_us, count=state.count, previous=state.previous)
    if windows_passed == 1 and limit.algorithm is Algorithm.SLIDING_WINDOW:
        return State(now_us, previous=state.count)
    return State(now_us)


def stricter(one: State, other: State) -> State:
    """A state that admits nothing, now or later, that either of these two would refuse; both are of one time."""
    larger = max(one, other, key=lambda state: (state.count, -state.fraction))
    return State(one.updated_us, larger.count, max(one.previous, other.previous), larger.fraction)


def used(limit: Limit, state: State) -> int:
    """What `state` counts against the limit's capacity at the time of `state`; 0 is as good as new."""
    if limit.algorithm is Algorithm.SLIDING_WINDOW:
        return min(MAX, state.count + _ceil_div(state.previous * _rest_of_window(limit, state), limit.window_us))
    return state.count


def _decide(limit: Limit, current: State, hits: int, now_us: int) -> Decision:
    # More than 0 only when the clock has gone back since the state was changed; the caller has to wait that out too.
    behind_us = current.updated_us - now_us
    remaining = max(0, limit.capacity - used(limit, current))
    until_reset = min(MAX, behind_us + _until_reset(limit, current))
    needed = max(1, hits)
    if needed <= remaining:
        return Decision(True, remaining, until_reset, 0)
    if needed > limit.capacity:
        return Decision(False, remaining, until_reset, None)
    wait = min(MAX, behind_us + _until_admitted(limit, current, needed))
    return Decision(False, remaining, wait, wait)


def _until_reset(limit: Limit, current: State) -> int:
    """Microseconds until the window ends or the bucket is full."""
    if limit.algorithm is Algorithm.TOKEN_BUCKET:
        return _until_refilled(limit, current, current.count)
    return _rest_of_window(limit, current)


def _until_admitted(limit: Limit, current: State, needed: int) -> int:
    """Microseconds until `needed` hits, more than are left but no more than the capacity, are admitted."""
    # So much of what is used now may still be used then.
    keep = limit.capacity - needed
    if limit.algorithm is Algorithm.TOKEN_BUCKET:
        return _until_refilled(limit, current, current.count - keep)

    window_ends = _rest_of_window(limit, current)
    if limit.algorithm is Algorithm.FIXED_WINDOW:
        return window_ends
    # ceil(previous * rest / window) <= keep holds from rest = floor(keep * window / previous) on. It is the previous
    # window's hits that fade, or, if this window's alone are too many, these in the next window.
    if current.count <= keep:
        return window_ends - (keep - current.count) * limit.window_us // current.previous
    return window_ends + limit.window_us - keep * limit.window_us // current.count


def _until_refilled(limit: Limit, current: State, tokens: int) -> int:
    """Microseconds until `tokens` of the missing ones have come back."""
    # A bucket that holds nothing, since its limit was lowered to 0, is as full as it gets.
    if tokens == 0 or limit.limit == 0:
        return 0
    return _ceil_div(tokens * limit.window_us - current.fraction, limit.limit)


def _rest_of_window(limit: Limit, state: State) -> int:
    return limit.window_us - state.updated_us % limit.window_us


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
