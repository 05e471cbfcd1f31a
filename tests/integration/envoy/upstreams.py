"""The services behind the edge: they do what a test tells them, and write down what they were sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as limits_grpc

Context = grpc.aio.ServicerContext[Any, Any]
Answer = Callable[[Any, Context], Awaitable[Any]]


@dataclass
class Seen:
    """One call as the service saw it."""

    method: str
    request: Message
    metadata: dict[str, str]


@dataclass
class Script:
    """What a fake service does: `answers[method](request, context)`, else an empty reply."""

    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Seen] = field(default_factory=list)

    async def play(self, method: str, request: Message, context: Context, otherwise: Message) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        self.calls.append(Seen(method, request, metadata))
        if method in self.answers:
            return await self.answers[method](request, context)
        return otherwise

    def reset(self) -> None:
        self.answers.clear()
        self.calls.clear()


class Links(links_grpc.LinkServiceServicer):
    """LinkService by script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def CreateLink(self, request: links_pb.CreateLinkRequest, context: Context) -> Any:
        return await self._script.play("CreateLink", request, context, links_pb.Link(short_code="abc"))

    async def GetLink(self, request: links_pb.GetLinkRequest, context: Context) -> Any:
        return await self._script.play("GetLink", request, context, links_pb.Link(short_code=request.short_code))

    async def BatchCreateLinks(self, request: links_pb.BatchCreateLinksRequest, context: Context) -> Any:
        return await self._script.play("BatchCreateLinks", request, context, links_pb.BatchCreateLinksResponse())

    async def ListLinks(self, request: links_pb.ListLinksRequest, context: Context) -> Any:
        return await self._script.play("ListLinks", request, context, links_pb.ListLinksResponse())

    async def UpdateLink(self, request: links_pb.UpdateLinkRequest, context: Context) -> Any:
        return await self._script.play("UpdateLink", request, context, links_pb.Link(short_code=request.short_code))

    async def DeleteLink(self, request: links_pb.DeleteLinkRequest, context: Context) -> Any:
        return await self._script.play("DeleteLink", request, context, links_pb.Link(short_code=request.short_code))

    async def UndeleteLink(self, request: links_pb.UndeleteLinkRequest, context: Context) -> Any:
        return await self._script.play("UndeleteLink", request, context, links_pb.Link(short_code=request.short_code))

    async def ResolveLink(self, request: links_pb.ResolveLinkRequest, context: Context) -> Any:
        return await self._script.play("ResolveLink", request, context, links_pb.ResolveLinkResponse())


class Limits(limits_grpc.RateLimitServiceServicer):
    """RateLimitService by script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def Check(self, request: limits_pb.CheckRequest, context: Context) -> Any:
        return await self._script.play("Check", request, context, limits_pb.CheckResponse())


@dataclass
class ControlPort:
    """A gRPC server like a service's control port: its API, health and reflection."""

    server: grpc.aio.Server
    port: int
    script: Script
    health: health.aio.HealthServicer


@contextlib.asynccontextmanager
async def control_port(port: int = 0) -> AsyncIterator[ControlPort]:
    """Serves both APIs by one script for the time of the block."""
    script = Script()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 8 << 20)])
    links_grpc.add_LinkServiceServicer_to_server(Links(script), server)
    limits_grpc.add_RateLimitServiceServicer_to_server(Limits(script), server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(["waypost.api.v1.LinkService", reflection.SERVICE_NAME], server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield ControlPort(server, bound, script, servicer)
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
