"""Who calls: only trusted proxies are believed, and one household is one caller."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from waypost.rpc.address import client_address
from waypost.rpc.context import CallContext

TRUSTED = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "10.1.0.0/16")))


def address(peer: str, *forwarded: str) -> str:
    metadata = [("user-agent", "x"), *(("x-forwarded-for", line) for line in forwarded), ("x-other", "y")]
    return client_address(CallContext("/a.B/C", metadata, peer, None), TRUSTED)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:192.0.2.7:40312", "192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:40312", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:40312", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:40312", "fe80::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:40312", "192.0.2.7"),
    ],
)
def test_peer_speaks_for_itself(peer: str, expected: str) -> None:
    assert address(peer) == expected


@pytest.mark.parametrize("forwarded", ["198.51.100.1", "127.0.0.1", "10.1.0.1", "198.51.100.1, 127.0.0.1"])
@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:192.0.2.7:40312", "192.0.2.7"),
        ("ipv4:10.2.0.1:40312", "10.2.0.1"),
        ("ipv6:%5B2001:db8::1%5D:40312", "2001:db8::/64"),
    ],
)
def test_stranger_cannot_name_another(peer: str, expected: str, forwarded: str) -> None:
    assert address(peer, forwarded) == expected


@pytest.mark.parametrize(
    "peer",
    [
        "ipv4:127.0.0.1:40312",
        "ipv4:127.200.0.9:40312",
        "ipv6:%5B::1%5D:40312",
        "ipv4:10.1.255.1:40312",
        "ipv6:%5B::ffff:127.0.0.1%5D:40312",
        "unix:",
        "unix:/run/waypost.sock",
    ],
)
def test_trusted_proxy_names_the_client(peer: str) -> None:
    assert address(peer, "198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1,198.51.100.1", "198.51.100.1"),
        ("garbage, 198.51.100.1", "198.51.100.1"),
        (" 198.51.100.1 ", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1, 2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_last_entry_is_the_proxys_word(forwarded: str, expected: str) -> None:
    assert address("ipv4:127.0.0.1:40312", forwarded) == expected


def test_last_line_is_the_proxys_word() -> None:
    assert address("ipv4:127.0.0.1:40312", "203.0.113.9", "198.51.100.1") == "198.51.100.1"
    assert address("ipv4:192.0.2.7:40312", "203.0.113.9", "198.51.100.1") == "192.0.2.7"


@pytest.mark.parametrize("forwarded", ["", ",", "garbage", "198.51.100.1,", "1.2.3.4.5", "300.1.1.1", "\0", "unix:"])
def test_garbage_leaves_the_peer(forwarded: str) -> None:
    assert address("ipv4:127.0.0.1:40312", forwarded) == "127.0.0.1"
    assert address("unix:", forwarded) == "local"


@pytest.mark.parametrize(
    "peer", ["", "unix:", "unix:/run/waypost.sock", "ipv4:", "ipv4:garbage:1", "ipv6:%5B%5D:1", "x"]
)
def test_peer_without_an_address_is_local(peer: str) -> None:
    assert address(peer) == "local"


@pytest.mark.parametrize("peer", ["", "ipv4:", "ipv4:garbage:1", "ipv6:%5B%5D:1", "vsock:3:4", "x"])
def test_peer_that_cannot_be_read_is_not_trusted(peer: str) -> None:
    assert address(peer, "198.51.100.1") == "local"


def test_neighbours_in_a_household_are_one_caller() -> None:
    one, two = (address(f"ipv6:%5B2001:db8:1:2:{rest}%5D:1") for rest in ("0:0:0:1", "ffff:ffff:ffff:ffff"))
    assert one == two != address("ipv6:%5B2001:db8:1:3::1%5D:1")
