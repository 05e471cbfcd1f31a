"""HTTP/1.1 as it goes over the wire."""

from __future__ import annotations


def ends_connection(received: bytes) -> bool:
    """Whether this is one whole answer, after which whoever sent it says nothing more on this connection.

    Envoy gives a caller whom it could not read a second to close; who waits for its end need not take so long.
    """
    head, end, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if not end or fields.get(b"connection") != b"close" or not fields.get(b"content-length", b"").isdigit():
        return False
    return len(body) >= int(fields[b"content-length"])
