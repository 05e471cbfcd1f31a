"""A client that does nothing but ask, as fast as plain sockets go: whole calls, prepared in advance."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.integration.h2.wire import DATA, END_HEADERS, END_STREAM, GRPC, HEADERS, PREFACE, SETTINGS, frame, message

AT_A_TIME = 250
"""Calls on one connection."""
MOST_STREAMS = 2**30
_addresses = itertools.cycle(f"127.0.0.{last}" for last in range(2, 250))


def _plain(fields: Sequence[tuple[str, str]]) -> bytes:
    """A block that needs no table, so that it is the same for each call. Names and values have fewer than 127 bytes."""
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields
    )


def _call(stream: int, block: bytes, content: bytes) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, content)


class Driver:
    """One connection to a server on `port`."""

    def __init__(self, port: int, path: str) -> None:
        # From many addresses: one alone has too few ports for many connections one after the other.
        self._socket = socket.create_connection(("127.0.0.1", port), 20, (next(_addresses), 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._block = _plain([(name, path if name == ":path" else value) for name, value in GRPC])
        self._left = b""
        self._next = 1
        # No window to open: what it is given is enough for all that it asks.
        grant = frame(8, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535))
        self._socket.sendall(PREFACE + frame(SETTINGS) + grant + frame(SETTINGS, 1))

    def ask(self, calls: int, content: bytes = b"hi") -> None:
        """Has so many calls answered with status 0 and a message. Raises `ConnectionError` if the server goes."""
        whole = message(content)
        while calls > 0:
            now = min(calls, AT_A_TIME)
            streams = range(self._next, self._next + 2 * now, 2)
            self._next += 2 * now
            self._socket.sendall(b"".join(_call(stream, self._block, whole) for stream in streams))
            ended = 0
            while ended < now:
                ended += self._take()
            calls -= now

    def hang_up(self, *, rudely: bool) -> None:
        """Closes the connection; rudely, so that the server is told by a reset."""
        if rudely:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _take(self) -> int:
        """Reads some, and says how many calls have ended in it."""
        more = self._socket.recv(1 << 18)
        if not more:
            raise ConnectionError("the server has closed the connection")
        data, at, ended = self._left + more, 0, 0
        while len(data) - at >= 9:
            after = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if after > len(data):
                break
            ended += data[at + 3] == HEADERS and data[at + 4] & END_STREAM
            at = after
        self._left = data[at:]
        return ended


@contextmanager
def driver(port: int, path: str, *, rudely: bool = False) -> Iterator[Driver]:
    """A connection that is closed at the end."""
    connection = Driver(port, path)
    try:
        yield connection
    finally:
        connection.hang_up(rudely=rudely)
