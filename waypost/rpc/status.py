"""Turns errors into `google.rpc.Status`, here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatch

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from waypost import errors
from waypost.api.v1.error_reason_pb2 import ErrorReason
from waypost.limit_headers import limit_headers

DOMAIN = "waypost"
DETAILS_KEY = "grpc-status-details-bin"

# Bytes. Clients of grpc-core drop an answer whose metadata passes 8 KiB, and with it the reason: texts that callers
# choose (codes, names of methods) are cut so that message and details together stay below.
MAX_MESSAGE = 1000
MAX_TEXT = 200
MAX_VIOLATIONS = 1500

MAX_RETRY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """How a call ended when not well: code, the sentence for the caller, and typed details.

    `limit_headers`: what HTTP has headers for, by lower-case name, of the limit that the caller is over.
    """

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...]
    limit_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """What HTTP callers look for in headers: when to try again, and how much they may do."""
        again = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return {**again, **self.limit_headers}

    @property
    def retry_after(self) -> int | None:
        """Whole seconds after which to try again, as HTTP's Retry-After has them; None: the details do not say."""
        for detail in self.details:
            if isinstance(detail, error_details_pb2.RetryInfo):
                delay_us: int = detail.retry_delay.ToMicroseconds()
                return max(1, math.ceil(delay_us / 1_000_000))
        return None

    def to_proto(self) -> status_pb2.Status:
        """As `google.rpc.Status`."""
        proto = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            proto.details.add().Pack(detail)
        return proto


class RpcError(Exception):
    """A call's status on its way out of the chain."""

    def __init__(self, status: RpcStatus, cause: BaseException | None = None) -> None:
        self.status = status
        self.cause = cause
        super().__init__(status.message)


def to_status(error: BaseException, correlation_id: str) -> RpcStatus:
    """The status that a caller gets for `error`.

    What is no `WaypostError` is a defect: INTERNAL, a fixed sentence, and the correlation id to look it up in the log.
    """
    status = _status(error)
    if status is not None:
        return replace(status, message=_cut(status.message, MAX_MESSAGE))
    return RpcStatus(
        grpc.StatusCode.INTERNAL,
        "internal error; the server's log has the cause under this correlation id",
        (_info(ErrorReason.ERROR_REASON_INTERNAL, correlation_id=correlation_id),),
    )


