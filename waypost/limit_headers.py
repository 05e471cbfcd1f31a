"""What HTTP callers are told of a limit, in the two forms that clients know.

`X-RateLimit-Limit`, `-Remaining` and `-Reset` are those of draft-polli-ratelimit-headers-03, as Envoy sends
them; `RateLimit-Policy` and `RateLimit` those of draft-ietf-httpapi-ratelimit-headers-10, lists of structured fields
(RFC 9651).
"""

from __future__ import annotations

import math
from urllib.parse import quote

from waypost.model import Budget

MAX_NAME = 120
"""Characters of a rule's name, which a rule file may make longer than a header should be."""

# Printable ASCII but for what a structured field's string escapes (RFC 9651, 3.3.3).
_PLAIN = " !#$%&'()*+,/:;<=>?@[]^`{|}"


def limit_headers(rule: str, budget: Budget) -> dict[str, str]:
    """The headers for one limit, by lower-case name. Spans are rounded up to whole seconds."""
    # What an HTTP header cannot carry, in the manner of a URL.
    name = quote(rule, safe=_PLAIN)[:MAX_NAME]
    limit, remaining = budget.limit, budget.remaining
    window, reset = math.ceil(budget.window), math.ceil(budget.reset)
    return {
        "x-ratelimit-limit": f'{limit}, {limit};w={window};name="{name}"',
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(reset),
        "ratelimit": f'"{name}";r={remaining};t={reset}',
        "ratelimit-policy": f'"{name}";q={limit};w={window}',
    }
