"""Whether every port and socket of the mesh is free, asked before anything starts."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from waypost.supervisor.errors import CannotStart, PortInUse
from waypost.supervisor.settings import Listener

MAX_SOCKET_BYTES = 107
"""Of the path of a unix socket: what Linux takes, but for the zero at its end."""


def check(listeners: Iterable[Listener], sockets: Iterable[Path] = ()) -> None:
    """Tries to listen on each port for a moment, and looks where sockets are to lie.

    Raises `CannotStart`, `PortInUse`.
    """
    seen: dict[int, str] = {}
    wanted = list(listeners)
    for listener in wanted:
        if listener.port in seen:
            raise CannotStart(
                f"{seen[listener.port]} and {listener.setting} both name port {listener.port}; each needs its own"
            )
        seen[listener.port] = listener.setting
    for listener in wanted:
        _try(listener)
    for path in sockets:
        _look(path)


def _try(listener: Listener) -> None:
    try:
        found = socket.getaddrinfo(
            listener.host or None, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise CannotStart(f"{listener.setting}: {listener.host!r} is not an address of this machine") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As a server does it: connections of an earlier run that linger in TIME_WAIT do not hold the port. With this
        # option two sockets may be bound to one port, but only one may listen: hence the listen.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(listener.setting, listener.port, _holder(listener.port)) from None
            if error.errno == errno.EACCES:
                raise CannotStart(
                    f"{listener.setting}: this user may not open port {listener.port}; choose one from 1024 up"
                ) from None
            raise CannotStart(
                f"{listener.setting}: cannot listen on {listener.host}, port {listener.port}: {error.strerror}"
            ) from None


def _look(path: Path) -> None:
    """Whether a hot port can make its socket, without making it: it replaces one that a dead process left behind."""
    setting, folder = "WAYPOST_HOT_HOST", path.parent
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        raise CannotStart(f"{setting}: {path} has more than the {MAX_SOCKET_BYTES} bytes of a socket's path")
    if not folder.is_dir():
        raise CannotStart(f"{setting}: there is no folder {folder}; make it, for this user alone")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotStart(f"{setting}: this user may not write to {folder}")
    if path.exists() and not path.is_socket():
        raise CannotStart(f"{setting}: {path} is in the way, and no socket; take it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError:  # its queue is full, or it is another user's: somebody's in any case
            pass
    raise CannotStart(f"{setting}: another process listens on {path}; each mesh needs a folder of its own")


def _holder(port: int) -> str:
    """Who listens on the port, for example `envoy (pid 4711)`; empty if this user may not know."""
    import psutil  # costs memory that only a failed start needs

    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
