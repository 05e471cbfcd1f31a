"""The control port: grpcio, serving any set of servicers through our chain, with health and reflection."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health

from waypost.errors import Draining
from waypost.rpc import chain, reflection
from waypost.rpc.context import CallContext
from waypost.rpc.methods import NO_MESSAGE, MethodTable, method_table
from waypost.rpc.ports import PortInUse, address, listen
from waypost.rpc.status import DETAILS_KEY, RpcError

HEALTH_CHECK = f"/{health.SERVICE_NAME}/Check"

_FLUSH_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_REOPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RpcServerOptions:
    """Bounds of a control port: sizes in bytes, streams of each connection, calls that wait to be taken up.

    `max_message_bytes` is what the transport reads, for whatever method, and refuses without details above; a method's
    own cap may be lower (see `waypost.rpc.methods.endpoint`).
    """

    host: str = "127.0.0.1"
    port: int = 0
    max_message_bytes: int = 65_536
    # The 32 KiB of headers that the edge lets through, and what gRPC counts for each one besides.
    max_metadata_bytes: int = 49_152
    max_concurrent_streams: int = 1000
    max_pending: int = 10_000
    # Seconds that a caller has to send its message.
    message_seconds: float = 5.0


class RpcServer:
    """A grpcio server whose unary methods all go through one handler (the chain)."""

    def __init__(self, table: MethodTable, handler: chain.Handler, options: RpcServerOptions) -> None:
        self._options = options
        self._streams = _Streams()
        reflected = method_table([reflection.servicer(table.services)])
        self._methods = _Methods(
            table.unary, {**table.streaming, **reflected.streaming}, handler, self._streams, options.message_seconds
        )
        self._server: grpc.aio.Server | None = None
        self._stopping = False
        self.port = 0

    async def start(self) -> None:
        """Binds and serves; raises `PortInUse`."""
        host, port = self._options.host, self._options.port
        if port:
            # grpcio writes a line of its own, in a format of its own, about a port that it does not get.
            listen(host, port).close()
        await self._serve(port)

    async def run(self) -> None:
        """Watches until the server is stopped; raises when it stopped by itself and does not come back.

        A path that is not UTF-8 ends grpcio's accepting loop, and with it every call, while the process looks well
        (seen with 1.85.1). The server is made anew on its port.
        """
        log = structlog.get_logger()
        while self._server is not None and not self._stopping:
            try:
                # In turns: grpcio tells of its failure only at the end of one, or when all peers have hung up.
                await self._server.wait_for_termination(timeout=_LOOK_SECONDS)
            except Exception as error:
                log.error("control port failed; it is opened again", error=str(error))
                async with asyncio.timeout(_REOPEN_SECONDS):
                    await self._reopen()

    async def stop(self, grace: float, idle: Callable[[float], Awaitable[bool]]) -> None:
        """Waits for the calls in flight for at most `grace` seconds (by `idle`), ends open streams, closes the port.

        New calls are answered meanwhile: whoever wants them refused says so to the chain.
        """
        if self._server is None:
            return
        # Not by grpcio's own grace: that would also wait for streams, which a health `Watch` keeps open for ever.
        finished = await idle(grace)
        self._stopping = True
        self._streams.end()
        # Answers of calls that the chain is done with may still be on their way out.
        stopping = asyncio.create_task(self._server.stop(_FLUSH_SECONDS if finished else 0.1))
        # A method that does not heed its cancellation would hold grpcio for ever.
        await asyncio.wait([stopping], timeout=_FLUSH_SECONDS + 1.0)
        stopping.cancel()

    async def _serve(self, port: int) -> None:
        options = self._options
        server = grpc.aio.server(
            options=[
                # A second server on a taken port must fail, not share it silently.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_metadata_size", options.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", options.max_metadata_bytes * 2),
                # Beyond 1,000 calls that Python has not taken up yet grpcio begins to answer CANCELLED by chance; the
                # chain says RESOURCE_EXHAUSTED and when to come back.
                ("grpc.server.max_pending_requests", options.max_pending),
                ("grpc.server.max_pending_requests_hard_limit", options.max_pending * 2),
                ("grpc.max_concurrent_streams", options.max_concurrent_streams),
                # Envoy's and our channels' keepalive pings are welcome; a flood is answered with GOAWAY.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        server.add_generic_rpc_handlers((self._methods,))
        where = address(options.host, port)
        try:
            self.port = server.add_insecure_port(where)
        except RuntimeError:
            raise PortInUse(where) from None
        await server.start()
        self._server = server

    async def _reopen(self) -> None:
        while not self._stopping:
            try:
                await self._serve(self.port)
            except PortInUse:
                await asyncio.sleep(0.05)
            else:
                return


class _Streams:
    """The streams that are open: each ends when its method does, or when the server stops."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[None]] = set()

    def end(self) -> None:
        """Ends all of them."""
        for task in self._open:
            task.cancel()

    def adapt(self, handler: Any) -> Any:
        """The method handler around another one's method, in either of the ways that grpcio lets methods send."""
        method = handler.unary_stream or handler.stream_stream
        if method is None:
            return handler

        async def stream(request: Any, context: Any) -> None:
            task = asyncio.create_task(_play(method, request, context))
            self._open.add(task)
            try:
                await asyncio.wait([task])
            finally:
                self._open.discard(task)
                task.cancel()
            if task.cancelled():
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(Draining()))
            task.result()

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_stream_rpc_method_handler(stream, handler.request_deserializer, handler.response_serializer)


async def _play(method: Callable[[Any, Any], Any], request: Any, context: Any) -> None:
    if inspect.isasyncgenfunction(method):
        async for response in method(request, context):
            await context.write(response)
    else:
        await method(request, context)


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a call by its method's name; unknown ones also go through the chain, to be answered."""

    def __init__(
        self,
        unary: Iterable[str],
        streaming: Mapping[str, Any],
        handler: chain.Handler,
        streams: _Streams,
        message_seconds: float,
    ) -> None:
        self._handler = handler
        self._message_seconds = message_seconds
        self._handlers = {name: self._adapt(name) for name in unary}
        self._handlers |= {name: streams.adapt(handler) for name, handler in streaming.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method
        return self._handlers.get(name) or self._adapt(name)

    def _adapt(self, method: str) -> Any:
        handler = self._handler

        async def call(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            request = await self._read(context)
            own = CallContext(
                method,
                context.invocation_metadata() or (),  # type: ignore[arg-type]  # a tuple of pairs at run time
                context.peer(),
                context.time_remaining(),
            )
            try:
                response = await handler(own, request)
            except RpcError as error:
                status = error.status
                trailing = (*own.trailing_metadata(), (DETAILS_KEY, status.to_proto().SerializeToString()))
                await context.abort(status.code, status.message, trailing)
                raise
            except Exception:
                structlog.get_logger().exception("the chain failed", rpc=method)
                await context.abort(grpc.StatusCode.INTERNAL, "internal error")
                raise
            if own.initial_metadata():
                await context.send_initial_metadata(tuple(own.initial_metadata()))
            context.set_trailing_metadata(tuple(own.trailing_metadata()))
            return response

        # Unary for the caller. grpcio calls a handler of that kind only once the message is there, and never answers a
        # caller that sends none; so the message is read here.
        return grpc.stream_unary_rpc_method_handler(call)  # typed for synchronous servers

    async def _read(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._message_seconds):
                message = await context.read()
        except TimeoutError:
            return NO_MESSAGE
        return message if isinstance(message, bytes) else NO_MESSAGE
