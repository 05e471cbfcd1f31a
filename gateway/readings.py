"""How other programs read a URL: second opinions on where it leads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from pydantic_core import Url

from gateway.ip_addresses import ends_in_number, parse_ipv4

_DEFAULT_PORTS = {"http": 80, "https": 443}


def dissents(url: str, host: str, port: int) -> Iterator[str]:
    """What programs see in an `http` or `https` URL that is not this host and port: `browsers see example.com:443`.

    Notations of one host are the same: capitals, a final dot, an address in other numbers.
    """
    name = canonical(host)
    for programs, read in _READERS:
        try:
            seen_host, seen_port = read(url)
        except ValueError:
            yield f"{programs} see no host"
        else:
            if (canonical(seen_host), seen_port) != (name, port):
                yield f"{programs} see {seen_host}:{seen_port}"


def canonical(host: str) -> str:
    """A host as parsers give it, in the one form that is compared: `EXAMPLE.com.`, `127.1` and `[0:0::1]` have one."""
    name = host.lower().removesuffix(".")
    if ":" in name:
        try:
            return str(IPv6Address(name.removeprefix("[").removesuffix("]")))
        except ValueError:
            return name
    labels = name.split(".")
    address = parse_ipv4(labels) if ends_in_number(labels) else None
    return name if address is None else str(address)


def _by_whatwg(url: str) -> tuple[str, int]:
    # The `url` crate of Rust, which implements the WHATWG URL standard, comes with pydantic.
    seen = Url(url)
    return seen.host or "", seen.port or 0


def _by_python(url: str) -> tuple[str, int]:
    # Splits roughly as RFC 3986, appendix B, and takes every text for a host.
    seen = urlsplit(url)
    return seen.hostname or "", _DEFAULT_PORTS.get(seen.scheme, 0) if seen.port is None else seen.port


_READERS: tuple[tuple[str, Callable[[str], tuple[str, int]]], ...] = (
    ("browsers", _by_whatwg),
    ("other programs", _by_python),
)
