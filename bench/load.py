"""A small HTTP/1.1 load generator: as many connections as asked, each one request at a time (closed loop)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class Result:
    """What one run measured: latencies in seconds, statuses counted, the seconds it took."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, q: float) -> float:
        """The latency in seconds below which the share `q` of the answers lies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete. Reads `content-length` bodies only."""

    def __init__(self, next_request: Callable[[], bytes], result: Result, until: float) -> None:
        self._next_request = next_request
        self._result = result
        self._until = until
        self._buffer = bytearray()
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are no subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        now = time.perf_counter()
        self._result.latencies.append(now - self._sent)
        self._result.statuses[int(head[9:12])] += 1
        self._buffer.clear()
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        request = self._next_request()
        self._sent = time.perf_counter()
        self._transport.write(request)


async def run(host: str, port: int, connections: int, seconds: float, next_request: Callable[[], bytes]) -> Result:
    """Drives `connections` for `seconds`; `next_request` makes the bytes of each request."""
    result = Result()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    until = started + seconds
    made = [
        await loop.create_connection(lambda: _Connection(next_request, result, until), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    result.seconds = time.perf_counter() - started
    return result
