"""Takes a destination in: refuses URLs that are dangerous or that parsers read differently, keeps the rest as given."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NoReturn
from urllib.parse import quote

from gateway.flags import flags_of
from gateway.hosts import BadHost, Host, describe, parse_host
from gateway.readings import dissents
from waypost.errors import InvalidFields
from waypost.model import Destination, DestinationFlag

MAX_URL_BYTES = 8192

_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f-\x9f\s]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PATH_END = re.compile(r"[?#]")
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"[0-9]{1,5}")
PRINTABLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class Intake:
    """The rules for destinations.

    `own_hosts` are the names and addresses under which this Waypost answers (a port after one is passed over). Links to
    them would lead in circles, so they are refused in every notation and with every port. `max_url_bytes` counts the
    URL in UTF-8. `allow_private_hosts` says whether hosts that only a private network knows may be linked to; they are
    flagged. Raises `BadHost` if one of `own_hosts` is no host.
    """

    def __init__(
        self, own_hosts: Collection[str], max_url_bytes: int = MAX_URL_BYTES, allow_private_hosts: bool = True
    ) -> None:
        own = [_own_host(text) for text in own_hosts]
        self._own_names = frozenset(host.name for host in own)
        self._on_this_machine = any(map(_is_this_machine, own))
        self._max_url_bytes = max_url_bytes
        self._allow_private_hosts = allow_private_hosts

    def destination(self, url: str) -> Destination:
        """The destination to store for `url`.

        Its URL is the one given, byte for byte, except that a host in other scripts is put in its ASCII form; taking it
        in again changes nothing. Raises `InvalidFields` for the field `url`.
        """
        self._check_size(url)
        _check_characters(url)
        start = _authority_start(url)
        authority = _AUTHORITY_END.split(url[start:], maxsplit=1)[0]
        if "@" in authority:
            _refuse(
                "must not carry a user name or password: remove everything up to and including the '@' before the host"
            )
        try:
            given, port = _split_port(authority)
            host = parse_host(given)
        except BadHost as error:
            raise InvalidFields.one("url", str(error)) from None
        number = _port_number(port, url[:start])
        if host.name in self._own_names or (self._on_this_machine and _is_this_machine(host)):
            _refuse(f"leads to this service's own host {host.name}: give the address where the visitor shall end up")
        flags = flags_of(host)
        if DestinationFlag.PRIVATE_HOST in flags and not self._allow_private_hosts:
            _refuse(f"leads to {host.name}, which is not on the public internet: give an address that anyone can reach")
        stored = url[:start] + host.text + url[start + len(given) :]
        # The ASCII form of a host can be longer than what was given.
        self._check_size(stored)
        _check_readings(stored, host, number)
        return Destination(stored, flags)

    def _check_size(self, url: str) -> None:
        if not url:
            _refuse("must not be empty: give an absolute http:// or https:// URL")
        size = len(url.encode("utf-8", "surrogatepass"))
        if size > self._max_url_bytes:
            _refuse(f"has {size:,} bytes; at most {self._max_url_bytes:,} are allowed: give a shorter URL")


def location(url: str) -> str:
    """What the Location header carries for a stored URL: non-ASCII characters percent-encoded as UTF-8 (RFC 3987 3.1).

    ASCII is kept byte for byte, percent signs among it. The result is printable ASCII without spaces, so it cannot end
    the header line. Raises `UnicodeEncodeError` for lone surrogates, which no destination has.
    """
    return url if url.isascii() and url.isprintable() and " " not in url else quote(url, safe=PRINTABLE_ASCII)


def _refuse(sentence: str) -> NoReturn:
    raise InvalidFields.one("url", sentence)


def _check_characters(url: str) -> None:
    """Refuses what some parser strips, cuts at or chokes on, wherever in the URL it stands."""
    if bad := _CONTROL_OR_SPACE.search(url):
        char, place = bad.group(), bad.start() + 1
        mend = f"remove it, or write {quote(char)} if it belongs there"
        _refuse(f"has the space or control character {describe(char)} at position {place}: {mend}")
    try:
        url.encode()
    except UnicodeEncodeError as error:
        _refuse(
            f"has half of a character, {describe(url[error.start])}, at position {error.start + 1}: send valid UTF-8"
        )


def _authority_start(url: str) -> int:
    """The index after `http://` or `https://`; refuses everything that does not start so."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        _refuse("must be absolute: start it with https:// or http://")
    if scheme.group(1).lower() not in ("http", "https"):
        _refuse(f"must start with https:// or http://, not with {scheme.group()[:40]!r}")
    # Browsers read a backslash as a slash before the query, other parsers do not: they would see different hosts or
    # paths in the same URL. From the query on all of them take it as it is.
    if "\\" in _PATH_END.split(url, maxsplit=1)[0]:
        _refuse("has a backslash, which programs read differently: write '/' or, if it belongs to the path, %5C")
    start = scheme.end() + 2
    # Browsers skip missing and surplus slashes, other parsers see no host then.
    if not url.startswith("//", scheme.end()) or url.startswith("/", start):
        _refuse(f"must have exactly two slashes after '{scheme.group()}', then the host")
    return start


def _split_port(authority: str) -> tuple[str, str | None]:
    """Host and port as written; None: there is no colon after the host. Raises `BadHost`."""
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        if rest and not rest.startswith(":"):
            raise BadHost("has text after the ']' of its IPv6 address: only ':' and a port may stand there")
        return host + bracket, rest[1:] if rest else None
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise BadHost("has more than one colon in its host: write an IPv6 address in brackets, as in [2001:db8::1]")
    return host, port if colon else None


def _port_number(port: str | None, scheme: str) -> int:
    if port is None:
        return 443 if scheme.lower() == "https://" else 80
    if not port:
        _refuse("has a colon but no port after its host: remove the colon or add the port's number")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        _refuse("has no valid port after its host: give a number from 1 to 65535, or leave it out with the colon")
    return int(port)


def _check_readings(url: str, host: Host, port: int) -> None:
    """Refuses what visitors' programs would take elsewhere than what was checked here."""
    # What they get to read is the Location header.
    if others := ", ".join(dissents(location(url), host.text, port)):
        _refuse(f"leads to {host.name}, but not for all programs ({others}): write its host in a plainer way")


def _is_this_machine(host: Host) -> bool:
    """Whether the host is another way to say localhost."""
    if host.address is not None:
        return host.address.is_loopback or host.address.is_unspecified
    return host.name in ("localhost", "localhost.localdomain") or host.name.endswith(".localhost")


def _own_host(text: str) -> Host:
    bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    return parse_host(f"[{text}]" if bare_ipv6 else _split_port(text)[0])
