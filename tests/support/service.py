"""A service of the template, really running on free ports, with servicers that do what a test tells them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from tests.support.identities import Known, as_owner
from tests.support.waiting import until
from waypost.access.identity import Identity
from waypost.api.v1 import error_reason_pb2, link_service_pb2, link_service_pb2_grpc, rate_limit_service_pb2_grpc
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.rpc.chain import Middleware
from waypost.rpc.context import CallContext
from waypost.rpc.health import Check, Health
from waypost.rpc.hot_settings import HotPortSettings
from waypost.rpc.methods import MessageCap
from waypost.rpc.process import Ports, Service, serve
from waypost.rpc.status import DETAILS_KEY
from waypost.settings import ServiceSettings
from waypost.telemetry import Metrics, configure_logging

LINKS = "waypost.api.v1.LinkService"
LIMITS = "waypost.api.v1.RateLimitService"
GET_LINK = f"/{LINKS}/GetLink"

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Behaviour = Callable[[Any, CallContext], Awaitable[Any]]


class Script:
    """What the servicers do: `get_link(request, context)`; what they were asked."""

    def __init__(self) -> None:
        self.get_link: Behaviour = echo
        self.calls: list[CallContext] = []

    async def play(self, request: Any, context: CallContext) -> Any:
        self.calls.append(context)
        return await self.get_link(request, context)


class Links(link_service_pb2_grpc.LinkServiceServicer):
    """LinkService by script."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()

    async def GetLink(self, request: link_service_pb2.GetLinkRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def CreateLink(self, request: link_service_pb2.CreateLinkRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def DeleteLink(self, request: link_service_pb2.DeleteLinkRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def BatchCreateLinks(self, request: link_service_pb2.BatchCreateLinksRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def ListLinks(self, request: link_service_pb2.ListLinksRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def UpdateLink(self, request: link_service_pb2.UpdateLinkRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def UndeleteLink(self, request: link_service_pb2.UndeleteLinkRequest, context: Any) -> Any:
        return await self.script.play(request, context)

    async def ResolveLink(self, request: link_service_pb2.ResolveLinkRequest, context: Any) -> Any:
        return link_service_pb2.ResolveLinkResponse(short_code=request.short_code)


class Limits(rate_limit_service_pb2_grpc.RateLimitServiceServicer):
    """RateLimitService that admits everything."""

    async def Check(self, request: limits_pb.CheckRequest, context: Any) -> limits_pb.CheckResponse:
        return limits_pb.CheckResponse(allowed=True)

    async def BatchCheck(self, request: limits_pb.BatchCheckRequest, context: Any) -> limits_pb.BatchCheckResponse:
        raise NotImplementedError

    async def Reset(self, request: limits_pb.ResetRequest, context: Any) -> limits_pb.ResetResponse:
        raise NotImplementedError

    async def Explain(self, request: limits_pb.ExplainRequest, context: Any) -> limits_pb.ExplainResponse:
        raise NotImplementedError

    async def ListRules(self, request: limits_pb.ListRulesRequest, context: Any) -> limits_pb.ListRulesResponse:
        raise NotImplementedError


async def echo(request: Any, context: CallContext) -> link_service_pb2.Link:
    """Answers at once with the code asked for."""
    return link_service_pb2.Link(short_code=getattr(request, "short_code", ""))


def fail(error: BaseException) -> Behaviour:
    """Raises `error`."""

    async def behave(request: Any, context: CallContext) -> Any:
        raise error

    return behave


class Held:
    """A behaviour that waits until it is let go, then echoes; says how many calls wait and how many were cancelled."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def __call__(self, request: Any, context: CallContext) -> Any:
        self.waiting += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return await echo(request, context)

    async def has(self, calls: int) -> None:
        """Waits until so many calls wait."""
        await until(lambda: self.waiting == calls)


class Dependency:
    """A dependency's probe: up, down with an error, or without an answer."""

    def __init__(self, *, up: bool = True) -> None:
        self.error: Exception | None = None if up else ConnectionError("nobody there")
        self.hangs = False
        self.heeds_cancellation = True
        self.started = 0
        self.at_work = 0
        self.go = asyncio.Event()

    def check(self, name: str = "postgres", *, required: bool = True, timeout: float = 0.05) -> Check:
        return Check(name, self.probe, required=required, interval=0.01, timeout=timeout)

    def release(self) -> None:
        """Lets go of what hangs."""
        self.hangs = False
        self.go.set()

    async def probe(self) -> None:
        self.started += 1
        self.at_work += 1
        try:
            while self.hangs:
                try:
                    await self.go.wait()
                    break
                except asyncio.CancelledError:
                    if self.heeds_cancellation:
                        raise
        finally:
            self.at_work -= 1
        if self.error:
            raise self.error


class Log:
    """What a service has written, as its reader sees it: every line must be a JSON object."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self._bytes, write_through=True)

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.removesuffix("\n").split("\n") if line or self.text]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    async def rpc(self, count: int = 1) -> dict[str, Any]:
        """The last line about a call, once there are so many; a line is written after its call is answered."""
        await until(lambda: len(self.of("rpc")) >= count, 5)
        assert len(self.of("rpc")) == count
        return self.of("rpc")[-1]


@contextlib.contextmanager
def captured_log(service: str = "test", level: str = "info") -> Iterator[Log]:
    """Logging configured as a process has it, for the time of the block, with a log to read."""
    log, root = Log(), logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers.clear()
    try:
        with contextlib.redirect_stderr(log.stream):
            configure_logging(service, level)
        yield log
    finally:
        logging.captureWarnings(False)
        structlog.reset_defaults()
        root.handlers[:], level_before = before
        root.setLevel(level_before)


@dataclass
class Running:
    """A running service and the means to talk with it."""

    ports: Ports
    log: Log
    metrics: Metrics
    stop: asyncio.Event
    task: asyncio.Task[None]
    http: httpx.AsyncClient
    channel: Any
    stack: AsyncExitStack = field(repr=False)

    def __post_init__(self) -> None:
        self.links: link_service_pb2_grpc.LinkServiceAsyncStub = link_service_pb2_grpc.LinkServiceStub(self.channel)
        self.limits: rate_limit_service_pb2_grpc.RateLimitServiceAsyncStub = (
            rate_limit_service_pb2_grpc.RateLimitServiceStub(self.channel)
        )
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    async def get(self, short_code: str = "abc", **options: Any) -> link_service_pb2.Link:
        """A call to `GetLink`; the test's time limit is far beyond the service's own."""
        return await self.links.GetLink(link_service_pb2.GetLinkRequest(short_code=short_code), **options)

    async def refusal(self, short_code: str = "abc", **options: Any) -> grpc.aio.AioRpcError:
        """The error that a call to `GetLink` ends with."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.get(short_code, **options)
        return raised.value

    async def check(self, service: str = "") -> Any:
        """The health of a service by gRPC."""
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
        return answer.status

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """What `/ready` answers."""
        response = await self.http.get("/ready")
        return response.status_code, response.json()

    async def status(self, status: str) -> None:
        """Waits until `/ready` has this status."""

        async def look() -> bool:
            return bool((await self.ready())[1]["status"] == status)

        await until(look)

    async def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """What `/metrics` has: labels and values by name."""
        response = await self.http.get("/metrics")
        assert response.status_code == 200
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(response.text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
        return found

    async def sample(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 when there is none."""
        values = [value for found, value in (await self.samples()).get(name, []) if labels.items() <= found.items()]
        return sum(values)

    async def another_channel(self, *options: tuple[str, Any]) -> Any:
        """A channel with a connection of its own."""
        own = ("grpc.use_local_subchannel_pool", 1)
        return await self.stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{self.ports.control}", options=[own, *options])
        )

    async def end(self, within: float = 10.0) -> float:
        """Tells the service to stop and waits for its end; the seconds that took."""
        clock = asyncio.get_running_loop().time
        started = clock()
        self.stop.set()
        async with asyncio.timeout(within):
            await self.task
        return clock() - started


@contextlib.asynccontextmanager
async def running(
    *servicers: object,
    checks: Sequence[Check] = (),
    web: Callable[[Health], ASGIApp] | None = None,
    tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    log_level: str = "info",
    control_port: int = 0,
    message_caps: Mapping[str, MessageCap] = {},
    identity: Identity | None = None,
    gate: Sequence[Middleware] | None = None,
    hot: bool = False,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A service of these servicers for the time of the block; `settings` as fields of `ServiceSettings`.

    With `hot` it has a hot port, too, and settings are those of `HotPortSettings`.

    Every call is `identity`'s, an owner's unless told otherwise; or passes `gate`, which finds out.
    """
    ports: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    metrics, stop = Metrics("test"), asyncio.Event()
    service = Service(
        name="test",
        settings=(HotPortSettings if hot else ServiceSettings)(**settings),
        control_port=control_port,
        hot_port=0 if hot else None,
        metrics_port=0,
        servicers=servicers,
        metrics=metrics,
        checks=checks,
        web=web,
        tasks=tasks,
        on_ports=ports.set_result,
        stop=stop,
        message_caps=message_caps,
        gate=[Known(identity or as_owner())] if gate is None else gate,
    )
    async with AsyncExitStack() as stack:
        log = stack.enter_context(captured_log("test", log_level))
        task = asyncio.create_task(serve(service), name="serve")
        try:
            waited: list[asyncio.Future[Any]] = [ports, task]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            at = ports.result()
            own = ("grpc.use_local_subchannel_pool", 1)
            yield Running(
                at,
                log,
                metrics,
                stop,
                task,
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=f"http://127.0.0.1:{at.metrics}", trust_env=False, timeout=5)
                ),
                await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{at.control}", options=[own])),
                stack,
            )
        finally:
            if not task.done():
                stop.set()
                async with asyncio.timeout(20):
                    await task
    # Whatever the test was about: a line that cannot be read is a defect.
    _ = log.lines


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The `google.rpc.Status` that came with an error, which must say what the error says."""
    data = trailers_of(error)[DETAILS_KEY]
    assert isinstance(data, bytes)
    status = status_pb2.Status.FromString(data)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return status


def trailers_of(error: grpc.aio.AioRpcError) -> dict[str, str | bytes]:
    """The metadata that came with an error."""
    trailers = list(error.trailing_metadata() or ())
    assert len(dict(trailers)) == len(trailers), f"a key came twice: {trailers}"
    return dict(trailers)


DETAIL_TYPES: tuple[type[Message], ...] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
)


def details_of(status: status_pb2.Status) -> dict[str, Any]:
    """The details by type: each type at most once, `ErrorInfo` always and its reason one of the contract's."""
    details: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        assert name not in details, f"{name} twice"
        message = next(kind for kind in DETAIL_TYPES if kind.DESCRIPTOR.full_name == packed.TypeName())()
        assert packed.Unpack(message)
        details[name] = message
    info = details["ErrorInfo"]
    assert info.domain == "waypost"
    assert info.reason in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum, not a dict
    return details


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Reason, without its prefix, and metadata of an error's `ErrorInfo`."""
    info = details_of(status_of(error))["ErrorInfo"]
    return info.reason.removeprefix("ERROR_REASON_"), dict(info.metadata)


@contextlib.asynccontextmanager
async def raw_call(
    port: int,
    path: bytes = GET_LINK.encode(),
    headers: Mapping[bytes, bytes] = {},
    message: bytes | None = b"",
    *,
    ended: bool = False,
) -> AsyncIterator[asyncio.StreamReader]:
    """An HTTP/2 connection that has sent one gRPC request, byte for byte as told: also what no client library sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        **headers,
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 5 if ended else 4, 1, block))
    if message is not None:
        writer.write(_frame(0, 1, 1, struct.pack(">BI", 0, len(message)) + message))
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    """A string as HPACK has it (RFC 7541, section 5.2), not compressed; shorter than 255 bytes."""
    return (bytes([len(value)]) if len(value) < 127 else bytes([127, len(value) - 127])) + value
