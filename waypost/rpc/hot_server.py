"""The hot port: unary calls over nghttp2, compiled to the socket, through the same chain as the control port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import structlog

from native._server import Call, Server
from waypost.rpc import chain
from waypost.rpc.context import CallContext
from waypost.rpc.methods import NO_MESSAGE
from waypost.rpc.ports import listen
from waypost.rpc.status import DETAILS_KEY, RpcError

AT_ONCE = 128
"""So many calls are taken up before others get a turn."""

_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]


@dataclass(frozen=True, slots=True)
class HotServerOptions:
    """Bounds of a hot port: sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    threads: int = 1
    max_connections: int = 1000
    max_concurrent_streams: int = 1000
    max_metadata_bytes: int = 49_152
    max_message_bytes: int = 65_536
    max_in_flight: int = 10_000
    max_waiting_bytes: int = 268_435_456
    max_resets_per_second: int = 1000
    max_pings_per_second: int = 100
    max_settings_per_second: int = 20
    idle_seconds: float = 600.0
    message_seconds: float = 5.0
    write_seconds: float = 10.0


class HotServer:
    """Serves unary methods through one handler (the chain), on threads of its own."""

    def __init__(self, handler: chain.Handler, options: HotServerOptions) -> None:
        self._handler = handler
        self._options = options
        self._server = Server(
            threads=options.threads,
            max_connections=options.max_connections,
            max_streams=options.max_concurrent_streams,
            max_header_bytes=options.max_metadata_bytes,
            max_message_bytes=options.max_message_bytes,
            max_in_flight=options.max_in_flight,
            max_waiting_bytes=options.max_waiting_bytes,
            max_resets=options.max_resets_per_second,
            max_pings=options.max_pings_per_second,
            max_settings=options.max_settings_per_second,
            idle_ms=int(options.idle_seconds * 1000),
            message_ms=int(options.message_seconds * 1000),
            write_ms=int(options.write_seconds * 1000),
        )
        self._flushing = False
        self.port = 0

    async def start(self) -> None:
        """Binds and serves; raises `PortInUse`."""
        self._socket = listen(self._options.host, self._options.port)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._server.up_fd, self._take)
        self._server.start(self._socket.fileno())

    async def stop(self, grace: float, idle: Callable[[float], Awaitable[bool]]) -> None:
        """Asks clients to go, waits at most `grace` seconds for the calls in flight (by `idle`), closes the port."""
        await asyncio.to_thread(self._server.drain)
        await idle(grace)
        await asyncio.to_thread(self._server.stop)
        self._loop.remove_reader(self._server.up_fd)
        self._socket.close()

    def _take(self) -> None:
        taken = self._server.take(AT_ONCE)
        for call, gone in taken:
            if call.task is None:
                call.task = self._loop.create_task(self._serve(call))
            if gone:
                call.task.cancel()
        # What is left keeps the descriptor readable only if somebody comes anew.
        if len(taken) == AT_ONCE:
            self._loop.call_soon(self._take)

    async def _serve(self, call: Call) -> None:
        context = CallContext(call.method, call.metadata, call.peer, call.timeout)
        try:
            response = await self._handler(context, NO_MESSAGE if call.message is None else call.message)
        except RpcError as error:
            status = error.status
            trailing = [*context.trailing_metadata(), (DETAILS_KEY, status.to_proto().SerializeToString())]
            call.end(status.code.value[0], status.message, (), trailing)
        except asyncio.CancelledError:
            call.end(_CANCELLED)
            raise
        except BaseException:
            call.end(_INTERNAL, "internal error")
            structlog.get_logger().exception("the chain failed", rpc=call.method)
            raise
        else:
            call.end(0, "", context.initial_metadata(), context.trailing_metadata(), response)
        finally:
            self._flush_soon()

    def _flush_soon(self) -> None:
        # Once for all that are ended in this turn of the loop.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._server.flush()
