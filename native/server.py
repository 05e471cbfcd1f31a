"""What the transport of the hot port counts: the shapes of `native._server.Server.stats`."""

from __future__ import annotations

from typing import TypedDict


class MethodStats(TypedDict):
    """Of one compiled handler; `buckets` has the calls of each of `BUCKETS`, not summed up, and of what is beyond."""

    calls: int
    failed: int
    nanoseconds: int
    buckets: list[int]


class ServerStats(TypedDict):
    """Counts since the start, but for the last three: `methods` by path, `caps` by name."""

    methods: dict[str, MethodStats]
    up: int
    refused: int
    cancelled: int
    accepted: int
    caps: dict[str, int]
    connections: int
    in_flight: int
    waiting_bytes: int
