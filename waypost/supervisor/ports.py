"""Whether every port of the mesh is free, asked before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from waypost.supervisor.errors import CannotStart, PortInUse
from waypost.supervisor.settings import Listener


def check(listeners: Iterable[Listener]) -> None:
    """Tries to listen on each port for a moment. Raises `CannotStart`, `PortInUse`."""
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
