"""Errors: every one has a code and typed details, and a defect shows its caller nothing of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.service import (
    GET_LINK,
    Links,
    details_of,
    fail,
    reason_of,
    running,
    status_of,
    trailers_of,
)
from tests.support.structured_fields import told_limit
from waypost import errors
from waypost.api.v1.link_service_pb2_grpc import LinkServiceServicer
from waypost.errors import FieldViolation, WaypostError
from waypost.model import Budget
from waypost.rpc import chain
from waypost.rpc.context import CallContext
from waypost.rpc.status import RpcError, to_status

VIOLATIONS = [FieldViolation("url", "must be absolute"), FieldViolation("alias", "is too short")]

# One of each, with the code, the reason, its metadata and the other details that callers get.
EXAMPLES: list[tuple[WaypostError, grpc.StatusCode, str, dict[str, str], set[str]]] = [
    (errors.InvalidFields(VIOLATIONS), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {}, {"BadRequest"}),
    (
        errors.MalformedRequest(GET_LINK),
        grpc.StatusCode.INVALID_ARGUMENT,
        "MALFORMED_REQUEST",
        {"method": GET_LINK},
        set(),
    ),
    (
        errors.LinkNotFound("abc"),
        grpc.StatusCode.NOT_FOUND,
        "LINK_NOT_FOUND",
        {"short_code": "abc"},
        {"ResourceInfo"},
    ),
    (
        errors.LinkGone("abc", expired=True),
        grpc.StatusCode.FAILED_PRECONDITION,
        "LINK_EXPIRED",
        {"short_code": "abc"},
        {"ResourceInfo"},
    ),
    (
        errors.LinkGone("abc", expired=False),
        grpc.StatusCode.FAILED_PRECONDITION,
        "LINK_DELETED",
        {"short_code": "abc"},
        {"ResourceInfo"},
    ),
    (
        errors.LinkExhausted("abc"),
        grpc.StatusCode.FAILED_PRECONDITION,
        "LINK_EXHAUSTED",
        {"short_code": "abc"},
        {"ResourceInfo"},
    ),
    (errors.LinkWarned("abc"), grpc.StatusCode.FAILED_PRECONDITION, "LINK_WARNED", {"short_code": "abc"}, set()),
    (
        errors.EtagMismatch("abc", "v3"),
        grpc.StatusCode.ABORTED,
        "ETAG_MISMATCH",
        {"short_code": "abc", "etag": "v3"},
        {"ResourceInfo"},
    ),
    (
        errors.IdempotencyKeyReused("k"),
        grpc.StatusCode.ALREADY_EXISTS,
        "IDEMPOTENCY_KEY_REUSED",
        {"request_id": "k"},
        set(),
    ),
    (
        errors.IdempotencyKeyInUse("k"),
        grpc.StatusCode.ABORTED,
        "IDEMPOTENCY_KEY_IN_USE",
        {"request_id": "k"},
        {"RetryInfo"},
    ),
    (
        errors.RequestTooLarge(70_000, 65_536),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        {"part": "message", "max_bytes": "65536"},
        set(),
    ),
    (errors.RouteNotFound(), grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND", {}, set()),
    (errors.LinkBlocked("abc"), grpc.StatusCode.PERMISSION_DENIED, "LINK_BLOCKED", {"short_code": "abc"}, set()),
    (
        errors.AliasTaken("abc"),
        grpc.StatusCode.ALREADY_EXISTS,
        "ALIAS_TAKEN",
        {"short_code": "abc"},
        {"ResourceInfo"},
    ),
    (
        errors.Unauthenticated("the key is unknown, or was revoked or has expired"),
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
        {},
        set(),
    ),
    (
        errors.PermissionDenied("keys:manage"),
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_DENIED",
        {"scope": "keys:manage"},
        set(),
    ),
    (
        errors.ResourceNotFound("key", "abc"),
        grpc.StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        {"type": "key", "name": "abc"},
        {"ResourceInfo"},
    ),
    (
        errors.MemberExists("ann"),
        grpc.StatusCode.ALREADY_EXISTS,
        "MEMBER_EXISTS",
        {"subject": "ann"},
        set(),
    ),
    (errors.LastOwner("ann"), grpc.StatusCode.FAILED_PRECONDITION, "LAST_OWNER", {"subject": "ann"}, set()),
    (
        errors.TooMany("key", 1000),
        grpc.StatusCode.FAILED_PRECONDITION,
        "TOO_MANY",
        {"type": "key", "limit": "1000"},
        set(),
    ),
    (
        errors.RateLimited("waypost.create", 2.5),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        {"limit": "waypost.create"},
        {"RetryInfo", "QuotaFailure"},
    ),
    (
        errors.RateLimited("waypost.batch", None),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        {"limit": "waypost.batch"},
        {"QuotaFailure"},
    ),
    (
        errors.Overloaded(7),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "OVERLOADED",
        {"max_in_flight": "7"},
        {"RetryInfo"},
    ),
    (
        errors.DependencyUnavailable("postgres", 0.25),
        grpc.StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        {"dependency": "postgres"},
        {"RetryInfo"},
    ),
    (errors.Draining(), grpc.StatusCode.UNAVAILABLE, "DRAINING", {}, {"RetryInfo"}),
    (
        errors.DeadlineExceeded(1.5),
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        {"timeout_ms": "1500"},
        set(),
    ),
    (errors.UnknownMethod("/a/B"), grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD", {"method": "/a/B"}, set()),
]


def subclasses(kind: type[WaypostError]) -> Iterator[type[WaypostError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
        yield from subclasses(child)


def test_every_error_class_has_an_example_here() -> None:
    assert {type(example[0]) for example in EXAMPLES} == set(subclasses(WaypostError))


@pytest.mark.parametrize("kind", list(subclasses(WaypostError)), ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_status_of_its_own(kind: type[WaypostError]) -> None:
    status = to_status(next(error for error, *_ in EXAMPLES if type(error) is kind), "id")
    assert status.code not in (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def test_an_error_class_without_a_status_is_a_defect_that_says_nothing() -> None:
    class Forgotten(WaypostError):
        """An error nobody wrote a status for."""

    status = to_status(Forgotten("of the inside"), "some-id")
    assert status.code is grpc.StatusCode.INTERNAL
    assert "inside" not in str(status.to_proto())


async def test_errors_reach_the_caller_with_code_and_details() -> None:
    links = Links()
    async with running(links) as service:
        for error, code, reason, metadata, others in EXAMPLES:
            links.script.get_link = fail(error)
            refusal = await service.refusal()
            assert refusal.code() is code
            assert refusal.details() == str(error)
            assert reason_of(refusal) == (reason, metadata)
            assert set(details_of(status_of(refusal))) == {"ErrorInfo"} | others


async def test_bad_request_names_every_field() -> None:
    links = Links()
    links.script.get_link = fail(errors.InvalidFields(VIOLATIONS))
    async with running(links) as service:
        bad = details_of(status_of(await service.refusal()))["BadRequest"]
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("url", "must be absolute"),
        ("alias", "is too short"),
    ]


async def test_retry_info_has_the_time_to_wait() -> None:
    links = Links()
    links.script.get_link = fail(errors.RateLimited("create", 2.5))
    async with running(links) as service:
        refusal = await service.refusal()
    assert details_of(status_of(refusal))["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 2.5
    # For JSON callers the edge makes an HTTP header of it: whole seconds, rounded up.
    assert trailers_of(refusal)["retry-after"] == "3"


def texts_of(refusal: grpc.aio.AioRpcError) -> dict[str, str]:
    """Its metadata, without what is binary."""
    return {name: value for name, value in trailers_of(refusal).items() if isinstance(value, str)}


async def test_a_caller_over_the_limit_is_told_of_it_in_headers_too() -> None:
    links = Links()
    links.script.get_link = fail(errors.RateLimited("create", 2.5, Budget(30, 60.0, 0, 2.5)))
    async with running(links) as service:
        refusal = await service.refusal()
    assert told_limit(texts_of(refusal)) == ("create", 30, 60, 0, 3)


async def test_who_never_gets_that_many_is_told_of_no_time() -> None:
    links = Links()
    links.script.get_link = fail(errors.RateLimited("create", None, Budget(30, 60.0, 30, 0.0)))
    async with running(links) as service:
        refusal = await service.refusal()
    assert "retry-after" not in trailers_of(refusal)
    assert told_limit(texts_of(refusal)) == ("create", 30, 60, 30, 0)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e30])
def test_a_strange_time_to_wait_is_still_an_answer(seconds: float) -> None:
    status = to_status(errors.RateLimited("create", seconds), "id")
    delay = details_of(status.to_proto())["RetryInfo"].retry_delay.ToTimedelta().total_seconds()
    assert 0 <= delay <= 86_400


async def test_a_defect_is_internal_and_tells_the_caller_nothing_but_where_to_look() -> None:
    links = Links()
    links.script.get_link = fail(RuntimeError("password=hunter2 in /etc/secret"))
    async with running(links) as service:
        refusal = await service.refusal(metadata=(("x-correlation-id", "look-here"),))
        line = await service.log.rpc()
    assert refusal.code() is grpc.StatusCode.INTERNAL
    assert refusal.details() == "internal error; the server's log has the cause under this correlation id"
    assert reason_of(refusal) == ("INTERNAL", {"correlation_id": "look-here"})
    told = repr([refusal.details(), trailers_of(refusal), refusal.debug_error_string()])
    for secret in ("hunter2", "RuntimeError", "Traceback", "/etc/secret"):
        assert secret not in told
    assert line["level"] == "error"
    assert line["correlation_id"] == "look-here"
    assert "Traceback" in line["exception"]
    assert "hunter2" in line["exception"]


async def test_an_expected_error_is_logged_without_a_traceback() -> None:
    links = Links()
    links.script.get_link = fail(errors.LinkNotFound("abc"))
    async with running(links) as service:
        await service.refusal()
        line = await service.log.rpc()
    assert (line["level"], line["code"], line["error"]) == ("info", "NOT_FOUND", "no link has the short code 'abc'")
    assert "exception" not in line


class Unprintable(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error",
    [
        Unprintable(),
        ValueError("half a pair: \udc80"),
        TimeoutError(),
        asyncio.CancelledError(),
        ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
        KeyError(2**80),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_is_raised_is_answered_and_logged(error: BaseException) -> None:
    links = Links()
    links.script.get_link = fail(error)
    async with running(links) as service:
        refusal = await service.refusal(timeout=5)
        line = await service.log.rpc()
        assert refusal.code() is grpc.StatusCode.INTERNAL
        assert (line["code"], line["level"]) == ("INTERNAL", "error")
        assert await service.sample("inflight") == 0


async def test_a_method_that_returns_no_message_is_a_defect() -> None:
    async def nothing(request: object, context: CallContext) -> None:
        return None

    links = Links()
    links.script.get_link = nothing
    async with running(links) as service:
        assert (await service.refusal()).code() is grpc.StatusCode.INTERNAL


async def test_bytes_that_are_no_message_are_refused() -> None:
    async with running(Links()) as service:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.channel.unary_unary(GET_LINK)(b"\xff\xff\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == ("MALFORMED_REQUEST", {"method": GET_LINK})


@pytest.mark.parametrize("method", ["/waypost.api.v1.LinkService/Nothing", "/none.Such/Method", "/", "/x"])
async def test_an_unknown_method_is_refused_with_details(method: str) -> None:
    async with running(Links()) as service:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.channel.unary_unary(method)(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(raised.value) == ("UNKNOWN_METHOD", {"method": method})


async def test_a_method_left_to_the_generated_base_class_is_unknown() -> None:
    nothing: Any = type("Nothing", (LinkServiceServicer,), {})
    async with running(nothing()) as service:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.channel.unary_unary(GET_LINK)(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(raised.value)[0] == "UNKNOWN_METHOD"


@pytest.mark.parametrize(
    "error",
    [
        errors.LinkNotFound("x" * 60_000),
        errors.AliasTaken("é" * 30_000),
        errors.LinkBlocked("\N{LINK SYMBOL}" * 15_000),
        errors.UnknownMethod("/" + "m" * 15_000),
        errors.RateLimited("r" * 60_000, 1),
        errors.InvalidFields([FieldViolation(f"field_{n}" * 50, "wrong " * 500) for n in range(100)]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_fits_into_the_metadata_that_clients_take(error: WaypostError) -> None:
    links = Links()
    links.script.get_link = fail(error)
    expected = next(example for example in EXAMPLES if type(example[0]) is type(error))
    async with running(links) as service:
        refusal = await service.refusal()
        line = await service.log.rpc()
    assert refusal.code() is expected[1]
    assert reason_of(refusal)[0] == expected[2]
    assert set(details_of(status_of(refusal))) == {"ErrorInfo"} | expected[4]
    assert len(line["error"]) < 600


async def test_without_a_transport_the_answers_are_the_same() -> None:
    links = Links()
    async with running(links) as service:
        for error in [*(example[0] for example in EXAMPLES), RuntimeError("a defect")]:
            links.script.get_link = fail(error)
            by_wire = status_of(await service.refusal(metadata=(("x-correlation-id", "same"),)))

            async def handler(context: CallContext, request: bytes, error: Exception = error) -> bytes:
                raise error

            call = chain.build([chain.Observe([]), chain.Errors()], handler)
            with pytest.raises(RpcError) as raised:
                await call(CallContext(GET_LINK, (("x-correlation-id", "same"),), "test", None), b"")
            assert raised.value.status.to_proto() == by_wire
