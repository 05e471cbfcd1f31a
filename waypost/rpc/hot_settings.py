"""What a service with a hot port can be told of it, and the bounds that makes."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from waypost.rpc.hot_options import HotServerOptions
from waypost.settings import ServiceSettings, setting


def _host(value: str) -> str:
    if value.startswith("unix:"):
        if not value.startswith("unix:/"):
            raise ValueError("must name a folder from the root on: unix:/run/waypost")
        return value
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("must be an IP address, or unix: and a folder like unix:/run/waypost") from None
    return value


HotHost = Annotated[str, AfterValidator(_host)]


class HotPortSettings(ServiceSettings):
    """What every service with a hot port can be told."""

    hot_ports: bool = setting(
        "WAYPOST_HOT_PORTS",
        True,
        "Whether services answer unary calls on hot ports, too, which are compiled to the socket; where those were not "
        "built it makes no difference.",
    )
    hot_host: HotHost = setting(
        "WAYPOST_HOT_HOST",
        "127.0.0.1",
        "Address on which hot ports listen, whatever WAYPOST_HOST is: they speak HTTP/2 without TLS. Or unix: and "
        "a folder for their sockets, like unix:/run/waypost.",
    )
    hot_threads: int = Field(
        1, ge=1, le=64, alias="WAYPOST_HOT_THREADS", description="Threads of each hot port, besides Python's own."
    )
    hot_max_connections: int = Field(
        1000,
        ge=1,
        le=100_000,
        alias="WAYPOST_HOT_MAX_CONNECTIONS",
        description="Most connections to a hot port; more are closed at once.",
    )
    hot_max_streams: int = Field(
        1000,
        ge=1,
        le=100_000,
        alias="WAYPOST_HOT_MAX_STREAMS",
        description="Most calls at a time on one connection to a hot port.",
    )
    hot_max_metadata_bytes: int = Field(
        49_152,
        ge=4096,
        le=1_048_576,
        alias="WAYPOST_HOT_MAX_METADATA_BYTES",
        description="Largest metadata of a call to a hot port, in bytes, and 32 for each item.",
    )
    hot_max_pending: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_HOT_MAX_PENDING",
        description="Most calls of a hot port that Python has not answered yet, with those it has not begun.",
    )
    hot_max_waiting_bytes: int = Field(
        268_435_456,
        ge=1_048_576,
        le=1 << 40,
        alias="WAYPOST_HOT_MAX_WAITING_BYTES",
        description="Most memory for the metadata, messages and answers of all calls of a hot port, in bytes.",
    )
    hot_max_resets: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_HOT_MAX_RESETS",
        description="Calls that one connection to a hot port may cancel in a second; beyond it, it is closed.",
    )
    hot_max_pings: int = Field(
        100,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_HOT_MAX_PINGS",
        description="Pings, and other frames that carry nothing, of one connection to a hot port in a second; "
        "beyond it, it is closed.",
    )
    hot_max_settings: int = Field(
        20,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_HOT_MAX_SETTINGS",
        description="SETTINGS frames of one connection to a hot port in a second; beyond it, it is closed.",
    )
    hot_idle_seconds: float = Field(
        600.0,
        gt=0,
        le=86_400,
        alias="WAYPOST_HOT_IDLE_SECONDS",
        description="A connection to a hot port without calls is closed after this time, in seconds.",
    )
    hot_write_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        alias="WAYPOST_HOT_WRITE_SECONDS",
        description="Time that a caller of a hot port has to take its answer, in seconds.",
    )

    def hot_options(self, name: str, port: int, max_message_bytes: int) -> HotServerOptions:
        """The bounds of the hot port of the service `name`, whose callers have its default deadline for a message."""
        return HotServerOptions(
            name=name,
            host=self.hot_host,
            port=port,
            threads=self.hot_threads,
            max_connections=self.hot_max_connections,
            max_concurrent_streams=self.hot_max_streams,
            max_metadata_bytes=self.hot_max_metadata_bytes,
            max_message_bytes=max_message_bytes,
            max_pending=self.hot_max_pending,
            max_waiting_bytes=self.hot_max_waiting_bytes,
            max_resets=self.hot_max_resets,
            max_pings=self.hot_max_pings,
            max_settings=self.hot_max_settings,
            idle_seconds=self.hot_idle_seconds,
            message_seconds=self.default_deadline_ms / 1000,
            write_seconds=self.hot_write_seconds,
        )
