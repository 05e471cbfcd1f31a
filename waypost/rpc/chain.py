"""The middleware around every unary call, written without a transport so that each port can call it.

A call goes `Observe → Errors → Admission → Deadline → UnaryOnly → the service's gate → the method`; for deadlines see
`waypost.rpc.deadlines`, for the gate `waypost.rpc.access`, for what is around all of it where calls are traced
`waypost.rpc.tracing`. Middleware is any `async (context, request, call_next)`; `build` folds a list of them around a
handler, the first outermost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import grpc
import structlog

from waypost.errors import Draining, Overloaded
from waypost.ids import correlation_id
from waypost.rpc.context import CURRENT, CallContext
from waypost.rpc.status import RpcError, to_status
from waypost.telemetry import CORRELATION_ID, Metrics

Handler = Callable[[CallContext, bytes], Awaitable[bytes]]

# At its deadline a caller hangs up, and gRPC has told us that time rounded up by as much as this part of it.
_ROUNDED = 0.02

CHALLENGE = 'Bearer realm="waypost"'
"""What a 401 asks for, after RFC 6750; an API key, in a header of its own, has no scheme that could be named."""

# Characters of a text that a caller may have chosen, in a log line.
_LOGGED = 500

_DEFECTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


class Middleware(Protocol):
    """Wraps a call; what it returns goes out, what it raises goes up the chain."""

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes: ...


def build(middleware: Sequence[Middleware], handler: Handler) -> Handler:
    """Folds the middleware around the handler, the first of the list outermost."""
    for one in reversed(middleware):
        handler = partial(_call, one, handler)
    return handler


def _call(one: Middleware, call_next: Handler, context: CallContext, request: bytes) -> Awaitable[bytes]:
    return one(context, request, call_next)


class CallRecord(NamedTuple):
    """How one call went, for listeners: `seconds` from arrival to answer, `error` its cause if it failed."""

    method: str
    code: grpc.StatusCode
    seconds: float
    request_bytes: int
    response_bytes: int
    correlation_id: str
    peer: str
    error: BaseException | None
    principal: str = ""


Listener = Callable[[CallRecord], None]


class Observe:
    """Gives the call its correlation id and tells the listeners how it went."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call; listeners hear of it exactly once, however it ends."""
        started = time.perf_counter()
        headers = context.headers
        context.correlation_id = correlation_id(headers.get("x-correlation-id"), headers.get("x-request-id"))
        context.set_trailing_metadata([("x-correlation-id", context.correlation_id)])
        token, logged = CURRENT.set(context), CORRELATION_ID.set(context.correlation_id)
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
        error: BaseException | None = None
        size = 0
        try:
            response = await call_next(context, request)
            code, size = grpc.StatusCode.OK, len(response)
            return response
        except RpcError as e:
            code, error = e.status.code, e.cause
            # The edge makes HTTP headers of these for JSON callers, who look for them there.
            context.set_trailing_metadata(list(e.status.headers.items()))
            if code is grpc.StatusCode.UNAUTHENTICATED:
                context.set_trailing_metadata([("www-authenticate", CHALLENGE)])
            raise
        except asyncio.CancelledError:
            code = cancelled_as(context)
            raise
        except BaseException as e:
            error = e
            raise
        finally:
            CURRENT.reset(token)
            CORRELATION_ID.reset(logged)
            # By place: names would cost a tenth of what all of this does.
            record = CallRecord(
                context.method,
                code,
                time.perf_counter() - started,
                len(request),
                size,
                context.correlation_id,
                context.peer(),
                error,
                context.identity.principal,
            )
            for listener in self._listeners:
                try:
                    listener(record)
                except Exception:
                    # The caller's answer does not depend on who listens.
                    structlog.get_logger().exception("listener failed", rpc=record.method[:_LOGGED])


def cancelled_as(context: CallContext) -> grpc.StatusCode:
    """What a call that was cancelled ended with: its caller hung up of itself, or because its time was up."""
    late = context.deadline and context.time_remaining() <= context.timeout * _ROUNDED
    return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED


