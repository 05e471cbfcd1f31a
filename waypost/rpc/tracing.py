"""OpenTelemetry spans of unary calls, those that come in and those that go out on channels of `waypost.rpc.channel`.

There are spans where whoever embeds a service has set a tracer provider before the service is made
(`opentelemetry.trace.set_tracer_provider`). Where not, nothing here stands in the way of a call.

Names, kinds, attributes and states are those of `opentelemetry-instrumentation-grpc`, so that what reads its spans
reads ours; `tests/contract/test_spans.py` compares them and lists what differs, and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import unquote

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import waypost
from waypost.errors import DeadlineExceeded
from waypost.rpc.chain import Handler, Middleware, cancelled_as
from waypost.rpc.context import CallContext
from waypost.rpc.status import RpcError

# The names of attributes are those of this version.
_SCHEMA = "https://opentelemetry.io/schemas/1.11.0"

# Only `traceparent` and `tracestate`: what a caller puts into `baggage` is nothing that goes on to other services.
_HEADERS = TraceContextTextMapPropagator()

# Characters of what a caller chooses: names of methods, its `user-agent`.
_LONGEST = 500

_CODE = "rpc.grpc.status_code"
_OK: int = grpc.StatusCode.OK.value[0]

# What is the server's fault. Of the others the caller is told, and to the server they are calls like any.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_DEFECTS = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL})


def enabled() -> bool:
    """Whether there is a tracer provider that makes spans.

    Services ask when they are made; a provider that is set later makes no difference to them.
    """
    return _tracer() is not None


def middleware(only_sampled: Collection[str] = ()) -> list[Middleware]:
    """The chain's outermost part, or nothing without a provider.

    `only_sampled` methods, by full name, are asked so often, or answered without the interpreter, that a call makes a
    span only where its `traceparent` says that its trace is sampled (the last bit of the flags).
    """
    tracer = _tracer()
    if tracer is None:
        return []
    # What these would write lines about is a caller's choice.
    for name in ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return [Tracing(tracer, only_sampled)]


def interceptors() -> list[grpc.aio.ClientInterceptor]:
    """What a channel does besides, or nothing without a provider."""
    tracer = _tracer()
    return [] if tracer is None else [TracingOutgoing(tracer)]


def _tracer() -> trace.Tracer | None:
    tracer = trace.get_tracer("waypost.rpc", waypost.__version__, schema_url=_SCHEMA)
    # The first: no provider; the second: one that is told to make none (`OTEL_SDK_DISABLED`).
    return None if isinstance(tracer, (trace.ProxyTracer, trace.NoOpTracer)) else tracer


class Tracing:
    """A span for each call, current while it is worked on, that ends with the call's status."""

    def __init__(self, tracer: trace.Tracer, only_sampled: Collection[str] = ()) -> None:
        self._tracer = tracer
        self._only_sampled = frozenset(only_sampled)

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call within its span."""
        parent = _HEADERS.extract(context.headers)
        if context.method in self._only_sampled and not _is_sampled(parent):
            return await call_next(context, request)
        with self._tracer.start_as_current_span(
            context.method[:_LONGEST],
            parent,
            trace.SpanKind.SERVER,
            {**_method(context.method), **_caller(context)},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await call_next(context, request)
            except RpcError as error:
                _fail(span, error.status.code, error.status.message, error.cause)
                raise
            except asyncio.CancelledError:
                code = cancelled_as(context)
                late = code is grpc.StatusCode.DEADLINE_EXCEEDED
                _fail(span, code, str(DeadlineExceeded(context.timeout)) if late else "")
                raise
            except BaseException as error:
                _fail(span, grpc.StatusCode.UNKNOWN, "", error)
                raise


class TracingOutgoing(grpc.aio.UnaryUnaryClientInterceptor):
    """A span for each call that is made within another span, and its `traceparent` for whom it goes to.

    What nobody called for, such as asking after somebody's health, makes none.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        """Makes the call and waits for its end."""
        if trace.get_current_span() is trace.INVALID_SPAN:
            return await continuation(client_call_details, request)
        # Bytes at run time, a string by its type.
        name: Any = client_call_details.method
        method: str = name.decode() if isinstance(name, bytes) else name
        span = self._tracer.start_span(method, kind=trace.SpanKind.CLIENT, attributes=_method(method))
        try:
            call = await continuation(_carrying(client_call_details, span), request)
            # Unlike its status, this hangs up when we are cancelled.
            await call
        except grpc.aio.AioRpcError as error:
            _end(span, error.code(), error.details() or "")
            raise
        except asyncio.CancelledError:
            _end(span, grpc.StatusCode.CANCELLED, "")
            raise
        except Exception as error:
            _end(span, grpc.StatusCode.UNKNOWN, type(error).__name__)
            raise
        finally:
            span.end()
        return call


def _carrying(details: grpc.aio.ClientCallDetails, span: trace.Span) -> grpc.aio.ClientCallDetails:
    headers: dict[str, str] = {}
    _HEADERS.inject(headers, trace.set_span_in_context(span))
    metadata = grpc.aio.Metadata(*(details.metadata or ()), *headers.items())
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


def _is_sampled(parent: Context) -> bool:
    return trace.get_current_span(parent).get_span_context().trace_flags.sampled


def _method(full_name: str) -> dict[str, str | int]:
    service, _, method = full_name[:_LONGEST].lstrip("/").partition("/")
    return {"rpc.system": "grpc", _CODE: _OK, "rpc.method": method, "rpc.service": service}


def _caller(context: CallContext) -> dict[str, str | int]:
    """Who calls: its software, and its address where it has one."""
    attributes: dict[str, str | int] = {}
    agent = context.headers.get("user-agent")
    if agent is not None:
        attributes["rpc.user_agent"] = agent[:_LONGEST]
    kind, _, rest = context.peer().partition(":")
    if kind in ("ipv4", "ipv6"):
        ip, _, port = rest.rpartition(":")
        ip = unquote(ip)
        attributes |= {"net.peer.ip": ip, "net.peer.port": port}
        if ip in ("127.0.0.1", "[::1]"):
            attributes["net.peer.name"] = "localhost"
    return attributes


def _fail(span: trace.Span, code: grpc.StatusCode, message: str, cause: BaseException | None = None) -> None:
    """How a server's call ended; for a defect also what it was, which no caller ever sees."""
    span.set_attribute(_CODE, code.value[0])
    if code in _FAULTS:
        span.set_status(trace.Status(trace.StatusCode.ERROR, f"{code}:{message}"))
    if code in _DEFECTS and cause is not None:
        # An exception that cannot even be written must not cost the call.
        with contextlib.suppress(Exception):
            span.record_exception(cause)


def _end(span: trace.Span, code: grpc.StatusCode, message: str) -> None:
    """How a client's call ended: to it, whatever is not well is an error."""
    span.set_attribute(_CODE, code.value[0])
    span.set_status(trace.Status(trace.StatusCode.ERROR, message))
