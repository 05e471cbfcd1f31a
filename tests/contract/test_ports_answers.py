"""Whoever calls the control port or the hot port gets the same answer, and nobody behind them sees a difference."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.hot_port import need_hot_port
from tests.support.service import GET_LINK, LINKS, Limits, fail
from tests.support.two_ports import PORTS, told, two_ports
from tests.unit.rpc.test_errors import EXAMPLES
from waypost import errors
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.model import Budget
from waypost.rpc import chain
from waypost.rpc.context import CallContext
from waypost.rpc.health import HEALTH_WATCH
from waypost.rpc.methods import MessageCap
from waypost.rpc.status import RpcError, RpcStatus

need_hot_port()

HEALTH = "/grpc.health.v1.Health/Check"
CORRELATED = (("x-correlation-id", "ours"),)

METADATA: tuple[tuple[str, str | bytes], ...] = (
    ("a", "first"),
    ("a", "second"),
    ("empty", ""),
    ("x-data-bin", b"\x00\xff"),
    ("x-data-bin", b"second"),
    ("empty-bin", b""),
    ("all-bin", bytes(range(256))),
    ("text", " ".join(chr(code) for code in range(33, 127))),
    ("blanks", " around "),
)


def link(short_code: str) -> bytes:
    """A request for a link, and the answer that an echo has."""
    return pb.GetLinkRequest(short_code=short_code).SerializeToString()


async def test_an_answer() -> None:
    async with two_ports() as both:
        outcome = await both.same(link("abc"), metadata=CORRELATED)
    assert (outcome.code, outcome.message, outcome.response) == (grpc.StatusCode.OK, "", link("abc"))
    assert (outcome.initial, outcome.trailing) == ([], [("x-correlation-id", "ours")])
    assert outcome.counted == [(GET_LINK, "OK")]
    assert outcome.log == {
        "event": "rpc",
        "level": "info",
        "service": "test",
        "rpc": GET_LINK,
        "code": "OK",
        "request_bytes": 5,
        "response_bytes": 5,
        "peer": "ipv4:127.0.0.1:PORT",
        "principal": "user:ada",
        "correlation_id": "ours",
    }
    assert outcome.seen is not None
    assert (outcome.seen.method, outcome.seen.peer, outcome.seen.asked) == (GET_LINK, "ipv4:127.0.0.1:PORT", False)
    assert {name for name, _ in outcome.seen.metadata} == {"user-agent", "x-correlation-id"}


async def test_empty_messages() -> None:
    async with two_ports() as both:
        outcome = await both.same()
    assert (outcome.code, outcome.response) == (grpc.StatusCode.OK, b"")


@pytest.mark.parametrize("size", [16_379, 16_384, 65_530, 1_000_000])
async def test_answers_of_many_frames(size: int) -> None:
    async def large(request: Any, context: CallContext) -> pb.Link:
        return pb.Link(original_url="x" * size)

    async with two_ports(max_message_bytes=2048) as both:
        both.links.script.get_link = large
        outcome = await both.same()
    assert outcome.response is not None
    assert pb.Link.FromString(outcome.response).original_url == "x" * size


async def test_every_servicer_is_on_both() -> None:
    request = limits_pb.CheckRequest(domain="x").SerializeToString()
    async with two_ports(Limits()) as both:
        outcome = await both.same(request, method="/waypost.api.v1.RateLimitService/Check")
    assert limits_pb.CheckResponse.FromString(outcome.response or b"").allowed


async def test_metadata_of_a_caller() -> None:
    async with two_ports() as both:
        outcome = await both.same(metadata=METADATA)
    assert outcome.seen is not None
    assert [pair for pair in outcome.seen.metadata if pair[0] != "user-agent"] == sorted(
        METADATA, key=lambda pair: pair[0]
    )


async def test_metadata_of_a_servicer() -> None:
    # The hot port takes off what RFC 9113 (8.2.1) forbids, blanks around a value; grpcio lets them pass.
    told = sorted((pair for pair in METADATA if pair[0] != "blanks"), key=lambda pair: pair[0])

    async def tell(request: Any, context: CallContext) -> pb.Link:
        context.add_initial_metadata([(f"first-{name}", value) for name, value in told])
        context.set_trailing_metadata([(f"last-{name}", value) for name, value in told])
        return pb.Link()

    async with two_ports() as both:
        both.links.script.get_link = tell
        outcome = await both.same(metadata=CORRELATED)
    assert outcome.initial == [(f"first-{name}", value) for name, value in told]
    assert outcome.trailing == [*((f"last-{name}", value) for name, value in told), *CORRELATED]


async def test_a_refusal_has_trailing_metadata_only() -> None:
    async def refuse(request: Any, context: CallContext) -> pb.Link:
        context.add_initial_metadata([("first", "1")])
        context.set_trailing_metadata([("last", "1"), ("last-bin", b"\xff")])
        raise errors.LinkNotFound("abc")

    async with two_ports() as both:
        both.links.script.get_link = refuse
        outcome = await both.same()
    assert outcome.initial == []
    assert outcome.trailing == [("last", "1"), ("last-bin", b"\xff"), ("x-correlation-id", "ID")]


async def test_every_error_has_its_code_its_sentence_and_its_details() -> None:
    async with two_ports() as both:
        for error, code, reason, metadata, _ in EXAMPLES:
            both.links.script.get_link = fail(error)
            outcome = await both.same()
            assert (outcome.code, outcome.message, outcome.response) == (code, str(error), None)
            assert outcome.log is not None
            assert (outcome.log["code"], outcome.log["error"], outcome.log["level"]) == (code.name, str(error), "info")
            assert (outcome.info.reason, dict(outcome.info.metadata)) == (f"ERROR_REASON_{reason}", metadata)
            assert outcome.counted == [(GET_LINK, code.name)]


async def test_every_status() -> None:
    async with two_ports() as both:
        for code in set(grpc.StatusCode) - {grpc.StatusCode.OK}:
            both.links.script.get_link = fail(RpcError(RpcStatus(code, f"as {code.name}", ())))
            outcome = await both.same()
            assert (outcome.code, outcome.message) == (code, f"as {code.name}")


@pytest.mark.parametrize(
    "message",
    [
        "100 % refused, and %41 is not A",
        "ü, 中文, \N{LINK SYMBOL}, \u2028, \N{PILE OF POO}",
        "new\nlines\r\n, tab\t, bell\a, nul\0, del\x7f",
        ' "quotes" and blanks around ',
        "long, " * 200,
        "",
    ],
)
async def test_sentences_of_any_letters(message: str) -> None:
    async def refuse(request: Any, context: CallContext) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, message, (("x-why", "so"),))

    async with two_ports() as both:
        both.links.script.get_link = refuse
        outcome = await both.same()
    assert (outcome.code, outcome.message) == (grpc.StatusCode.ABORTED, message)
    assert ("x-why", "so") in outcome.trailing


async def test_a_caller_over_its_limit_is_told_of_it_in_headers() -> None:
    async with two_ports() as both:
        both.links.script.get_link = fail(errors.RateLimited("create", 2.5, Budget(30, 60.0, 0, 2.5)))
        outcome = await both.same()
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= {name for name, _ in outcome.trailing}


@pytest.mark.parametrize(
    "error", [RuntimeError("password=hunter2"), asyncio.CancelledError(), TimeoutError(), KeyError("x")], ids=repr
)
async def test_a_defect_says_nothing_of_itself(error: BaseException) -> None:
    async with two_ports() as both:
        both.links.script.get_link = fail(error)
        outcome = await both.same(metadata=CORRELATED)
        assert [line["exception"] for line in both.service.log.of("rpc")] != []
    assert outcome.code is grpc.StatusCode.INTERNAL
    assert outcome.message == "internal error; the server's log has the cause under this correlation id"
    assert dict(outcome.info.metadata) == {"correlation_id": "ours"}
    assert outcome.log is not None
    assert (outcome.log["level"], outcome.log["code"]) == ("error", "INTERNAL")
    assert "hunter2" not in repr((outcome.message, outcome.details, outcome.trailing))


async def test_a_defect_of_the_chain_itself_says_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*candidates: object) -> str:
        raise LookupError("password=hunter2")

    monkeypatch.setattr(chain, "correlation_id", break_down)
    async with two_ports() as both:
        outcome = await both.same(logged=False)
        lines = both.service.log.of("the chain failed")
    assert (outcome.code, outcome.message, outcome.details) == (grpc.StatusCode.INTERNAL, "internal error", "")
    assert [(line["rpc"], "hunter2" in line["exception"]) for line in lines] == [(GET_LINK, True)] * 2


async def test_a_method_that_returns_no_message_is_a_defect() -> None:
    async def nothing(request: Any, context: CallContext) -> None:
        return None

    async with two_ports() as both:
        both.links.script.get_link = nothing
        assert (await both.same()).code is grpc.StatusCode.INTERNAL


async def test_unknown_methods() -> None:
    ours = [f"/{LINKS}/{name}" for name in ("Nothing", "getLink", "é", "")]
    async with two_ports() as both:
        for method in (*ours, "/no.Such/Method", "/", "/x", "//", "/a/b/c", "/" + "m" * 900):
            outcome = await both.same(method=method)
            assert (outcome.code, outcome.message) == (grpc.StatusCode.UNIMPLEMENTED, f"unknown method {method}")
            assert outcome.info.reason == "ERROR_REASON_UNKNOWN_METHOD"
            assert outcome.counted == [("unknown", "UNIMPLEMENTED")]


@pytest.mark.parametrize("method", [HEALTH_WATCH, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"])
async def test_a_stream_is_on_the_control_port_alone(method: str) -> None:
    async with two_ports() as both:
        # Channels that look after their servers ask for the first, which is no news.
        outcome = await both.ask("hot", method=method, logged=method != HEALTH_WATCH)
        stream: Any = both.channels["control"].stream_stream(method)
        call = stream()
        await call.write(b"")
        assert await call.read() is not grpc.aio.EOF
        call.cancel()
    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED
    assert outcome.message == f"{method} is a stream: call it on the service's control port"
    assert outcome.info.metadata["method"] == method


async def test_bytes_that_are_no_message() -> None:
    async with two_ports() as both:
        outcome = await both.same(b"\xff\xff")
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert outcome.info.reason == "ERROR_REASON_MALFORMED_REQUEST"


async def test_a_message_as_large_as_may_be_and_one_byte_more() -> None:
    """One that is larger than the methods' own cap, which the chain refuses; for the transport's see the frames."""

    def sized(size: int) -> bytes:
        # A tag and three bytes of length come before the text.
        request = pb.CreateLinkRequest(url="x" * (size - 4)).SerializeToString()
        assert len(request) == size
        return request

    caps = {f"/{LINKS}/ListLinks": MessageCap(200_000)}
    async with two_ports(message_caps=caps) as both:
        fits = await both.same(sized(65_536), method=f"/{LINKS}/CreateLink")
        over = await both.same(sized(65_537), method=f"/{LINKS}/CreateLink")
        others = await both.same(sized(65_537), method=f"/{LINKS}/UpdateLink")
    assert fits.code is grpc.StatusCode.OK
    assert (over.code, others.code) == (grpc.StatusCode.RESOURCE_EXHAUSTED,) * 2
    assert over.message == "the message is larger than 65,536 bytes (it has 65,537)"
    assert over.info.metadata["max_bytes"] == "65536"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ((("x-correlation-id", "ours"),), "ours"),
        ((("x-request-id", "theirs"),), "theirs"),
        ((("x-request-id", "theirs"), ("x-correlation-id", "ours")), "ours"),
        ((("x-correlation-id", "no id at all"),), "ID"),
        ((), "ID"),
    ],
)
async def test_correlation_ids(metadata: tuple[tuple[str, str], ...], expected: str) -> None:
    async with two_ports() as both:
        outcome = await both.same(metadata=metadata)
        both.links.script.get_link = fail(errors.LinkNotFound("abc"))
        refusal = await both.same(metadata=metadata)
    for one in (outcome, refusal):
        assert one.log is not None
        assert (one.log["correlation_id"], one.trailing) == (expected, [("x-correlation-id", expected)])


async def test_ids_that_are_made_are_never_the_same() -> None:
    async with two_ports() as both:
        calls = [both.call(port) for port in PORTS for _ in range(100)]
        ids = {dict(await call.trailing_metadata())["x-correlation-id"] for call in calls}
    assert len(ids) == 200


@pytest.mark.parametrize(
    ("service", "code"), [("", "OK"), (LINKS, "OK"), ("grpc.health.v1.Health", "NOT_FOUND"), ("nobody", "NOT_FOUND")]
)
async def test_health(service: str, code: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
    async with two_ports() as both:
        for port in PORTS:
            # Not all of what became of it: what a compiled handler answers it counts by itself.
            outcome = await told(both.call(port, request, method=HEALTH))
            assert (outcome.code.name, outcome.message) == (code, "")
            assert outcome.response == (serving if code == "OK" else None)


async def test_what_the_gate_refuses() -> None:
    async def refuse(context: CallContext, request: bytes, call_next: chain.Handler) -> bytes:
        raise errors.Unauthenticated("who are you?")

    async with two_ports(gate=[refuse]) as both:
        outcome = await both.same(metadata=(("x-api-key", "wp_secret"),))
        assert "wp_secret" not in both.service.log.text
    assert outcome.code is grpc.StatusCode.UNAUTHENTICATED
    assert ("www-authenticate", chain.CHALLENGE) in outcome.trailing
