"""Where a JWKS document is read from: a file, or an address of which nothing is believed but what TLS vouches for."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from waypost.access.jwks import MAX_DOCUMENT_BYTES
from waypost.access.jwks_url import check_url

FETCH_SECONDS = 10.0
"""Most time of one fetch, from its beginning to its last byte."""
STEP_SECONDS = 5.0
"""Most time that connecting, or waiting for more bytes, may take."""

# A pipe that nobody writes to is empty, and not waited for.
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class CannotRead(Exception):
    """The document is not to be had just now; `str()` says why."""


class Reader(Protocol):
    """Reads the document."""

    @property
    def name(self) -> str:
        """The file or address, for the log."""
        ...

    async def read(self) -> bytes:
        """The document, or more of it than `MAX_DOCUMENT_BYTES` if it is larger. Raises `CannotRead`."""
        ...


class FileReader:
    """A file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    async def read(self) -> bytes:
        return await asyncio.to_thread(self.read_now)

    def read_now(self) -> bytes:
        """The same, for who has no loop."""
        try:
            with open(self._path, "rb", opener=lambda name, _: os.open(name, _FILE_FLAGS)) as file:
                return file.read(MAX_DOCUMENT_BYTES + 1) or b""
        except (OSError, ValueError) as error:
            raise CannotRead(getattr(error, "strerror", None) or str(error)) from None


class UrlReader:
    """An address, asked with one GET each time. Redirects are not followed and no proxy of the environment is used."""

    def __init__(self, url: str, seconds: float = FETCH_SECONDS, tls: ssl.SSLContext | None = None) -> None:
        check_url(url)
        self._url = url
        self._seconds = seconds
        self._tls = tls

    @property
    def name(self) -> str:
        # What follows a question mark may be a secret.
        return self._url.partition("?")[0]

    async def read(self) -> bytes:
        fetch = _Fetch(urlsplit(self._url), self._tls)
        work = asyncio.create_task(asyncio.to_thread(fetch.run))
        # A thread cannot be cancelled; who no longer waits for it cuts its connection.
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(work)
        except TimeoutError:
            raise CannotRead(f"no whole answer within {self._seconds:g} s") from None
        finally:
            fetch.abort()
            if not work.done():
                work.add_done_callback(_forget)


def _forget(work: asyncio.Task[bytes]) -> None:
    if not work.cancelled():
        work.exception()


class _Fetch:
    """One GET in a thread of its own, which another thread may cut short."""

    def __init__(self, url: SplitResult, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._tls = tls
        self._sock: socket.socket | None = None
        self._aborted = False

    def run(self) -> bytes:
        """The body of the answer, of one byte too many at most. Raises `CannotRead`."""
        try:
            with contextlib.closing(self._connection()) as connection:
                return self._get(connection)
        except ssl.SSLCertVerificationError as error:
            raise CannotRead(f"its certificate is not good: {error.verify_message}") from None
        except TimeoutError:
            raise CannotRead(f"no answer for {STEP_SECONDS:g} s") from None
        except OSError as error:
            raise CannotRead(error.strerror or type(error).__name__) from None
        except (http.client.HTTPException, ValueError) as error:
            raise CannotRead(f"it does not speak HTTP as it should ({type(error).__name__})") from None

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=STEP_SECONDS)
        context = self._tls or ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=STEP_SECONDS, context=context)

    def _get(self, connection: http.client.HTTPConnection) -> bytes:
        connection.connect()
        # The connection lets go of it as soon as the answer's head says that it will be closed.
        self._sock = connection.sock
        if self._aborted:
            raise CannotRead("given up")
        path = self._url._replace(scheme="", netloc="", fragment="").geturl() or "/"
        headers = {"accept": "application/jwk-set+json, application/json", "user-agent": "waypost"}
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as answer:
            if answer.status in (301, 302, 303, 307, 308):
                raise CannotRead(f"it answers {answer.status}, to look elsewhere: give the address that it leads to")
            if answer.status != 200:
                raise CannotRead(f"it answers {answer.status}, not 200")
            return answer.read(MAX_DOCUMENT_BYTES + 1)

    def abort(self) -> None:
        """Ends it, wherever it is; harmless after its end."""
        self._aborted = True
        if self._sock is not None:
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which would take the TLS object from under the thread that reads.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
