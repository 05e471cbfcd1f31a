"""What a span says of its caller, and of a call whose caller hung up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.service import GET_LINK
from tests.support.spans import Seen, Spans, seen
from waypost.rpc.chain import Handler
from waypost.rpc.context import CallContext
from waypost.rpc.tracing import Tracing


async def span_of(context: CallContext, handler: Handler) -> Seen:
    """The span of a call; its caller's port is left out."""
    spans = Spans()
    tracing = Tracing(spans.provider.get_tracer("test"))
    await asyncio.gather(tracing(context, b"", handler), return_exceptions=True)
    return seen(spans.ended[0])


async def answer(context: CallContext, request: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("peer", "attributes"),
    [
        ("ipv4:127.0.0.1:40312", {"net.peer.ip": "127.0.0.1", "net.peer.name": "localhost"}),
        ("ipv4:192.0.2.7:40312", {"net.peer.ip": "192.0.2.7"}),
        ("ipv6:%5B::1%5D:40312", {"net.peer.ip": "[::1]", "net.peer.name": "localhost"}),
        ("ipv6:%5B2001:db8::7%5D:40312", {"net.peer.ip": "[2001:db8::7]"}),
        ("unix:", {}),
        ("unix:/run/waypost/gateway.sock", {}),
        ("", {}),
        ("nothing that we know", {}),
    ],
)
async def test_an_address_is_told_apart_as_the_instrumentation_has_it(peer: str, attributes: dict[str, Any]) -> None:
    span = await span_of(CallContext(GET_LINK, (), peer, None), answer)
    found = {name: value for name, value in span.attributes.items() if name.startswith("net.")}
    assert found == attributes


@pytest.mark.parametrize(
    ("left", "code", "status", "description"),
    [
        (0.5, 1, "UNSET", ""),
        (
            0.0,
            4,
            "ERROR",
            "StatusCode.DEADLINE_EXCEEDED:the call did not finish within its 1.000 s",
        ),
    ],
    ids=["of itself", "as its time was up"],
)
async def test_a_caller_that_hung_up(left: float, code: int, status: str, description: str) -> None:
    async def hung_up(context: CallContext, request: bytes) -> bytes:
        context.timeout, context.deadline = 1.0, asyncio.get_running_loop().time() + left
        raise asyncio.CancelledError

    span = await span_of(CallContext(GET_LINK, (), "unix:", None), hung_up)
    assert (span.attributes["rpc.grpc.status_code"], span.status, span.description) == (code, status, description)
    assert span.events == ()


async def test_what_goes_through_the_whole_chain_is_written_down() -> None:
    async def broken(context: CallContext, request: bytes) -> bytes:
        raise RuntimeError("the chain itself")

    span = await span_of(CallContext(GET_LINK, (), "unix:", None), broken)
    assert (span.attributes["rpc.grpc.status_code"], span.status) == (2, "ERROR")
    assert [(event.kind, event.text) for event in span.events] == [("RuntimeError", "the chain itself")]
