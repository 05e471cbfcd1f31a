"""What is odd about a destination's host."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.hosts import Host
from gateway.ip_addresses import is_public
from gateway.lookalikes import mixes_scripts, reads_as_latin
from waypost.model import DestinationFlag

SHORTENERS = frozenset(
    [
        "adf.ly",
        "bit.do",
        "bit.ly",
        "bitly.com",
        "bl.ink",
        "buff.ly",
        "clck.ru",
        "cutt.ly",
        "dub.sh",
        "goo.gl",
        "is.gd",
        "j.mp",
        "lnkd.in",
        "ow.ly",
        "qr.ae",
        "rb.gy",
        "rebrand.ly",
        "s.id",
        "short.gy",
        "short.io",
        "shorte.st",
        "shorturl.at",
        "snip.ly",
        "soo.gd",
        "t.co",
        "t.ly",
        "tiny.cc",
        "tinyurl.com",
        "tny.im",
        "tr.im",
        "u.to",
        "v.gd",
        "vk.cc",
        "x.co",
    ]
)
"""Well-known sites whose links lead anywhere; their subdomains count too."""

PRIVATE_SUFFIXES = frozenset(
    [
        "corp",
        "home",
        "home.arpa",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "private",
        "test",
    ]
)
"""Ends of names that the public DNS does not resolve (RFC 6761, 6762, 8375) or that sites use within their walls."""


def flags_of(host: Host) -> tuple[DestinationFlag, ...]:
    """The host's flags, each once, in the order of `DestinationFlag`."""
    found = set(_address_flags(host) if host.address is not None else _name_flags(host))
    return tuple(flag for flag in DestinationFlag if flag in found)


def _address_flags(host: Host) -> Iterator[DestinationFlag]:
    yield DestinationFlag.IP_ADDRESS
    if host.address is not None and not is_public(host.address):
        yield DestinationFlag.PRIVATE_HOST


def _name_flags(host: Host) -> Iterator[DestinationFlag]:
    for label in host.labels:
        if not label.isascii():
            yield DestinationFlag.INTERNATIONAL_HOST
            if mixes_scripts(label):
                yield DestinationFlag.MIXED_SCRIPT
            if reads_as_latin(label):
                yield DestinationFlag.CONFUSABLE
    suffixes = {".".join(host.labels[i:]) for i in range(len(host.labels))}
    if suffixes & SHORTENERS:
        yield DestinationFlag.SHORTENER
    # A name without a dot is looked up in the network's own domain first.
    if len(host.labels) == 1 or suffixes & PRIVATE_SUFFIXES:
        yield DestinationFlag.PRIVATE_HOST
