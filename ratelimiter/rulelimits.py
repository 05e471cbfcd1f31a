"""The limits of one descriptor of a rule file: its `rate_limit` and `limits` blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

from native.limits import Algorithm, Limit
from ratelimiter.rulefields import Fields
from ratelimiter.ruletree import MAX_VALUE_BYTES, Consistency, OnStoreFailure, RuleLimit

UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 30 * 86_400,
    "year": 365 * 86_400,
}
"""Seconds of each unit; a month has 30 days and a year 365, as in the reference."""

MAX_UINT32 = 2**32 - 1
MAX_WINDOW_SECONDS = 100 * UNITS["year"]
MAX_LIMITS = 16
"""Limits of one descriptor."""
MAX_REPLACED = 100
"""Rules that one limit replaces."""

OURS = ("algorithm", "burst", "multiplier", "consistency", "on_store_failure", "count_rejected")
"""What a block can say beyond the reference."""
LIMIT_KEYS = ("unit", "requests_per_unit", "name", "replaces", *OURS)
RATE_LIMIT_KEYS = ("unit", "requests_per_unit", "unlimited", "name", "replaces", *OURS)

ON_THE_DESCRIPTOR = "on the descriptor, beside rate_limit"
ELSEWHERE = {
    **dict.fromkeys(
        ("shadow_mode", "quota_mode", "share_threshold", "detailed_metric", "value_to_metric", "metadata", "limits"),
        ON_THE_DESCRIPTOR,
    ),
    "compat": "at the top of the file",
}


@dataclass(slots=True)
class Blocks:
    """What the blocks of one descriptor say together."""

    limits: list[RuleLimit] = field(default_factory=list)
    name: str = ""
    replaces: set[str] = field(default_factory=set)


def read_blocks(descriptor: Fields, path: tuple[str, ...], *, reference: bool) -> Blocks | None:
    """The limits of a descriptor; None: it has none, and is no rule.

    `path` are domain, keys and values on the way, for the counters. `reference`: only what the reference can count.
    """
    has_limits = "limits" in descriptor
    if "rate_limit" not in descriptor and not has_limits:
        return None
    blocks = Blocks()
    unlimited = False
    if "rate_limit" in descriptor:
        block = descriptor.mapping["rate_limit"]
        if not isinstance(block, dict):
            descriptor.wrong("rate_limit", "must be a mapping with unit and requests_per_unit, or unlimited")
            return None
        fields = Fields(block, descriptor.file, descriptor.inner("rate_limit"), descriptor.problems)
        fields.check_keys(RATE_LIMIT_KEYS, ELSEWHERE)
        unlimited = fields.flag("unlimited")
        if unlimited:
            # The reference lets requests_per_unit stand beside `unlimited`, but no unit.
            fields.refuse(("unit", *OURS), "has no place in a rule that is unlimited")
            _read_names(blocks, fields)
        else:
            _read_block(blocks, fields, path, reference=reference)
    if has_limits:
        _read_limits(blocks, descriptor, path, unlimited=unlimited, reference=reference)
    return blocks


def _read_limits(
    blocks: Blocks, descriptor: Fields, path: tuple[str, ...], *, unlimited: bool, reference: bool
) -> None:
    if reference:
        descriptor.wrong("limits", "has no place with compat: envoyproxy, which has one rate_limit a descriptor")
        return
    if unlimited:
        descriptor.wrong("limits", "has no place beside a rate_limit that is unlimited")
        return
    items = descriptor.items("limits", "must be a mapping with unit and requests_per_unit", MAX_LIMITS)
    if descriptor.mapping["limits"] in (None, []):
        descriptor.wrong("limits", "must not be empty")
    for item in items:
        item.check_keys(LIMIT_KEYS, {**ELSEWHERE, "unlimited": "in rate_limit"})
        _read_block(blocks, item, path, reference=reference)


def _read_block(blocks: Blocks, fields: Fields, path: tuple[str, ...], *, reference: bool) -> None:
    """Adds what one block says to `blocks`."""
    _read_names(blocks, fields)
    before = len(fields.problems)
    limit = _limit(fields, reference=reference)
    consistency = fields.choice("consistency", Consistency, Consistency.STRICT)
    on_store_failure = fields.choice("on_store_failure", OnStoreFailure, OnStoreFailure.LOCAL)
    count_rejected = fields.flag("count_rejected")
    if reference and count_rejected:
        fields.wrong("count_rejected", "has no place with compat: envoyproxy, which always counts what it refuses")
    if limit is None or len(fields.problems) > before:
        return
    identity = (*path, limit.algorithm.value, str(limit.window_us))
    if any(other.identity == identity for other in blocks.limits):
        seconds = limit.window_us // 1_000_000
        fields.wrong(
            "", f"this descriptor has another {limit.algorithm} of {seconds} s already, which would share its counter"
        )
        return
    blocks.limits.append(RuleLimit(limit, identity, consistency, on_store_failure, count_rejected))


def _limit(fields: Fields, *, reference: bool) -> Limit | None:
    before = len(fields.problems)
    algorithm = fields.choice("algorithm", Algorithm, Algorithm.FIXED_WINDOW)
    if reference and algorithm is not Algorithm.FIXED_WINDOW:
        fields.wrong("algorithm", f"a {algorithm} has no place with compat: envoyproxy, which counts in fixed windows")
    unit = _unit(fields)
    requests = fields.number("requests_per_unit", 0, MAX_UINT32)
    multiplier = fields.number("multiplier", 1, MAX_WINDOW_SECONDS // unit, default=1)
    burst = fields.number("burst", 1, MAX_UINT32, default=0) or None
    if burst is not None and algorithm is not Algorithm.TOKEN_BUCKET:
        fields.wrong("burst", f"only a token_bucket has a burst, this is a {algorithm}")
    if len(fields.problems) > before:
        return None
    return Limit(algorithm, requests, unit * multiplier * 1_000_000, burst)


def _unit(fields: Fields) -> int:
    """Seconds of the unit; 1 if it is wrong."""
    text = fields.text("unit", MAX_VALUE_BYTES, required=True)
    if text and text.lower() not in UNITS:
        fields.wrong("unit", f"invalid rate limit unit {text!r} ({', '.join(UNITS)})")
    return UNITS.get(text.lower(), 1)


def _read_names(blocks: Blocks, fields: Fields) -> None:
    """Adds a block's name and those that it replaces."""
    name = fields.text("name", MAX_VALUE_BYTES)
    if name and blocks.name and name != blocks.name:
        fields.wrong("name", f"the limits of a descriptor are one rule, and it is called {blocks.name!r} already")
    blocks.name = blocks.name or name
    for item in fields.items("replaces", "must be a mapping with a name", MAX_REPLACED):
        item.check_keys(("name",), {})
        replaced = item.text("name", MAX_VALUE_BYTES, required=True)
        if replaced and replaced == blocks.name:
            item.wrong("", "a rule cannot replace itself")
        blocks.replaces.add(replaced)
