"""The hot port: unary calls over nghttp2, compiled to the socket, through the same chain as the control port."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import structlog

from native._server import Call, Server
from waypost.rpc import chain
from waypost.rpc.context import CallContext
from waypost.rpc.hot_options import HotServerOptions
from waypost.rpc.methods import NO_MESSAGE
from waypost.rpc.ports import address, listen, listen_unix
from waypost.rpc.status import DETAILS_KEY, RpcError

AT_ONCE = 128
"""So many calls are taken up before others get a turn."""

_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]

_FLUSH_SECONDS = 1.0
_LOOK_SECONDS = 0.01


class HotServer:
    """Serves unary methods through one handler (the chain), on threads of its own.

    `transport` is there to register compiled handlers with, before `start`; calls that they leave, and those of all
    other methods, go through the chain.
    """

    def __init__(self, handler: chain.Handler, options: HotServerOptions) -> None:
        self._handler = handler
        self._options = options
        self._socket: socket.socket | None = None
        self._flushing = False
        self._serving = False
        self.port = 0
        self.transport = Server(
            threads=options.threads,
            max_connections=options.max_connections,
            max_streams=options.max_concurrent_streams,
            max_header_bytes=options.max_metadata_bytes,
            max_message_bytes=options.max_message_bytes,
            max_in_flight=options.max_pending,
            max_waiting_bytes=options.max_waiting_bytes,
            max_resets=options.max_resets,
            max_pings=options.max_pings,
            max_settings=options.max_settings,
            idle_ms=int(options.idle_seconds * 1000),
            message_ms=int(options.message_seconds * 1000),
            write_ms=int(options.write_seconds * 1000),
        )

    @property
    def address(self) -> str:
        """Where it listens: `host:port`, or `unix:` and a path."""
        path = self._path()
        return f"unix:{path}" if path else address(self._options.host, self.port)

    async def start(self) -> None:
        """Binds and serves; raises `PortInUse`."""
        path = self._path()
        if path:
            self._socket = listen_unix(path)
        else:
            self._socket = listen(self._options.host, self._options.port)
            self.port = self._socket.getsockname()[1]
        self._serving = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.transport.up_fd, self._take)
        self.transport.start(self._socket.fileno())

    async def leave(self) -> None:
        """Closes the port to newcomers and asks clients to go; calls of those who are still there are served."""
        if self._socket is None:
            return
        listener, self._socket = self._socket, None
        # First: clients come anew as soon as they are asked to go, and are to be refused then at once, which is known
        # to have done nothing, and not to wait in the kernel's queue until that is thrown away.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        if path := self._path():
            path.unlink(missing_ok=True)
        await asyncio.to_thread(self.transport.drain)
        listener.close()

    async def stop(self, grace: float, idle: Callable[[float], Awaitable[bool]]) -> None:
        """Leaves, waits for the calls in flight at most `grace` seconds (by `idle`), closes all connections."""
        if not self._serving:
            return
        self._serving = False
        try:
            await self.leave()
            if await idle(grace):
                # The last answers are still on their way out; whoever took his hangs up, as it was asked to.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FLUSH_SECONDS if grace else 0):
                        while self.transport.stats()["connections"]:  # noqa: ASYNC110 - its threads tell nobody
                            await asyncio.sleep(_LOOK_SECONDS)
        finally:
            # Also when nobody waits for it any more: it cannot be stopped another time.
            await asyncio.to_thread(self.transport.stop)
            self._loop.remove_reader(self.transport.up_fd)

    def _path(self) -> Path | None:
        folder = self._options.host.removeprefix("unix:")
        return Path(folder) / f"{self._options.name}.sock" if folder != self._options.host else None

    def _take(self) -> None:
        # What is left keeps the descriptor readable.
        for call, gone in self.transport.take(AT_ONCE):
            if not gone:
                call.task = self._loop.create_task(self._serve(call))
                continue
            # A task that is cancelled before it has begun never does, and would not end its call.
            if call.task is None or inspect.getcoroutinestate(call.task.get_coro()) == inspect.CORO_CREATED:
                call.end(_CANCELLED)
            if call.task is not None:
                call.task.cancel()
            # What it holds is let go of once that is flushed, also if it never began.
            self._flush_soon()

    async def _serve(self, call: Call) -> None:
        context = CallContext(call.method, call.metadata, call.peer, call.timeout)
        try:
            try:
                response = await self._handler(context, NO_MESSAGE if call.message is None else call.message)
            except RpcError as error:
                status = error.status
                trailing = [*context.trailing_metadata(), (DETAILS_KEY, status.to_proto().SerializeToString())]
                call.end(status.code.value[0], status.message, (), trailing)
            else:
                call.end(0, "", context.initial_metadata(), context.trailing_metadata(), response)
        except asyncio.CancelledError:
            call.end(_CANCELLED)
            raise
        except Exception:
            # Also of an answer that is none: metadata that no field can have.
            call.end(_INTERNAL, "internal error")
            structlog.get_logger().exception("the chain failed", rpc=call.method)
        finally:
            self._flush_soon()

    def _flush_soon(self) -> None:
        # Once for all that are ended in this turn of the loop.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.transport.flush()
