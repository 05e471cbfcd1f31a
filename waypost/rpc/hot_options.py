"""The bounds of a hot port, for whoever starts one: also where none was built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HotServerOptions:
    """Sizes in bytes, times in seconds; resets, pings and settings are of one connection in one second.

    `host` is an IP address, or `unix:` and a folder, in which the socket is `name`.sock.
    """

    name: str = "hot"
    host: str = "127.0.0.1"
    port: int = 0
    threads: int = 1
    max_connections: int = 1000
    max_concurrent_streams: int = 1000
    # The 32 KiB of headers that the edge lets through, and what HTTP/2 counts for each one besides.
    max_metadata_bytes: int = 49_152
    max_message_bytes: int = 65_536
    max_pending: int = 10_000
    max_waiting_bytes: int = 268_435_456
    max_resets: int = 1000
    max_pings: int = 100
    max_settings: int = 20
    idle_seconds: float = 600.0
    message_seconds: float = 5.0
    write_seconds: float = 10.0
