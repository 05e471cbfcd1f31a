"""Which addresses keys may be taken from. Imports nothing that takes time: settings are read by every command."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def check_url(url: str) -> None:
    """Raises `ValueError`, with the end of a sentence, for an address that keys must not be taken from."""
    parts = urlsplit(url)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be printable ASCII without spaces")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must be like https://id.example.com/jwks.json")
    if parts.username is not None or parts.fragment:
        raise ValueError("must have neither a user nor a fragment (#)")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is none") from None
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must begin with https:// (only an address of this machine may be http://)")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