class Errors:
    """Turns whatever is raised inside into an `RpcError` with details."""

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call; raises nothing but `RpcError` and `CancelledError`."""
        try:
            return await call_next(context, request)
        except RpcError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not the call was cancelled but something that the method waited for. grpcio would send no answer at all.
            raise RpcError(to_status(error, context.correlation_id), error) from error
        except Exception as error:
            raise RpcError(to_status(error, context.correlation_id), error) from error


class Admission:
    """Counts the calls in flight, refuses those beyond the most, and waits for the last one when draining.

    `exempt` methods (health) are always let in: a full server is not a dead one.
    """

    def __init__(self, max_in_flight: int, metrics: Metrics, exempt: frozenset[str] = frozenset()) -> None:
        self._max = max_in_flight
        self._metrics = metrics
        self._exempt = exempt
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0
        metrics.rpc_in_flight.set_function(lambda: self.in_flight)

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call if there is room; raises `Overloaded` or `Draining` if not."""
        if context.method in self._exempt:
            return await call_next(context, request)
        if self._draining:
            self._metrics.shed.labels("draining").inc()
            raise Draining
        if self.in_flight >= self._max:
            self._metrics.shed.labels("in_flight").inc()
            raise Overloaded(self._max)
        self.in_flight += 1
        self._idle.clear()
        try:
            return await call_next(context, request)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    def refuse_new(self) -> None:
        """From now on every new call gets `Draining`."""
        self._draining = True

    async def wait_idle(self, timeout: float) -> bool:
        """Waits until no call is in flight, at most `timeout` seconds; whether that came about."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        return self.in_flight == 0


def log_calls(
    logger: structlog.typing.FilteringBoundLogger,
    quiet: frozenset[str] = frozenset(),
    sampled: Mapping[str, int] = MappingProxyType({}),
    info_line: Callable[[dict[str, Any]], None] | None = None,
    no_news: frozenset[tuple[str, grpc.StatusCode]] = frozenset(),
) -> Listener:
    """One line for each call; `quiet` methods (health, asked every second) only when they fail.

    Of methods in `sampled` one line for each so many calls that went well, beside every failure, the first at once.
    Failures in `no_news`, by method and code, are what is expected.

    A defect is logged with its traceback, which no caller ever sees. `info_line`: a shorter way for all others.
    """

    calls = dict.fromkeys(sampled, 0)

    def listen(record: CallRecord) -> None:
        if record.code is grpc.StatusCode.OK:
            if record.method in quiet:
                return
            if record.method in calls:
                calls[record.method] += 1
                if calls[record.method] % sampled[record.method] != 1 % sampled[record.method]:
                    return
        elif (record.method, record.code) in no_news:
            return
        line = _line(record)
        if record.error is not None:
            line["error"] = _text(record.error)
        if record.code in _DEFECTS:
            if record.error is not None:
                line["exc_info"] = record.error
            logger.error(**line)
        elif info_line is not None:
            info_line(line)
        else:
            logger.info(**line)

    return listen


def _line(record: CallRecord) -> dict[str, Any]:
    method, code, seconds, request_bytes, response_bytes, known_as, peer, _, principal = record
    return {
        "rpc": method if len(method) <= _LOGGED else method[:_LOGGED],
        "code": code.name,
        "duration_ms": int(seconds * 1_000_000) / 1000,
        "request_bytes": request_bytes,
        "response_bytes": response_bytes,
        "peer": peer,
        "principal": principal if len(principal) <= _LOGGED else principal[:_LOGGED],
        "correlation_id": known_as,
        "event": "rpc",
    }


def _text(error: BaseException) -> str:
    try:
        text = str(error) or type(error).__name__
    except Exception:
        text = type(error).__name__
    return text if len(text) <= _LOGGED else text[:_LOGGED] + "…"


def count_calls(metrics: Metrics, known: frozenset[str]) -> Listener:
    """Rate, errors and duration by method; methods that nobody serves share one label."""

    well = {method: metrics.rpc_duration.labels(method, "OK") for method in known}

    def listen(record: CallRecord) -> None:
        if record.code is grpc.StatusCode.OK and record.method in well:
            well[record.method].observe(record.seconds)
            return
        method = record.method if record.method in known else "unknown"
        metrics.rpc_duration.labels(method, record.code.name).observe(record.seconds)

    return listen
