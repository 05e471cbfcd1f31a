"""The services behind the edge: they do what a test tells them, and write down what they were sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tests.support import contract
from waypost.api.v1 import link_service_pb2 as links_pb

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Any, Context], Awaitable[Any]]


@dataclass
class Seen:
    """One call as the service saw it; of metadata of one name, `metadata` has the last and `pairs` all, in order."""

    method: str
    request: Message
    metadata: dict[str, str]
    pairs: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        """All that came under a name."""
        return [value for key, value in self.pairs if key == name]


@dataclass
class Script:
    """What a fake service does: `answers[method](request, context)`, else an empty reply."""

    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Seen] = field(default_factory=list)

    async def play(self, method: str, request: Message, context: Context, otherwise: Message) -> Any:
        pairs = [(str(key), str(value)) for key, value in context.invocation_metadata() or ()]
        self.calls.append(Seen(method, request, dict(pairs), pairs))
        if method in self.answers:
            return await self.answers[method](request, context)
        return otherwise

    def reset(self) -> None:
        self.answers.clear()
        self.calls.clear()


class Scripted(grpc.GenericRpcHandler):
    """Every method of the contract, by script: also those that the edge is to keep from here."""

    def __init__(self, script: Script) -> None:
        self.handlers = {contract.full_name(method): self._handler(script, method) for method in contract.methods()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self.handlers.get(handler_call_details.method)

    @staticmethod
    def _handler(script: Script, method: MethodDescriptor) -> Any:
        request_type = message_factory.GetMessageClass(method.input_type)
        answer_type = message_factory.GetMessageClass(method.output_type)

        async def play(request: Message, context: Context) -> Any:
            answer: Any = answer_type()
            if isinstance(answer, links_pb.Link):
                answer.short_code = getattr(request, "short_code", "") or "abc"
            return await script.play(method.name, request, context, answer)

        return grpc.unary_unary_rpc_method_handler(
            play, request_deserializer=request_type.FromString, response_serializer=answer_type.SerializeToString
        )


class Guard(rls_pb2_grpc.RateLimitServiceServicer):  # type: ignore[misc]  # its package has no types
    """Envoy's own questions: each is admitted unless a script's `ShouldRateLimit` says otherwise."""

    def __init__(self) -> None:
        self.script = Script()

    async def ShouldRateLimit(self, request: rls_pb2.RateLimitRequest, context: Context) -> rls_pb2.RateLimitResponse:
        admitted = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)
        answer: rls_pb2.RateLimitResponse = await self.script.play("ShouldRateLimit", request, context, admitted)
        return answer


@dataclass
class ServicePort:
    """A service's gRPC port, control or hot: its API, health, and what Envoy asks a rate limiter.

    `script` is the API's; `guard` has Envoy's questions.
    """

    port: int
    script: Script
    health: health.aio.HealthServicer
    guard: Script


@contextlib.asynccontextmanager
async def control_port(port: int = 0) -> AsyncIterator[ServicePort]:
    """Serves the whole contract by one script for the time of the block, and reflection, by grpcio."""
    script = Script()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 8 << 20)])
    server.add_generic_rpc_handlers((Scripted(script),))
    guard = Guard()
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(guard, server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(["waypost.api.v1.LinkService", reflection.SERVICE_NAME], server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield ServicePort(bound, script, servicer, guard.script)
    finally:
        await server.stop(None)


@dataclass
class Web:
    """An HTTP/1.1 server that repeats what it was sent, byte for byte, or gives the answer it is told to."""

    port: int = 0
    answer: bytes | None = None
    requests: list[bytes] = field(default_factory=list)

    @property
    def targets(self) -> list[bytes]:
        """The request targets seen, raw."""
        return [request.split(b" ", 2)[1] for request in self.requests]

    def reset(self) -> None:
        self.answer = None
        self.requests.clear()


@contextlib.asynccontextmanager
async def web_port(port: int = 0) -> AsyncIterator[Web]:
    """Serves for the time of the block."""
    web = Web()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /readyz "):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    continue
                web.requests.append(head)
                writer.write(web.answer or _echo(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        for writer in list(writers):
            writer.close()
        await server.wait_closed()


def _echo(head: bytes) -> bytes:
    line, *fields = head.rstrip(b"\r\n").split(b"\r\n")
    method, target, _ = line.split(b" ", 2)
    headers = [item.decode("latin-1").split(": ", 1) for item in fields]
    echo = {"method": method.decode(), "target": target.decode("latin-1"), "headers": headers}
    body = b"" if method == b"HEAD" else json.dumps(echo).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
