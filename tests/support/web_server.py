"""A web server of one address, whose answers a test writes byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class WebServer:
    """`answer` is called for each request; `requests` are the heads of those that came."""

    port: int = 0
    scheme: str = "http"
    answer: Answer | None = None
    requests: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed its connection."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/jwks.json"

    def says(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        """Answers so from now on."""
        self.sends(whole(body, status, *headers))

    def sends(self, data: bytes) -> None:
        """Sends these bytes from now on, and nothing more."""

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(data)

        self.answer = answer


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An answer of HTTP/1.1."""
    lines = (f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers, "", "")
    return "\r\n".join(lines).encode() + body


@contextlib.asynccontextmanager
async def web_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    """Serves on a free port for the time of the block."""
    server = WebServer(scheme="https" if tls else "http")
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            server.requests.append(head.decode())
            assert server.answer is not None
            await server.answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            server.gone.set()
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    listener = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await listener.wait_closed()
