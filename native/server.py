"""What the transport of the hot port counts: the shapes of `native._server.Server.stats`."""

from __future__ import annotations

from typing import TypedDict


class Times(TypedDict):
    """How long calls took: `buckets` has the calls of each of `BUCKETS`, not summed up, and of what is beyond."""

    calls: int
    nanoseconds: int
    buckets: list[int]


class MethodStats(Times):
    """Of one compiled handler."""

    failed: int


class ServerStats(TypedDict):
    """Counts since the start, but for the last three: `methods` by path, `caps` by name; `taken`: waits for Python."""

    methods: dict[str, MethodStats]
    up: int
    taken: Times
    refused: int
    cancelled: int
    accepted: int
    caps: dict[str, int]
    connections: int
    in_flight: int
    waiting_bytes: int
