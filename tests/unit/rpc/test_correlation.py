"""Correlation ids: one name for a call, from its caller into the log and back."""

from __future__ import annotations

import uuid

import pytest
import structlog

from tests.support.service import Links, echo, fail, raw_call, running, trailers_of
from waypost import errors
from waypost.api.v1.link_service_pb2 import GetLinkRequest
from waypost.rpc.context import CallContext


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ((("x-correlation-id", "from-the-caller"),), "from-the-caller"),
        ((("x-request-id", "from-the-edge"),), "from-the-edge"),
        ((("x-request-id", "second"), ("x-correlation-id", "first")), "first"),
        ((("x-correlation-id", "not allowed"), ("x-request-id", "from-the-edge")), "from-the-edge"),
        ((("x-correlation-id", "one"), ("x-correlation-id", "two")), "one"),
        ((("x-correlation-id", "A.b_C-9" * 18),), "A.b_C-9" * 18),
    ],
    ids=["the caller's", "the edge's", "the caller's first", "else the next", "the first of two", "long but allowed"],
)
async def test_which_id_a_call_gets(metadata: tuple[tuple[str, str], ...], expected: str) -> None:
    links = Links()
    async with running(links) as service:
        call = service.links.GetLink(GetLinkRequest(short_code="abc"), metadata=metadata)
        await call
        assert dict(await call.trailing_metadata())["x-correlation-id"] == expected
        assert links.script.calls[0].correlation_id == expected
        assert (await service.log.rpc())["correlation_id"] == expected


@pytest.mark.parametrize("offered", [None, "", "a b", "a/b", "x" * 129, "<script>", "a\tb", "\xe9"])
async def test_what_is_no_id_is_replaced(offered: str | None) -> None:
    links = Links()
    async with running(links) as service:
        headers = {} if offered is None else {b"x-correlation-id": offered.encode("latin-1")}
        async with raw_call(service.ports.control, headers=headers):
            line = await service.log.rpc()
    assert uuid.UUID(line["correlation_id"]).version == 4
    assert not offered or offered not in service.log.text


async def test_every_call_without_an_id_gets_one_of_its_own() -> None:
    links = Links()
    async with running(links) as service:
        for _ in range(5):
            await service.get()
    assert len({context.correlation_id for context in links.script.calls}) == 5


async def test_errors_carry_the_id_too() -> None:
    links = Links()
    links.script.get_link = fail(errors.LinkNotFound("abc"))
    async with running(links) as service:
        refusal = await service.refusal(metadata=(("x-correlation-id", "of-an-error"),))
    assert trailers_of(refusal)["x-correlation-id"] == "of-an-error"


async def test_what_a_method_logs_carries_the_id_of_its_call() -> None:
    async def behave(request: object, context: CallContext) -> object:
        structlog.get_logger().info("inside")
        return await echo(request, context)

    links = Links()
    links.script.get_link = behave
    async with running(links) as service:
        await service.get(metadata=(("x-correlation-id", "seen-inside"),))
        (line,) = service.log.of("inside")
        structlog.get_logger().info("outside")
        (after,) = service.log.of("outside")
    assert line["correlation_id"] == "seen-inside"
    assert "correlation_id" not in after


async def test_a_method_may_add_trailing_metadata() -> None:
    async def behave(request: object, context: CallContext) -> object:
        context.set_trailing_metadata([("x-own", "1")])
        context.set_trailing_metadata([("x-other", "2")])
        return await echo(request, context)

    links = Links()
    links.script.get_link = behave
    async with running(links) as service:
        call = service.links.GetLink(GetLinkRequest(short_code="abc"), metadata=(("x-correlation-id", "c"),))
        await call
        assert dict(await call.trailing_metadata()) == {"x-own": "1", "x-other": "2", "x-correlation-id": "c"}


async def test_a_method_sees_the_metadata_as_received() -> None:
    links = Links()
    async with running(links) as service:
        await service.get(metadata=(("x-one", "1"), ("x-one", "2"), ("x-bytes-bin", b"\x00\xff")))
        (context,) = links.script.calls
    received = list(context.invocation_metadata())
    assert [value for key, value in received if key == "x-one"] == ["1", "2"]
    assert ("x-bytes-bin", b"\x00\xff") in received
    assert context.headers["x-one"] == "1"
    assert context.peer().startswith(("ipv4:127.0.0.1:", "ipv6:"))
