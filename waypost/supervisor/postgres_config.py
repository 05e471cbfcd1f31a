"""The settings of the embedded PostgreSQL: a file of our own beside PostgreSQL's, which includes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DEFAULT_PORT = 5432
"""Part of the socket's name; nothing listens on it unless a port is asked for."""

SETTINGS = {
    "max_connections": "80",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "password_encryption": "scram-sha-256",
    "restart_after_crash": "on",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # statements hold people's addresses
    "log_error_verbosity": "terse",  # and so do the details of errors
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",  # our statements are small
    "client_connection_check_interval": "1s",  # a caller that was cut off does not keep its statement running
}


def render(socket_dir: Path, port: int | None, extra: Mapping[str, str]) -> str:
    """The file's text. `port`: also listen on 127.0.0.1 there; `extra` goes over everything."""
    folder = str(socket_dir).replace('"', '""')
    settings = SETTINGS | {
        "listen_addresses": "" if port is None else "127.0.0.1",
        "port": str(port or DEFAULT_PORT),
        "unix_socket_directories": f'"{folder}"',
        "unix_socket_permissions": "0700",
        **extra,
    }
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "\n".join(["# Written anew at every start.", *lines, ""])


def _quoted(value: str) -> str:
    text = value.replace("\\", r"\\").replace("'", "''")
    return f"'{text}'"
