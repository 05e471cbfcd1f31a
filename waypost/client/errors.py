"""Turns what a call ended with back into the classes of `waypost.errors`: the other half of `waypost.rpc.status`.

`str()` of an error is the sentence that the server said. Fields that it does not send stay empty: the size of what was
too large, and whatever an edge in front of Waypost leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from waypost import errors
from waypost.errors import FieldViolation, WaypostError
from waypost.rpc.status import DETAILS_KEY, DOMAIN

RETRY_AFTER = "retry-after"

_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class RemoteError(WaypostError):
    """A failure that has no class of its own: a defect of the server, or what only a newer server says.

    `reason` is the `ErrorInfo`'s (empty: none came), `metadata` what came with it; a server's defect has its
    `correlation_id` there. `retry_after` in seconds; None: the server does not say.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        super().__init__(message or code.name)


class Unreachable(WaypostError):
    """No Waypost answers at `address`; `cause` is what the transport says about it."""

    def __init__(self, address: str, cause: str) -> None:
        self.address = address
        self.cause = cause
        super().__init__(f"no Waypost answers at {address}: {cause}")


class ClientClosed(WaypostError):
    """The client was closed before the call was answered."""

    def __init__(self) -> None:
        super().__init__("the client is closed: make calls within its `async with`")


@dataclass(frozen=True, slots=True)
class _Received:
    """A status with the details that our errors are made from."""

    code: grpc.StatusCode
    message: str
    domain: str = ""
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None

    def text(self, key: str) -> str:
        return self.metadata.get(key, "")

    def number(self, key: str) -> int:
        value = self.metadata.get(key, "")
        return int(value) if value.isascii() and value.isdigit() else 0

    @property
    def delay(self) -> float:
        """Seconds; 0 when the server does not say."""
        return self.retry_after or 0.0


_BY_REASON: Mapping[str, Callable[[_Received], WaypostError]] = {
    "ERROR_REASON_INVALID_FIELD": lambda got: errors.InvalidFields(list(got.violations)),
    "ERROR_REASON_MALFORMED_REQUEST": lambda got: errors.MalformedRequest(got.text("method")),
    "ERROR_REASON_LINK_NOT_FOUND": lambda got: errors.LinkNotFound(got.text("short_code")),
    "ERROR_REASON_LINK_EXPIRED": lambda got: errors.LinkGone(got.text("short_code"), expired=True),
    "ERROR_REASON_LINK_DELETED": lambda got: errors.LinkGone(got.text("short_code"), expired=False),
    "ERROR_REASON_LINK_EXHAUSTED": lambda got: errors.LinkExhausted(got.text("short_code")),
    "ERROR_REASON_LINK_BLOCKED": lambda got: errors.LinkBlocked(got.text("short_code")),
    "ERROR_REASON_LINK_WARNED": lambda got: errors.LinkWarned(got.text("short_code")),
    "ERROR_REASON_ALIAS_TAKEN": lambda got: errors.AliasTaken(got.text("short_code")),
    "ERROR_REASON_ETAG_MISMATCH": lambda got: errors.EtagMismatch(got.text("short_code"), got.text("etag")),
    "ERROR_REASON_IDEMPOTENCY_KEY_REUSED": lambda got: errors.IdempotencyKeyReused(got.text("request_id")),
    "ERROR_REASON_IDEMPOTENCY_KEY_IN_USE": lambda got: errors.IdempotencyKeyInUse(got.text("request_id"), got.delay),
    "ERROR_REASON_REQUEST_TOO_LARGE": lambda got: errors.RequestTooLarge(
        0, got.number("max_bytes"), got.text("part") or "request"
    ),
    "ERROR_REASON_UNAUTHENTICATED": lambda got: errors.Unauthenticated(got.message),
    "ERROR_REASON_PERMISSION_DENIED": lambda got: errors.PermissionDenied(got.text("scope"), got.message),
    "ERROR_REASON_RESOURCE_NOT_FOUND": lambda got: errors.ResourceNotFound(got.text("type"), got.text("name")),
    "ERROR_REASON_MEMBER_EXISTS": lambda got: errors.MemberExists(got.text("subject")),
    "ERROR_REASON_LAST_OWNER": lambda got: errors.LastOwner(got.text("subject")),
    "ERROR_REASON_TOO_MANY": lambda got: errors.TooMany(got.text("type"), got.number("limit")),
    "ERROR_REASON_RATE_LIMITED": lambda got: errors.RateLimited(got.text("limit"), got.retry_after),
    "ERROR_REASON_OVERLOADED": lambda got: errors.Overloaded(got.number("max_in_flight")),
    "ERROR_REASON_DEPENDENCY_UNAVAILABLE": lambda got: errors.DependencyUnavailable(got.text("dependency"), got.delay),
    "ERROR_REASON_DRAINING": lambda got: errors.Draining(),
    "ERROR_REASON_DEADLINE_EXCEEDED": lambda got: errors.DeadlineExceeded(got.number("timeout_ms") / 1000),
    "ERROR_REASON_ROUTE_NOT_FOUND": lambda got: errors.RouteNotFound(),
    "ERROR_REASON_UNKNOWN_METHOD": lambda got: errors.UnknownMethod(got.text("method")),
}
"""How each reason becomes an error; those that are missing here become a `RemoteError`."""


def from_rpc(error: grpc.aio.AioRpcError, address: str, timeout: float) -> WaypostError:
    """The error that a call to `address` with `timeout` seconds ended with."""
    metadata: Any = error.trailing_metadata() or ()
    packed = dict(metadata).get(DETAILS_KEY)
    if isinstance(packed, bytes):
        try:
            return from_status(status_pb2.Status.FromString(packed), _seconds(dict(metadata).get(RETRY_AFTER)))
        except DecodeError:
            pass  # not ours: what the transport itself says is all there is
    message = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unreachable(address, message)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(timeout)
    return RemoteError(error.code(), message)


def from_status(status: status_pb2.Status, retry_after: float | None = None) -> WaypostError:
    """The error that a status describes. `retry_after`: the seconds to wait, if its own details do not say."""
    got = _received(status)
    if got.retry_after is None:
        got = replace(got, retry_after=retry_after)
    build = _BY_REASON.get(got.reason) if got.domain == DOMAIN else None
    if build is None:
        return RemoteError(got.code, got.message, got.reason, got.metadata, got.retry_after)
    error = build(got)
    if got.message:
        error.args = (got.message,)
    if got.retry_after is not None and hasattr(error, "retry_after"):
        error.retry_after = got.retry_after
    return error


def _seconds(text: object) -> float | None:
    """Of a `retry-after`, which the edge has where it cannot write details."""
    return float(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else None


def _received(status: status_pb2.Status) -> _Received:
    info = error_details_pb2.ErrorInfo()
    bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for wanted in (info, bad, retry):
            if detail.Is(wanted.DESCRIPTOR):
                try:
                    detail.Unpack(wanted)
                except DecodeError:
                    wanted.Clear()
    return _Received(
        code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        message=status.message,
        domain=info.domain,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(FieldViolation(one.field, one.description) for one in bad.field_violations),
        retry_after=retry.retry_delay.ToMicroseconds() / 1_000_000 if retry.HasField("retry_delay") else None,
    )
