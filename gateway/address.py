"""Who calls: the client's address, as the edge saw it, masked for rate limits."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

from waypost.rpc.context import CallContext

Network = IPv4Network | IPv6Network


def client_address(context: CallContext, trusted: Collection[Network]) -> str:
    """The caller's address: the peer's own, or, if the peer is a trusted proxy, the last of its `x-forwarded-for`.

    Only the last entry is the proxy's word; those before it are whatever the client wrote. IPv4 whole, IPv6 as its /64,
    since one household has all of a /64. A peer on a unix socket is `local`.
    """
    peer = _peer_address(context.peer())
    if peer is None or any(peer in network for network in trusted):
        last = context.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        try:
            peer = ip_address(last)
        except ValueError:
            pass
    return "local" if peer is None else masked(peer)


def masked(address: IPv4Address | IPv6Address) -> str:
    """IPv4 as it is, IPv6 as its /64; IPv4 inside IPv6 counts as IPv4."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def _peer_address(peer: str) -> IPv4Address | IPv6Address | None:
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host = unquote(rest.rpartition(":")[0]).strip("[]").partition("%")[0]
    try:
        return ip_address(host)
    except ValueError:
        return None
