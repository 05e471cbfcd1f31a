"""What HTTP callers are told of limits, in the two forms that clients know.

`X-RateLimit-Limit`, `-Remaining` and `-Reset` are those of draft-polli-ratelimit-headers-03, as Envoy sends
them; `RateLimit-Policy` and `RateLimit` those of draft-ietf-httpapi-ratelimit-headers-10, lists of structured fields
(RFC 9651). Spans are whole seconds, rounded up: who waits that long does not come too early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from waypost.model import Budget

MAX_NAME = 120
"""Characters of a rule's name, which a rule file may make longer than a header should be."""

# Printable ASCII but for what a structured field's string escapes (RFC 9651, 3.3.3), and for the sign of escapes here.
_PLAIN = " !#$&'()*+,/:;<=>?@[]^`{|}"


@dataclass(frozen=True, slots=True)
class ToldLimit:
    """What is told of one limit: its rule's name, its numbers, and what is left; `window` and `reset` in seconds."""

    rule: str
    limit: int
    window: int
    remaining: int
    reset: int


def limit_headers(rule: str, budget: Budget) -> dict[str, str]:
    """The headers for one limit, by lower-case name."""
    told = ToldLimit(rule, budget.limit, math.ceil(budget.window), budget.remaining, math.ceil(budget.reset))
    return {name.lower(): value for name, value in headers_of(told, [told])}


def headers_of(tightest: ToldLimit, told: Sequence[ToldLimit]) -> list[tuple[str, str]]:
    """Names and values of the headers for all limits of a request; the old form has the numbers of the `tightest`."""
    named = [(quoted(one.rule), one) for one in told]
    policies = [f'{one.limit};w={one.window};name="{name}"' for name, one in named]
    quotas = [f'"{name}";q={one.limit};w={one.window}' for name, one in named]
    return [
        ("X-RateLimit-Limit", ", ".join([str(tightest.limit), *policies])),
        ("X-RateLimit-Remaining", str(tightest.remaining)),
        ("X-RateLimit-Reset", str(tightest.reset)),
        ("RateLimit", ", ".join(f'"{name}";r={one.remaining};t={one.reset}' for name, one in named)),
        # The same limit may have been met by several descriptors.
        ("RateLimit-Policy", ", ".join(dict.fromkeys(quotas))),
    ]


def quoted(rule: str) -> str:
    """A rule's name as headers have it, between the quotation marks."""
    return _quoted(rule[:MAX_NAME])


# Of short texts only: names may be as long as what a request brings.
@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    # What an HTTP header cannot carry, in the manner of a URL.
    return quote(name, safe=_PLAIN)[:MAX_NAME]
