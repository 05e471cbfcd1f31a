"""Asking processes whether they are ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from waypost.supervisor.edge import drain
from waypost.supervisor.probe import Health, envoy_probe, get, service_probe


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that gives these answers in turn, and the requests it saw."""
    left, seen = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


@pytest.mark.parametrize(
    ("body", "health"),
    [
        (b'{"status": "ok", "checks": {}}', Health("ok")),
        (
            b'{"status": "degraded", "checks": {"pg": {"status": "down", "error": "away"}, "x": {"status": "ok"}}}',
            Health("degraded", "pg: away"),
        ),
        (b'1a\r\n{"status": "draining"}\r\n0\r\n\r\n', Health("draining")),
        (b'{"status": "starting", "checks": {"redis": "down"}}', Health("starting", "redis: down")),
        (b"<html>", None),
        (b'{"status": 1}', None),
        (b"", None),
    ],
)
async def test_what_a_service_says_of_itself(body: bytes, health: Health | None) -> None:
    async with answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n" + body) as (port, seen):
        assert await service_probe("127.0.0.1", port)() == health
        assert seen == ["GET /ready HTTP/1.1"]


async def test_what_envoy_says_of_itself() -> None:
    replies = (b"HTTP/1.1 503 x\r\n\r\nINITIALIZING\n", b"HTTP/1.1 200 OK\r\n\r\nLIVE\n")
    async with answering(*replies) as (port, _):
        assert await envoy_probe(port)() == Health("starting", "initializing")
        assert await envoy_probe(port)() == Health("ok")


async def test_nonsense_and_silence_are_no_answer() -> None:
    async with answering(b"SSH-2.0-OpenSSH\r\n") as (port, _):
        assert await get("127.0.0.1", port, "/") is None
    assert await get("127.0.0.1", port, "/") is None


async def test_envoy_is_stopped_once_nothing_is_in_flight() -> None:
    stats = [f"HTTP/1.1 200 OK\r\n\r\nhttp.http.downstream_rq_active: {n}\n".encode() for n in (2, 1, 0)]
    async with answering(b"HTTP/1.1 200 OK\r\n\r\nOK\n", *stats) as (port, seen):
        await drain(port, 20)
        assert seen[0] == "POST /drain_listeners?graceful HTTP/1.1"
        assert len(seen) == 4


async def test_requests_that_never_finish_are_not_waited_for_beyond_the_time() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\nhttp.http.downstream_rq_active: 1\n") as (port, seen):
        await drain(port, 0.2)
        assert len(seen) > 1
