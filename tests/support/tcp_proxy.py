"""A proxy between a process and PostgreSQL that can hold back, cut and refuse what passes, connection by connection.

Connections are known by their application name, which a client says in its first message; what is held is neither lost
nor changed. To the client the proxy is a TCP port; it reaches the server by its unix socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

READ_BYTES = 65_536


@dataclass(eq=False, slots=True)
class _Connection:
    name: str
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def cut(self) -> None:
        for side in (self.client, self.server):
            transport = side.transport
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()


@dataclass(eq=False)
class Hold:
    """Bytes that are held back while it lasts. `caught` is set when the first ones are."""

    name: str
    containing: bytes
    both_ways: bool
    caught: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Lets everything pass again, in its order."""
        self.over.set()


class Proxy:
    """One proxy on a port of its own; see `proxy_to`."""

    def __init__(self, socket_path: Path) -> None:
        self.port = 0
        self._socket_path = socket_path
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._holds: list[Hold] = []
        self._refused: set[str] = set()
        self._watched: list[tuple[str, bytes, asyncio.Event]] = []
        self._opened: dict[str, asyncio.Event] = {}

    def url(self, url: str) -> str:
        """The database's URL with this proxy in place of the server."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        # The first message must be readable here.
        query = "sslmode=disable"
        return parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}", query=query).geturl()

    def names(self) -> list[str]:
        """The application names of the connections that are open."""
        return sorted(connection.name for connection in self._connections)

    def hold(self, name: str, *, containing: bytes = b"", both_ways: bool = False) -> Hold:
        """From now on keeps what the server sends on connections of this name, from the first answer on that contains
        these bytes; `both_ways`: also what the client sends, and at once."""
        hold = Hold(name, containing, both_ways)
        self._holds.append(hold)
        return hold

    def cut(self, name: str) -> int:
        """Resets all connections of this name; how many there were."""
        found = [connection for connection in self._connections if connection.name == name]
        self._opened.setdefault(name, asyncio.Event()).clear()
        for connection in found:
            connection.cut()
        return len(found)

    def refuse(self, name: str) -> None:
        """Resets new connections of this name, until `admit`."""
        self._refused.add(name)

    def admit(self, name: str) -> None:
        """Lets connections of this name in again."""
        self._refused.discard(name)

    def passing(self, name: str, text: bytes) -> asyncio.Event:
        """An event: from now on the server has sent these bytes, in one piece, on a connection of this name, and the
        client was given them."""
        event = asyncio.Event()
        self._watched.append((name, text, event))
        return event

    async def opened(self, name: str) -> None:
        """Waits until a connection of this name has been let in after the last `cut`."""
        async with asyncio.timeout(10):
            await self._opened.setdefault(name, asyncio.Event()).wait()

    def release(self) -> None:
        """Ends everything that was ordered: nothing is held or refused any more."""
        for hold in self._holds:
            hold.release()
        self._holds.clear()
        self._refused.clear()
        self._watched.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Only `_close` cancels it, and the streams of asyncio would report that as an error of ours.
        ends = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ends), contextlib.closing(writer):
            first = await _first_message(reader)
            name = _application_name(first)
            if name in self._refused:
                writer.transport.abort()
                return
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket_path)
            server_writer.write(first)
            connection = _Connection(name, writer, server_writer)
            self._connections.add(connection)
            self._opened.setdefault(name, asyncio.Event()).set()
            try:
                with contextlib.closing(server_writer):
                    await _first_done(
                        self._pass_on(name, reader, server_writer, from_server=False),
                        self._pass_on(name, server_reader, writer, from_server=True),
                    )
            finally:
                self._connections.discard(connection)

    async def _pass_on(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        while data := await reader.read(READ_BYTES):
            for hold in tuple(self._holds):
                if hold.name != name or hold.over.is_set():
                    continue
                if hold.both_ways or (from_server and (hold.caught.is_set() or hold.containing in data)):
                    hold.caught.set()
                    await hold.over.wait()
            writer.write(data)
            await writer.drain()
            if from_server:
                for watched, text, event in self._watched:
                    if watched == name and text in data:
                        event.set()

    async def _close(self) -> None:
        self.release()
        for connection in set(self._connections):
            connection.cut()
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxy_to(socket_path: Path) -> AsyncIterator[Proxy]:
    """A proxy to the server behind a unix socket."""
    proxy = Proxy(socket_path)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy._close()
        await server.wait_closed()


async def _first_message(reader: asyncio.StreamReader) -> bytes:
    """The start-up message, or a request to cancel: both begin with their length."""
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!I", length)[0] - 4)


def _application_name(first: bytes) -> str:
    """The parameters of a start-up message are names and values, each ended by a zero byte."""
    words = first[8:].split(b"\0")
    parameters = dict(zip(words[::2], words[1::2], strict=False))
    return parameters.get(b"application_name", b"").decode()


async def _first_done(*works: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
