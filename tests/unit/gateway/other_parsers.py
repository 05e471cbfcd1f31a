"""URL parsers that visitors' programs may have, each as a function from a URL to the host and the port it sees."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from collections.abc import Callable
from ipaddress import IPv6Address
from urllib.parse import urlsplit

import ada_url
import httpx
import pydantic_core
import rfc3986  # type: ignore[import-untyped]
import rfc3986.exceptions  # type: ignore[import-untyped]
import yarl

DEFAULT_PORTS = {"http": 80, "https": 443}

Parser = Callable[[str], tuple[str | None, int | str | None]]


def _ada(url: str) -> tuple[str, str]:
    seen = ada_url.URL(url)
    return seen.hostname, seen.port


def _rust(url: str) -> tuple[str | None, int | None]:
    seen = pydantic_core.Url(url)
    return seen.host, seen.port


def _python(url: str) -> tuple[str | None, int | None]:
    seen = urlsplit(url)
    return seen.hostname, seen.port


def _yarl(url: str) -> tuple[str | None, int | None]:
    seen = yarl.URL(url)
    return seen.raw_host, seen.port


def _httpx(url: str) -> tuple[str, int | None]:
    try:
        seen = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError from error
    return seen.raw_host.decode("ascii"), seen.port


def _rfc3986(url: str) -> tuple[str | None, int | None]:
    try:
        seen = rfc3986.urlparse(url)
    except rfc3986.exceptions.RFC3986Exception as error:
        raise ValueError from error
    return seen.host, seen.port


PARSERS: dict[str, Parser] = {
    "ada (WHATWG, C++)": _ada,
    "url (WHATWG, Rust)": _rust,
    "urllib": _python,
    "yarl": _yarl,
    "httpx": _httpx,
    "rfc3986": _rfc3986,
}


class Curl:
    """The URL parser of libcurl, without a connection. Raises `OSError` where there is no libcurl."""

    _URL, _HOST, _PORT, _DEFAULT_PORT = 0, 5, 6, 1

    def __init__(self) -> None:
        name = ctypes.util.find_library("curl") or ctypes.util.find_library("curl-gnutls")
        if name is None:
            raise OSError("no libcurl")
        self._library = ctypes.CDLL(name)
        self._library.curl_url.restype = ctypes.c_void_p
        self._library.curl_url_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        out = ctypes.POINTER(ctypes.c_void_p)
        self._library.curl_url_get.argtypes = [ctypes.c_void_p, ctypes.c_int, out, ctypes.c_uint]
        self._library.curl_url_cleanup.argtypes = [ctypes.c_void_p]
        self._library.curl_free.argtypes = [ctypes.c_void_p]

    def __call__(self, url: str) -> tuple[str, str]:
        """Host and port of a URL; `ValueError`: curl takes it for none."""
        handle = self._library.curl_url()
        try:
            if code := self._library.curl_url_set(handle, self._URL, url.encode(), 0):
                raise ValueError(code)
            return self._part(handle, self._HOST), self._part(handle, self._PORT)
        finally:
            self._library.curl_url_cleanup(handle)

    def _part(self, handle: int, part: int) -> str:
        text = ctypes.c_void_p()
        if code := self._library.curl_url_get(handle, part, ctypes.byref(text), self._DEFAULT_PORT):
            raise ValueError(code)
        assert text.value is not None
        try:
            return ctypes.string_at(text.value).decode()
        finally:
            self._library.curl_free(text)


def place(parser: Parser, url: str) -> tuple[str, int] | None:
    """What a parser sees, hosts in one notation and the port as a number; None: no host.

    Independent of the product's own reading of addresses: the system's C library reads them.
    """
    try:
        host, port = parser(url)
    except ValueError:
        return None
    if not host:
        return None
    scheme = url.partition(":")[0].lower()
    return one_notation(host), int(port) if port else DEFAULT_PORTS[scheme]


def one_notation(host: str) -> str:
    """A host in lower case, without final dot and brackets, an address in its shortest usual form."""
    name = host.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    if ":" in name:
        return IPv6Address(name).compressed
    # What does not end in a number is a name to everyone, though `inet_aton` would take some of them.
    if name.rpartition(".")[2][:1].isdigit():
        try:
            return socket.inet_ntoa(socket.inet_aton(name))
        except OSError:
            pass
    return name
