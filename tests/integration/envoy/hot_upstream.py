"""A service behind the edge that takes its calls on a hot port: the same scripts, answered through the compiled one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2

from tests.integration.envoy.upstreams import Guard, Script, Scripted, ServicePort
from tests.support.hot_port import need_hot_port
from waypost.rpc.context import CallContext
from waypost.rpc.hot_settings import HotPortSettings
from waypost.rpc.methods import method_table
from waypost.rpc.status import DETAILS_KEY, RpcError, RpcStatus
from waypost.supervisor.environment import BEHIND_THE_EDGE


@dataclass(frozen=True, slots=True)
class _Ready(RpcStatus):
    """A status that a script has made whole."""

    proto: status_pb2.Status | None = None

    def to_proto(self) -> status_pb2.Status:
        return RpcStatus.to_proto(self) if self.proto is None else self.proto


class _Context:
    """What scripts use of grpcio's context, over ours."""

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self.invocation_metadata = context.invocation_metadata
        self.peer = context.peer
        self.set_trailing_metadata = context.set_trailing_metadata

    def time_remaining(self) -> float | None:
        return self._context.client_timeout

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self._context.add_initial_metadata(metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        # An error is one block of fields here: what was to be sent before it stands in it.
        self._context.set_trailing_metadata(self._context.initial_metadata())
        self._context.set_trailing_metadata([pair for pair in trailing if pair[0] != DETAILS_KEY])
        found = next((value for key, value in trailing if key == DETAILS_KEY), None)
        proto = None if found is None else status_pb2.Status.FromString(bytes(found))  # type: ignore[arg-type]
        raise RpcError(_Ready(code, details, (), proto=proto))


@contextlib.asynccontextmanager
async def hot_port(port: int = 0, *, host: str = "127.0.0.1", grace: float = 0.0) -> AsyncIterator[ServicePort]:
    """Serves the whole contract by one script for the time of the block, as `control_port` does; bounds as in a mesh.

    `host`: an address, or `unix:` and a folder, where it makes `hot.sock`. In the end calls under way have `grace`
    seconds.
    """
    need_hot_port()
    from waypost.rpc.hot_server import HotServer

    script, guard, servicer = Script(), Guard(), health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    methods: dict[str, tuple[Any, Any, Any]] = {
        name: (one.request_deserializer, one.unary_unary, one.response_serializer)
        for name, one in Scripted(script).handlers.items()
    } | {name: (one.parse, one.call, one.serialize) for name, one in method_table([guard, servicer]).unary.items()}

    calls = 0
    idle = asyncio.Event()

    async def handler(context: CallContext, request: bytes) -> bytes:
        nonlocal calls
        calls += 1
        try:
            return await answer(context, request)
        finally:
            calls -= 1
            if not calls:
                idle.set()

    async def answer(context: CallContext, request: bytes) -> bytes:
        if context.method not in methods:
            raise RpcError(RpcStatus(grpc.StatusCode.UNIMPLEMENTED, "no such method", ()))
        parse, call, serialize = methods[context.method]
        return bytes(serialize(await call(parse(request), _Context(context))))

    settings = HotPortSettings.from_env({**BEHIND_THE_EDGE, "WAYPOST_HOT_HOST": host})
    server = HotServer(handler, settings.hot_options("hot", port, 3 << 20))
    await server.start()

    async def until_idle(seconds: float) -> bool:
        idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while calls:
                    await idle.wait()
        return not calls

    try:
        yield ServicePort(server.port, script, servicer, guard.script)
    finally:
        await server.stop(grace, until_idle)
