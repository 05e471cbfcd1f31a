"""Connections that are opened, asked one thing, and closed again: as many as wanted, one after the other."""

from __future__ import annotations

import socket
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_SOURCES = 16
"""A closed connection's port rests for a minute: each source address has some 28,000."""


class NotAnswered(Exception):
    """A connection ended before its call was answered."""


def churn(address: str, method: str, message: bytes, count: int) -> None:
    """Opens `count` connections to `host:port` on the loopback, calls once on each, closes them, half by reset.

    Raises `NotAnswered`, `OSError`.
    """
    host, _, port = address.rpartition(":")
    opening = request(method, message)
    for number in range(count):
        source = (f"127.0.0.{2 + number % _SOURCES}", 0)
        with socket.create_connection((host, int(port)), timeout=5, source_address=source) as connection:
            connection.sendall(opening)
            _wait_for_answer(connection)
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def request(method: str, message: bytes) -> bytes:
    """All that a client sends on a connection for one call: preface, settings, headers, message."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": method.encode(),
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
    prefixed = struct.pack(">BI", 0, len(message)) + message
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, prefixed)
    )


def is_answered(received: bytes) -> bool:
    """Whether the whole frames in it have the end of stream 1."""
    place = 0
    while place + 9 <= len(received):
        length = int.from_bytes(received[place : place + 3], "big")
        kind, flags, stream = struct.unpack_from(">BBI", received, place + 3)
        if place + 9 + length > len(received):
            return False
        if stream == 1 and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            return True
        place += 9 + length
    return False


def _wait_for_answer(connection: socket.socket) -> None:
    received = b""
    while not is_answered(received):
        part = connection.recv(65536)
        if not part:
            raise NotAnswered(f"a connection ended after {len(received)} bytes, before its answer did")
        received += part


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    """A string as HPACK has it (RFC 7541, section 5.2), not compressed; shorter than 254 bytes."""
    return (bytes([len(value)]) if len(value) < 127 else bytes([127, len(value) - 127])) + value