def _cut(text: str, size: int) -> str:
    """At most `size` bytes of UTF-8, with `…` at the end of what was longer."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= size else data[: size - 3].decode(errors="ignore") + "…"


def _info(reason: ErrorReason.ValueType, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(
        reason=ErrorReason.Name(reason),
        domain=DOMAIN,
        metadata={key: _cut(value, MAX_TEXT) for key, value in metadata.items()},
    )


def _retry(seconds: float) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMicroseconds(round(max(0.0, min(seconds, MAX_RETRY_SECONDS)) * 1_000_000))
    return info


def _link(short_code: str, description: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type="waypost.api.v1.Link", resource_name=_cut(short_code, MAX_TEXT), description=description
    )


@singledispatch
def _status(error: BaseException) -> RpcStatus | None:
    """None for whatever has no function below: a defect."""
    return None


@_status.register
def _(error: errors.InvalidFields) -> RpcStatus:
    bad = error_details_pb2.BadRequest()
    for violation in error.violations:
        bad.field_violations.add(
            field=_cut(violation.field, MAX_TEXT), description=_cut(violation.description, MAX_TEXT * 2)
        )
        if bad.ByteSize() > MAX_VIOLATIONS:
            # The message still has the first of them; a caller who mends those is told of the rest.
            del bad.field_violations[-1]
            break
    return RpcStatus(grpc.StatusCode.INVALID_ARGUMENT, str(error), (_info(ErrorReason.ERROR_REASON_INVALID_FIELD), bad))


@_status.register
def _(error: errors.MalformedRequest) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.INVALID_ARGUMENT,
        str(error),
        (_info(ErrorReason.ERROR_REASON_MALFORMED_REQUEST, method=error.method),),
    )


@_status.register
def _(error: errors.LinkNotFound) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.NOT_FOUND,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_LINK_NOT_FOUND, short_code=error.short_code),
            _link(error.short_code, "no such link"),
        ),
    )


@_status.register
def _(error: errors.LinkGone) -> RpcStatus:
    reason = ErrorReason.ERROR_REASON_LINK_EXPIRED if error.expired else ErrorReason.ERROR_REASON_LINK_DELETED
    return RpcStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        str(error),
        (_info(reason, short_code=error.short_code), _link(error.short_code, "no longer followed")),
    )


@_status.register
def _(error: errors.LinkExhausted) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_LINK_EXHAUSTED, short_code=error.short_code),
            _link(error.short_code, "no longer followed"),
        ),
    )


@_status.register
def _(error: errors.LinkWarned) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        str(error),
        (_info(ErrorReason.ERROR_REASON_LINK_WARNED, short_code=error.short_code),),
    )


@_status.register
def _(error: errors.EtagMismatch) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.ABORTED,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_ETAG_MISMATCH, short_code=error.short_code, etag=error.etag),
            _link(error.short_code, "changed meanwhile"),
        ),
    )


@_status.register
def _(error: errors.IdempotencyKeyReused) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.ALREADY_EXISTS,
        str(error),
        (_info(ErrorReason.ERROR_REASON_IDEMPOTENCY_KEY_REUSED, request_id=error.key),),
    )


@_status.register
def _(error: errors.IdempotencyKeyInUse) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.ABORTED,
        str(error),
        (_info(ErrorReason.ERROR_REASON_IDEMPOTENCY_KEY_IN_USE, request_id=error.key), _retry(error.retry_after)),
    )


@_status.register
def _(error: errors.RequestTooLarge) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        str(error),
        (_info(ErrorReason.ERROR_REASON_REQUEST_TOO_LARGE, part=error.part, max_bytes=str(error.limit)),),
    )


@_status.register
def _(error: errors.LinkBlocked) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.PERMISSION_DENIED,
        str(error),
        (_info(ErrorReason.ERROR_REASON_LINK_BLOCKED, short_code=error.short_code),),
    )


@_status.register
def _(error: errors.AliasTaken) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.ALREADY_EXISTS,
        str(error),
        (_info(ErrorReason.ERROR_REASON_ALIAS_TAKEN, short_code=error.alias), _link(error.alias, "taken")),
    )


@_status.register
def _(error: errors.Unauthenticated) -> RpcStatus:
    return RpcStatus(grpc.StatusCode.UNAUTHENTICATED, str(error), (_info(ErrorReason.ERROR_REASON_UNAUTHENTICATED),))


@_status.register
def _(error: errors.PermissionDenied) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.PERMISSION_DENIED,
        str(error),
        (_info(ErrorReason.ERROR_REASON_PERMISSION_DENIED, scope=error.scope),),
    )


@_status.register
def _(error: errors.ResourceNotFound) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.NOT_FOUND,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_RESOURCE_NOT_FOUND, type=error.type, name=error.name),
            error_details_pb2.ResourceInfo(
                resource_type=f"waypost.api.v1.{error.type.capitalize()}",
                resource_name=_cut(error.name, MAX_TEXT),
                description="not here",
            ),
        ),
    )


@_status.register
def _(error: errors.MemberExists) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.ALREADY_EXISTS,
        str(error),
        (_info(ErrorReason.ERROR_REASON_MEMBER_EXISTS, subject=error.subject),),
    )


@_status.register
def _(error: errors.LastOwner) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        str(error),
        (_info(ErrorReason.ERROR_REASON_LAST_OWNER, subject=error.subject),),
    )


@_status.register
def _(error: errors.TooMany) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        str(error),
        (_info(ErrorReason.ERROR_REASON_TOO_MANY, type=error.type, limit=str(error.limit)),),
    )


@_status.register
def _(error: errors.RateLimited) -> RpcStatus:
    quota = error_details_pb2.QuotaFailure()
    quota.violations.add(subject=_cut(error.rule, MAX_TEXT), description="over the limit")
    return RpcStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_RATE_LIMITED, limit=error.rule),
            *([] if error.retry_after is None else [_retry(error.retry_after)]),
            quota,
        ),
        {} if error.budget is None else limit_headers(error.rule, error.budget),
    )


@_status.register
def _(error: errors.Overloaded) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_OVERLOADED, max_in_flight=str(error.max_in_flight)),
            _retry(error.retry_after),
        ),
    )


@_status.register
def _(error: errors.DependencyUnavailable) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.UNAVAILABLE,
        str(error),
        (
            _info(ErrorReason.ERROR_REASON_DEPENDENCY_UNAVAILABLE, dependency=error.dependency),
            _retry(error.retry_after),
        ),
    )


@_status.register
def _(error: errors.Draining) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.UNAVAILABLE, str(error), (_info(ErrorReason.ERROR_REASON_DRAINING), _retry(error.retry_after))
    )


@_status.register
def _(error: errors.DeadlineExceeded) -> RpcStatus:
    timeout_ms = str(round(error.timeout * 1000))
    return RpcStatus(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        str(error),
        (_info(ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED, timeout_ms=timeout_ms),),
    )


@_status.register
def _(error: errors.RouteNotFound) -> RpcStatus:
    return RpcStatus(grpc.StatusCode.NOT_FOUND, str(error), (_info(ErrorReason.ERROR_REASON_ROUTE_NOT_FOUND),))


@_status.register
def _(error: errors.UnknownMethod) -> RpcStatus:
    return RpcStatus(
        grpc.StatusCode.UNIMPLEMENTED,
        str(error),
        (_info(ErrorReason.ERROR_REASON_UNKNOWN_METHOD, method=error.method),),
    )
