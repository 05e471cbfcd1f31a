"""The control port: grpcio, serving any set of servicers through our chain, with health and reflection."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from waypost.errors import MalformedRequest, UnknownMethod
from waypost.rpc import chain
from waypost.rpc.context import CallContext
from waypost.rpc.status import DETAILS_KEY, RpcError

HEALTH_CHECK = f"/{health.SERVICE_NAME}/Check"


class PortInUse(Exception):
    """Something else listens on the port; `str()` is one line that names it."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another process, or may not be used here")


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method of a servicer: bytes in, bytes out."""

    name: str
    parse: Callable[[bytes], Any]
    call: Callable[[Any, CallContext], Awaitable[Any]]
    serialize: Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class MethodTable:
    """All methods of a set of servicers: unary ones for our chain, streaming ones as grpcio has them."""

    services: tuple[str, ...]
    unary: Mapping[str, Method]
    streaming: Mapping[str, Any]


class _Collector:
    """Stands in for a server while the generated `add_…_to_server` registers methods."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Older way of the same registration; the one below has all of it."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers[service] = handlers


def method_table(servicers: Sequence[object]) -> MethodTable:
    """Reads the methods off servicer objects by the base class that protoc made for each."""
    collector = _Collector()
    for servicer in servicers:
        for base in type(servicer).__mro__:
            add = getattr(sys.modules[base.__module__], f"add_{base.__name__}_to_server", None)
            if add is not None:
                add(servicer, collector)
                break
        else:
            raise TypeError(f"{type(servicer).__name__} has no generated servicer as a base class")
    unary, streaming = {}, {}
    for service, handlers in collector.handlers.items():
        for name, handler in handlers.items():
            full = f"/{service}/{name}"
            if handler.request_streaming or handler.response_streaming:
                streaming[full] = handler
            else:
                unary[full] = Method(
                    full, handler.request_deserializer, handler.unary_unary, handler.response_serializer
                )
    return MethodTable(tuple(collector.handlers), unary, streaming)


def endpoint(table: MethodTable) -> chain.Handler:
    """The innermost handler of the chain: parses, calls the servicer, serialises."""

    async def call(context: CallContext, request: bytes) -> bytes:
        method = table.unary.get(context.method)
        if method is None:
            raise UnknownMethod(context.method)
        try:
            message = method.parse(request)
        except DecodeError:
            raise MalformedRequest(context.method) from None
        return method.serialize(await method.call(message, context))

    return call


@dataclass(frozen=True, slots=True)
class RpcServerOptions:
    """Bounds of a control port: sizes in bytes, `max_connections`' streams each."""

    host: str = "127.0.0.1"
    port: int = 0
    max_message_bytes: int = 65_536
    max_metadata_bytes: int = 16_384
    max_concurrent_streams: int = 1000


class RpcServer:
    """A grpcio server whose unary methods all go through one handler (the chain)."""

    def __init__(self, table: MethodTable, handler: chain.Handler, options: RpcServerOptions) -> None:
        self._options = options
        self._server = grpc.aio.server(
            options=[
                # A second server on a taken port must fail, not share it silently.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_metadata_size", options.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", options.max_metadata_bytes * 2),
                ("grpc.max_concurrent_streams", options.max_concurrent_streams),
                # Envoy's and our channels' keepalive pings are welcome; a flood is answered with GOAWAY.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        reflection.enable_server_reflection((*table.services, reflection.SERVICE_NAME), self._server)
        self._server.add_generic_rpc_handlers((_Methods(table, handler),))
        self.port = 0

    async def start(self) -> None:
        """Binds and serves; raises `PortInUse`."""
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        address = f"{host}:{self._options.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise PortInUse(address) from None
        await self._server.start()

    async def stop(self, grace: float, idle: Callable[[float], Awaitable[bool]]) -> None:
        """Takes no new calls, lets those in flight finish for at most `grace` seconds (`idle` waits for them), closes.

        Open streams (health `Watch`) would hold grpcio's own stop for all of its grace, so they are cut once the unary
        calls are done.
        """
        stopping = asyncio.create_task(self._server.stop(grace))
        await idle(grace)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.sleep(0)
                await self._server.stop(0.05)
                await stopping
        stopping.cancel()


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a call by its method's name; unknown ones also go through the chain, to be answered."""

    def __init__(self, table: MethodTable, handler: chain.Handler) -> None:
        self._streaming = table.streaming
        self._handler = handler
        self._unary = {name: self._adapt(name) for name in table.unary}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method
        return self._unary.get(name) or self._streaming.get(name) or self._adapt(name)

    def _adapt(self, method: str) -> Any:
        handler = self._handler

        async def call(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
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
            context.set_trailing_metadata(tuple(own.trailing_metadata()))
            return response

        return grpc.unary_unary_rpc_method_handler(call)  # typed for synchronous servers
