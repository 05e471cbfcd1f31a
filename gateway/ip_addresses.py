"""IP addresses as hosts spell them, in every notation that browsers take, and which of them are not public."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

# The IANA special-purpose registries, less what can be reached from anywhere. Spelled out here because what Python's
# `is_global` says differs between its releases.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind a carrier's NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_DIGITS = {10: re.compile(r"[0-9]+"), 8: re.compile(r"[0-7]+"), 16: re.compile(r"[0-9A-Fa-f]*")}


def ends_in_number(labels: Sequence[str]) -> bool:
    """Whether a host of these labels can only be an IPv4 address (WHATWG URL, "ends in a number")."""
    last = labels[-1]
    return _DIGITS[10].fullmatch(last) is not None or _number(last) is not None


def parse_ipv4(labels: Sequence[str]) -> IPv4Address | None:
    """The address that one to four parts spell, each decimal, octal (`0177`) or hexadecimal (`0x7f`); None: it is none.

    The last part fills all bytes that are left: `127.1` is 127.0.0.1 (WHATWG URL, "IPv4 parser").
    """
    if len(labels) > 4:
        return None
    numbers = [_number(label) for label in labels]
    value = 0
    for number in numbers[:-1]:
        if number is None or number > 255:
            return None
        value = value << 8 | number
    last, rest_bits = numbers[-1], 8 * (5 - len(numbers))
    if last is None or last >> rest_bits:
        return None
    return IPv4Address(value << rest_bits | last)


def unwrap(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries (mapped, compatible, NAT64, 6to4); without one, the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    # `::` and `::1` are addresses of their own, not IPv4 ones in disguise.
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether the address, or the IPv4 one it carries, can be reached from anywhere on the internet."""
    inner = unwrap(address)
    if isinstance(inner, IPv4Address):
        return not any(inner in block for block in _NOT_PUBLIC_V4)
    return inner in _PUBLIC_V6 and not any(inner in block for block in _NOT_PUBLIC_V6)


def _number(text: str) -> int | None:
    base = 10
    if text[:2] in ("0x", "0X"):
        # A bare `0x` is zero: browsers have it so.
        text, base = text[2:], 16
    elif len(text) > 1 and text.startswith("0"):
        text, base = text[1:], 8
    return int(text or "0", base) if _DIGITS[base].fullmatch(text) else None
