"""The names of counters in Redis: those of one domain share a hash tag, so they live on one node of a cluster.

`wp:{domain}:` is followed by how many texts name the rule, and by these and the values, each with its length before it,
so that no two counters share a name. What is long or odd is named by a digest: a domain that could end its tag early
(`~` and the digest), a name of more than `LONGEST` bytes (`#` and the digest).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

LONGEST = 512
"""Bytes of a counter's name behind its tag."""

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,255}")
# Domains and rules come from files of rules; the caches only have to be bounded.
_CACHED = 4096


@lru_cache(_CACHED)
def tag(domain: str) -> str:
    """The hash tag of a domain's counters, without its braces."""
    return domain if _PLAIN.fullmatch(domain) else "~" + _digest(domain.encode())


def key_beginning(domain: str, rule: tuple[str, ...]) -> tuple[bytes, int]:
    """How the keys of a rule's counters begin, which the measured values follow, and how many bytes of these.

    Whatever is longer is named by a digest.
    """
    prefix, name = _beginning(domain, rule)
    return prefix + name, max(0, LONGEST - len(name))


def counter_key(domain: str, rule: tuple[str, ...], values: Sequence[str]) -> bytes:
    """The key of the counter of `values` under `rule`."""
    prefix, name = _beginning(domain, rule)
    name += b"".join(map(_measured, values))
    if len(name) > LONGEST:
        return prefix + b"#" + _digest(name).encode()
    return prefix + name


@lru_cache(_CACHED)
def _beginning(domain: str, rule: tuple[str, ...]) -> tuple[bytes, bytes]:
    return b"wp:{%s}:" % tag(domain).encode(), b"%d;" % len(rule) + b"".join(map(_measured, rule))


def _measured(text: str) -> bytes:
    data = text.encode()
    return b"%d:%s" % (len(data), data)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()
