"""Ports for servers that cannot be given 0, such as Envoy and Redis.

A port that the kernel gives and that is let go of again may be taken by anybody's next connection before its server has
started. These are from below the kernel's own range, and no two are the same, whichever process on this machine asks.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

_FIRST = 12_000
# Where the kernel's own begin by default; if they begin before ours, there is nothing below them to be had.
_LAST = 32_767
_KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_MOST_LOOKED_AT = 10_000


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that is given to nobody else for thousands of calls."""
    for _ in range(_MOST_LOOKED_AT):
        port = _next()
        with socket.socket() as probe:
            # As servers do, so that connections which have ended stand in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104 - some listen on all addresses
            except OSError:
                continue
            return port
    raise OSError(f"of {_MOST_LOOKED_AT:,} ports in a row none is free")


def free_ports(count: int) -> list[int]:
    """As many of them, all different."""
    return [free_port() for _ in range(count)]


def _next() -> int:
    """The next number, counted in a file that all processes of this user share."""
    last = int(_KERNELS.read_text().split()[0]) - 1
    if last <= _FIRST:
        last = _LAST
    path = Path(tempfile.gettempdir()) / f"waypost-test-ports-{os.getuid()}"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        port = int(text) + 1 if text.isdigit() else _FIRST
        if not _FIRST <= port <= last:
            port = _FIRST
        file.seek(0)
        file.truncate()
        file.write(str(port))
    return port
