"""Who calls: the client's address, as the edge saw it, masked for rate limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

from starlette.types import Scope

from waypost.rpc.context import CallContext

Network = IPv4Network | IPv6Network

_LONGEST = 100
"""Characters of an address with its zone, which is an interface's name."""


def client_address(context: CallContext, trusted: Collection[Network]) -> str:
    """The caller's address: the peer's own, or, if the peer is a trusted proxy, the last of its `x-forwarded-for`.

    Only the last entry is the proxy's word; those before it are whatever the client wrote. IPv4 whole, IPv6 as its /64,
    since one household has all of a /64. A peer on a unix socket is trusted, and `local` if it names nobody.
    """
    host, _, _ = context.peer().rpartition(":")
    peer, shown = _peer(host)
    # Also a proxy speaks for itself where it names nobody.
    if peer is not None and not (trusted and "x-forwarded-for" in context.headers):
        return shown
    kind, _, _ = context.peer().partition(":")
    lines = (str(value) for key, value in context.invocation_metadata() if key == "x-forwarded-for")
    return _believed(peer, kind == "unix", lines, trusted)


@lru_cache(maxsize=1024)
def _peer(host: str) -> tuple[IPv4Address | IPv6Address | None, str]:
    """The address in a peer's name without its port, and how it is shown; None and empty: it has none."""
    kind, _, rest = host.partition(":")
    peer = _address(unquote(rest).strip("[]")) if kind in ("ipv4", "ipv6") else None
    return peer, "" if peer is None else masked(peer)


def visitor_address(scope: Scope, trusted: Collection[Network]) -> str:
    """As `client_address`, of an HTTP request."""
    client = scope.get("client")
    peer = None if client is None else _address(client[0])
    lines = (value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for")
    return _believed(peer, client is None, lines, trusted)


def masked(address: IPv4Address | IPv6Address) -> str:
    """IPv4 as it is, IPv6 as its /64."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def _believed(
    peer: IPv4Address | IPv6Address | None, local: bool, forwarded: Iterable[str], trusted: Collection[Network]
) -> str:
    """The peer's address, or whom a trusted one names; `forwarded` are its lines of `x-forwarded-for`."""
    if local or (peer is not None and any(peer in network for network in trusted)):
        # Some proxies add a line of their own instead of going on with the client's: then the last line is theirs.
        lines = list(forwarded)
        named = _address(lines[-1].rpartition(",")[2].strip()) if lines else None
        peer = named or peer
    return "local" if peer is None else masked(peer)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, without its zone; IPv4 inside IPv6 counts as IPv4, as sockets that take both show it."""
    return _parsed(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
