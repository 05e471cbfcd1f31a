"""The host of a URL, seen through every notation: capitals, final dot, other scripts, numbers, brackets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import quote

import idna

from gateway.ip_addresses import Address, ends_in_number, parse_ipv4, unwrap

MAX_HOST_CHARS = 253
"""Most characters of a host name without its final dot (RFC 1035 2.3.4, in text form)."""

MAX_LABEL_CHARS = 63
"""Most characters between two dots (RFC 1035 2.3.4)."""

_FOREIGN_TO_NAMES = re.compile(r"[^A-Za-z0-9._-]")
# What is drawn as nothing although its category is that of a letter or a mark: joiners, fillers, variation selectors.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]"
)


class BadHost(ValueError):
    """The text is no host; `str()` says why, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host that URL parsers agree on.

    `text` is what a URL carries: ASCII, and exactly what was given if that was ASCII. `name` is the same for all
    notations of a host: lower case, no final dot, an address in its usual form. `labels` are the name's parts, decoded
    to Unicode; `address` is set instead if the host is one, IPv4 unwrapped from IPv6.
    """

    text: str
    name: str
    labels: tuple[str, ...] = ()
    address: Address | None = None


def parse_host(text: str) -> Host:
    """Reads a host without port. Raises `BadHost`."""
    if not text:
        raise BadHost("has no host: write the site's name after the two slashes, as in https://example.com/")
    if text.startswith("["):
        return _bracketed(text)
    ascii_text = text if text.isascii() else _to_ascii(text)
    if foreign := _FOREIGN_TO_NAMES.search(ascii_text):
        raise BadHost(_foreign_sentence(foreign.group()))
    name = ascii_text.lower().removesuffix(".")
    labels = name.split(".")
    _check_lengths(name, labels)
    if ends_in_number(labels):
        address = parse_ipv4(labels)
        if address is None:
            raise BadHost("has a host that ends in a number but is no IPv4 address: write it as in 192.0.2.1")
        if "0x" in labels:
            # Zero to browsers; others look it up as a name.
            raise BadHost("has '0x' without digits in its host, which programs read differently: write 0 for zero")
        return Host(ascii_text, str(address), address=address)
    decoded = tuple(_decoded(label) for label in labels)
    _check_directions(labels, decoded)
    return Host(ascii_text, name, labels=decoded)


def describe(char: str) -> str:
    """A character in words that are safe to print: `U+202E (RIGHT-TO-LEFT OVERRIDE)`."""
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X}" + (f" ({name})" if name else "")


def _bracketed(text: str) -> Host:
    if not text.endswith("]"):
        raise BadHost(
            "has a host that starts with '[' but does not end with ']': write an IPv6 address as in [2001:db8::1]"
        )
    literal = text[1:-1]
    if "%" in literal:
        raise BadHost("has an IPv6 address with a zone, which means nothing on another machine: leave out the '%' part")
    try:
        address = IPv6Address(literal)
    except ValueError:
        raise BadHost("has no valid IPv6 address between its brackets: write it as in [2001:db8::1]") from None
    inner = unwrap(address)
    return Host(text, str(inner), address=inner)


def _to_ascii(text: str) -> str:
    """The host in A-labels, mapped by UTS #46, nontransitional; ASCII labels are only lowered, so `_` stays."""
    # Mapping can shorten a name, by composing accents, but never this much.
    if len(text) > 4 * MAX_HOST_CHARS:
        raise BadHost(f"has a host of {len(text)} characters: host names have at most {MAX_HOST_CHARS}")
    for char in text:
        # UTS #46 would drop most of these in silence, and the name would not resolve as it reads.
        if unicodedata.category(char)[0] in "CZ" or _BLANK.match(char):
            raise BadHost(f"has the invisible character {describe(char)} in its host: remove it")
    try:
        # STD3 rules are left to the check of the result, which also lets `_` pass.
        mapped = idna.uts46_remap(text, std3_rules=False)
        labels = mapped.split(".")
        _check_lengths(mapped.removesuffix("."), [label for label in labels if label])
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except UnicodeError as error:
        raise BadHost(
            "has a host that is no valid international domain name (IDNA 2008): check its spelling"
        ) from error


def _decoded(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return idna.ulabel(label)
    except UnicodeError as error:
        raise BadHost(f"has the host label {label!r}, which is no valid punycode: check its spelling") from error


def _check_directions(labels: Sequence[str], decoded: Sequence[str]) -> None:
    """Refuses hosts that are drawn in another order than they are read in (RFC 5893 2; so does WHATWG URL)."""
    if not any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for label in decoded for char in label):
        return
    for label, text in zip(labels, decoded, strict=True):
        try:
            idna.check_bidi(text, check_ltr=True)
        except idna.IDNABidiError as error:
            raise BadHost(
                f"has the host label {label!r}, which cannot stand beside one that is written from right to left: "
                "beside such, labels start with a letter and end in a letter or a digit"
            ) from error


def _check_lengths(name: str, labels: list[str]) -> None:
    if not all(labels):
        raise BadHost("has an empty label in its host: leave out the dot that stands first or beside another")
    if len(name) > MAX_HOST_CHARS:
        raise BadHost(f"has a host of {len(name)} characters: host names have at most {MAX_HOST_CHARS}")
    longest = max(map(len, labels), default=0)
    if longest > MAX_LABEL_CHARS:
        raise BadHost(f"has {longest} characters between two dots of its host: at most {MAX_LABEL_CHARS} are allowed")


def _foreign_sentence(char: str) -> str:
    if char == "%":
        return "has a percent sign in its host: write the host's name in plain letters"
    if char in "[]":
        return "has a bracket in its host: brackets stand only around an IPv6 address, as in [2001:db8::1]"
    return f"has {describe(char)} in its host: write the host's name in letters, digits, '-', '_' and dots" + (
        "" if char.isascii() else f" (in a path it would be {quote(char)})"
    )
