"""TCP ports: taking one, and saying that it is taken."""

from __future__ import annotations

import socket
from pathlib import Path


class PortInUse(Exception):
    """Something else listens on the port; `str()` is one line that names it."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another process, or may not be used here")


def listen(host: str, port: int, backlog: int = 512) -> socket.socket:
    """A bound, listening socket; raises `PortInUse`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    # Without this a restart within a minute fails on connections of the one before; it does not share a port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise PortInUse(address(host, port)) from None
    sock.setblocking(False)
    return sock


def listen_unix(path: Path, backlog: int = 512) -> socket.socket:
    """A bound, listening unix socket that only this user may connect to; raises `PortInUse`.

    A socket file that a process left behind, and that nobody listens on, is replaced.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left_behind(path)
        # Between the two calls nobody can connect: it does not listen yet.
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise PortInUse(f"unix:{path}") from None
    sock.setblocking(False)
    return sock


def _remove_left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            # Also of what is no socket at all.
            if path.is_socket():
                path.unlink()
        except FileNotFoundError:
            pass


def address(host: str, port: int) -> str:
    """`host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
