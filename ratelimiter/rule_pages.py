"""The rules in force, a page at a time: what ListRules is asked, its page tokens, and how much a page holds.

The place in a token is the version of the rules (8 bytes), and how many rules came before (4 bytes).
"""

from __future__ import annotations

import asyncio

from ratelimiter.convert import to_rule
from ratelimiter.domain_tokens import seal_place, unseal_place
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import VERSION_BYTES, Rules
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.convert import timestamp
from waypost.errors import FieldViolation, InvalidFields

DEFAULT_PAGE_SIZE = 500
MAX_PAGE_SIZE = 5000
MAX_PAGE_BYTES = 2 * 1024 * 1024
"""About how large a page may grow: clients of gRPC take 4 MiB."""
AT_ONCE = 100
"""So many rules are put into a page before others get a turn."""

_KIND = 10
_COUNT_BYTES = 4


async def page_of(book: RuleBook, request: pb.ListRulesRequest) -> pb.ListRulesResponse:
    """A page of the rules of a domain, or of all. Raises `InvalidFields`.

    A token goes on in the rules that it came with, and in no others; those are the same on all replicas that have the
    same files.
    """
    rules = book.rules
    size, start = _read(request, rules)
    page = pb.ListRulesResponse(generation=book.generation, loaded_at=timestamp(book.loaded_at), problems=book.problems)
    room = MAX_PAGE_BYTES
    for place, (domain, rule) in enumerate(rules.listed(request.domain, start), start):
        if place - start == size or room < 0:
            page.next_page_token = encode(request.domain, rules, place)
            break
        message = to_rule(domain, rule)
        room -= message.ByteSize()
        page.rules.append(message)
        if len(page.rules) % AT_ONCE == 0:
            await asyncio.sleep(0)
    return page


def encode(domain: str, rules: Rules, place: int) -> str:
    """The token for the page that begins behind `place` rules of the domain."""
    return seal_place(_KIND, domain, rules.version + place.to_bytes(_COUNT_BYTES, "big"))


def decode(token: str, domain: str, rules: Rules) -> int:
    """How many rules came before. Raises `InvalidFields` for the field `page_token`."""
    place = unseal_place(token, _KIND, domain, VERSION_BYTES + _COUNT_BYTES)
    if place[:VERSION_BYTES] != rules.version:
        raise InvalidFields.one(
            "page_token", "came with other rules than are in force now: leave the token out to begin anew"
        )
    return int.from_bytes(place[VERSION_BYTES:], "big")


def _read(request: pb.ListRulesRequest, rules: Rules) -> tuple[int, int]:
    """How many rules a page may have, and how many came before it."""
    violations: list[FieldViolation] = []
    if request.page_size < 0:
        sentence = f"must not be negative: give 1 to {MAX_PAGE_SIZE:,}, or 0 for the default"
        violations.append(FieldViolation("page_size", sentence))
    start = 0
    if request.page_token:
        try:
            start = decode(request.page_token, request.domain, rules)
        except InvalidFields as error:
            violations += error.violations
    if violations:
        raise InvalidFields(violations)
    return min(request.page_size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE, start
