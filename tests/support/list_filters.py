"""Filters of lists over the links of `many_links`: every condition of the contract, frequent, rare and joined."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.many_links import TAGS, VOCABULARY, tag, word
from waypost.listing import LinkFilter, Order, OrderField
from waypost.model import Link, LinkState
from waypost.search_terms import link_terms, tag_term, word_term

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
LAST_YEAR = NOW - 400 * DAY

_RARE = VOCABULARY - 10

FILTERS = {
    "everything": LinkFilter(),
    **{f"state-{state}": LinkFilter(state=state) for state in LinkState},
    "tag-frequent": LinkFilter(tags=(tag(1),)),
    "tag-middling": LinkFilter(tags=(tag(40),)),
    "tag-rare": LinkFilter(tags=(tag(TAGS),)),
    "tag-unknown": LinkFilter(tags=("nowhere",)),
    "tags-frequent": LinkFilter(tags=(tag(1), tag(2))),
    "tags-frequent-and-rare": LinkFilter(tags=(tag(1), tag(TAGS))),
    "tags-that-none-has-together": LinkFilter(tags=tuple(map(tag, range(1, 6)))),
    "word-of-all": LinkFilter(words=("example",)),
    "word-frequent": LinkFilter(words=(word(1),)),
    "word-middling": LinkFilter(words=(word(60),)),
    "word-rare": LinkFilter(words=(word(_RARE),)),
    "word-unknown": LinkFilter(words=("nowhere",)),
    "words-frequent": LinkFilter(words=(word(1), word(2))),
    "words-middling": LinkFilter(words=(word(60), word(70))),
    "words-frequent-and-rare": LinkFilter(words=("example", word(_RARE))),
    "words-that-none-has-together": LinkFilter(words=tuple(map(word, range(1, 11)))),
    "words-rare": LinkFilter(words=tuple(map(word, range(3_000, 3_010)))),
    "prefix-of-all": LinkFilter(prefixes=("ex",)),
    "prefix-short": LinkFilter(prefixes=(word(1)[:2],)),
    "prefix-frequent": LinkFilter(prefixes=(word(1)[:5],)),
    "prefix-rare": LinkFilter(prefixes=(word(_RARE)[:5],)),
    "prefix-unknown": LinkFilter(prefixes=("nowhere",)),
    "prefixes": LinkFilter(prefixes=("ex", word(1)[:2], word(9)[:2])),
    "prefix-and-frequent-word": LinkFilter(words=(word(1),), prefixes=(word(2)[:2],)),
    "prefix-and-rare-word": LinkFilter(words=(word(_RARE),), prefixes=(word(1)[:2],)),
    "day": LinkFilter(created_from=LAST_YEAR, created_before=LAST_YEAR + DAY),
    "since": LinkFilter(created_from=LAST_YEAR),
    "until": LinkFilter(created_before=LAST_YEAR),
    "never": LinkFilter(created_from=NOW, created_before=LAST_YEAR),
    "active-tag": LinkFilter(state=LinkState.ACTIVE, tags=(tag(1),)),
    "expired-rare-tag": LinkFilter(state=LinkState.EXPIRED, tags=(tag(TAGS),)),
    "blocked-frequent-tag": LinkFilter(state=LinkState.BLOCKED, tags=(tag(1),)),
    "deleted-word": LinkFilter(state=LinkState.DELETED, words=(word(60),)),
    "deleted-prefix": LinkFilter(state=LinkState.DELETED, prefixes=(word(1)[:2],)),
    "exhausted-day": LinkFilter(state=LinkState.EXHAUSTED, created_from=LAST_YEAR, created_before=LAST_YEAR + DAY),
    "tag-day": LinkFilter(tags=(tag(1),), created_from=LAST_YEAR, created_before=LAST_YEAR + DAY),
    "all-at-once": LinkFilter(LinkState.ACTIVE, (tag(1), tag(3)), LAST_YEAR, NOW, (word(1),), (word(2)[:2],)),
}

ORDERS = [Order(field, descending) for field in OrderField for descending in (True, False)]


def belongs(link: Link, link_filter: LinkFilter) -> bool:
    """Whether the link is what the filter asks for, at `NOW`, by what the contract says."""
    state = link.state(NOW)
    terms = link_terms(link.short_code, link.title, link.destination.url, link.tags)
    return (
        (state is not LinkState.DELETED if link_filter.state is None else state is link_filter.state)
        and (link_filter.created_from is None or link.created_at >= link_filter.created_from)
        and (link_filter.created_before is None or link.created_at < link_filter.created_before)
        and {*map(tag_term, link_filter.tags), *map(word_term, link_filter.words)} <= set(terms)
        and all(any(term.startswith(word_term(prefix)) for term in terms) for prefix in link_filter.prefixes)
    )
