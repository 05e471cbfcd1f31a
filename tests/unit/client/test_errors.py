"""Errors on their way through a status: they come out as what went in."""

from __future__ import annotations

import inspect

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tests.support.answering import Call, Ended
from tests.support.link_server import LinkServer
from waypost import Client, errors
from waypost.api.v1.error_reason_pb2 import ErrorReason
from waypost.client import RemoteError, Unreachable
from waypost.client.errors import from_rpc, from_status
from waypost.errors import FieldViolation, WaypostError
from waypost.rpc.status import DETAILS_KEY, to_status

METHOD = "/waypost.api.v1.LinkService/GetLink"

# At least one of each class that a server may send.
EXAMPLES: list[WaypostError] = [
    errors.InvalidFields([FieldViolation("url", "must be absolute"), FieldViolation("alias", "is too short")]),
    errors.MalformedRequest(METHOD),
    errors.LinkNotFound("abc"),
    errors.LinkGone("abc", expired=True),
    errors.LinkGone("abc", expired=False),
    errors.LinkExhausted("abc"),
    errors.LinkBlocked("abc"),
    errors.LinkWarned("abc"),
    errors.AliasTaken("abc"),
    errors.EtagMismatch("abc", "v7"),
    errors.IdempotencyKeyReused("my-key"),
    errors.IdempotencyKeyInUse("my-key", 0.25),
    errors.RequestTooLarge(70_000, 65_536, "query"),
    errors.Unauthenticated("the key is unknown, or was revoked or has expired"),
    errors.PermissionDenied("keys:manage"),
    errors.PermissionDenied("keys:manage", "this key could do what you may not"),
    errors.ResourceNotFound("member", "ann"),
    errors.MemberExists("ann"),
    errors.LastOwner("ann"),
    errors.TooMany("key", 1000),
    errors.RateLimited("waypost.create", 2.5),
    errors.RateLimited("waypost.create", None),
    errors.Overloaded(7),
    errors.DependencyUnavailable("postgres", 0.5),
    errors.Draining(),
    errors.DeadlineExceeded(1.5),
    errors.RouteNotFound(),
    errors.UnknownMethod(METHOD),
]

# Reasons without a class: sent at the HTTP edge only, of the server's own making, or not at all.
WITHOUT_CLASS = {"UNSPECIFIED", "INTERNAL", "CANCELLED", "CROSS_SITE"}

NOT_ON_THE_WIRE: dict[type[WaypostError], dict[str, object]] = {errors.RequestTooLarge: {"size": 0}}
"""What comes in place of fields that no detail carries."""


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_there_and_back(error: WaypostError) -> None:
    back = from_status(to_status(error, "c").to_proto())
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error) | NOT_ON_THE_WIRE.get(type(error), {})


def test_every_class_is_tried() -> None:
    classes = {one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, WaypostError)} - {
        WaypostError
    }
    assert classes == {type(error) for error in EXAMPLES}


def test_every_reason_is_known() -> None:
    tried = set()
    for error in EXAMPLES:
        info = error_details_pb2.ErrorInfo()
        assert to_status(error, "c").to_proto().details[0].Unpack(info)
        tried.add(info.reason.removeprefix("ERROR_REASON_"))
    assert tried | WITHOUT_CLASS == {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", ErrorReason.keys())
def test_a_reason_that_comes_alone_still_makes_an_error(name: str) -> None:
    """An edge in front of Waypost may leave out what its services send."""
    back = from_status(_status(code_pb2.UNKNOWN, name, "a sentence"))
    assert str(back) == "a sentence"
    assert isinstance(back, RemoteError) is (name.removeprefix("ERROR_REASON_") in WITHOUT_CLASS)


def test_numbers_that_are_none() -> None:
    back = from_status(_status(code_pb2.RESOURCE_EXHAUSTED, "ERROR_REASON_OVERLOADED", "x", {"max_in_flight": "²many"}))
    assert isinstance(back, errors.Overloaded)
    assert back.max_in_flight == 0


def test_a_defect_of_the_server_keeps_its_correlation_id() -> None:
    back = from_status(to_status(ZeroDivisionError("secret"), "corr-1").to_proto())
    assert isinstance(back, RemoteError)
    assert (back.code, back.reason) == (grpc.StatusCode.INTERNAL, "ERROR_REASON_INTERNAL")
    assert back.metadata == {"correlation_id": "corr-1"}


@pytest.mark.parametrize(
    ("reason", "domain"), [("ERROR_REASON_FROM_THE_FUTURE", "waypost"), ("ERROR_REASON_DRAINING", "proxy.example")]
)
def test_what_is_not_ours_or_not_yet_is_a_remote_error(reason: str, domain: str) -> None:
    status = _status(code_pb2.FAILED_PRECONDITION, reason, "not so", {"k": "v"}, domain)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    status.details.add().Pack(retry)
    back = from_status(status)
    assert isinstance(back, RemoteError)
    assert vars(back) == {
        "code": grpc.StatusCode.FAILED_PRECONDITION,
        "message": "not so",
        "reason": reason,
        "metadata": {"k": "v"},
        "retry_after": 1.5,
    }


def test_a_status_of_an_unknown_code_or_with_broken_details() -> None:
    status = status_pb2.Status(code=99, message="")
    status.details.append(Packed(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff"))
    status.details.append(Packed(type_url="type.example/of.Tomorrow", value=b"\xff"))
    back = from_status(status)
    assert isinstance(back, RemoteError)
    assert (back.code, str(back), back.retry_after) == (grpc.StatusCode.UNKNOWN, "UNKNOWN", None)


async def test_a_refused_call_raises_what_the_server_raised(client: Client, server: LinkServer) -> None:
    for error in EXAMPLES:
        if isinstance(error, (errors.DependencyUnavailable, errors.Draining, errors.IdempotencyKeyInUse)):
            continue  # tried again first: see the tests of retries

        async def refuse(call: Call, error: WaypostError = error) -> None:
            raise error

        server.before = refuse
        with pytest.raises(type(error)) as raised:
            await client.get("abc")
        assert str(raised.value) == str(error)
        assert isinstance(raised.value.__cause__, grpc.aio.AioRpcError)


@pytest.mark.parametrize("details", [None, b"\xff\xff"])
async def test_an_end_without_details(client: Client, server: LinkServer, details: bytes | None) -> None:
    async def end(call: Call) -> None:
        raise Ended(code, "so says a proxy", details)

    server.before = end
    code = grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(RemoteError, match="so says a proxy") as remote:
        await client.get("abc")
    assert (remote.value.code, remote.value.reason) == (code, "")
    code = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(Unreachable, match="so says a proxy") as unreachable:
        await client.get("abc")
    assert unreachable.value.cause == "so says a proxy"


@pytest.mark.parametrize(
    ("headers", "seconds"), [((), None), ((("retry-after", "7"),), 7.0), ((("retry-after", "Fri, 31 Dec"),), None)]
)
def test_the_edge_says_in_a_header_when_to_come_back(
    headers: tuple[tuple[str, str], ...], seconds: float | None
) -> None:
    """It cannot make details to measure."""
    status = _status(8, "ERROR_REASON_RATE_LIMITED", "too many", {"limit": "masked_remote_address"})
    trailers = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()), *headers)
    refusal = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailers, "too many")
    error = from_rpc(refusal, "go.example:443", 1.0)
    assert isinstance(error, errors.RateLimited)
    assert (error.rule, error.retry_after, str(error)) == ("masked_remote_address", seconds, "too many")


def _status(
    code: int, reason: str, message: str, metadata: dict[str, str] | None = None, domain: str = "waypost"
) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {}))
    return status
