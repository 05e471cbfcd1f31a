"""Each method has its own cap of bytes: what passes the transport's but not the method's is refused with details."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.service import LINKS, Links, reason_of, running
from waypost.api.v1 import link_service_pb2 as pb
from waypost.errors import InvalidFields, RequestTooLarge
from waypost.rpc.methods import MessageCap, MessageCaps, has_more_items

BATCH = f"/{LINKS}/BatchCreateLinks"


def test_a_method_without_a_cap_of_its_own_has_that_of_the_others() -> None:
    caps = MessageCaps(100, {BATCH: MessageCap(400), "/s/Small": MessageCap(10)})
    for method, most in ((BATCH, 400), ("/s/Small", 10), ("/s/Other", 100)):
        caps.check(method, b"x" * most)
        with pytest.raises(RequestTooLarge) as caught:
            caps.check(method, b"x" * (most + 1))
        assert (caught.value.size, caught.value.limit) == (most + 1, most)
    assert caps.largest == 400
    assert MessageCaps(100).largest == MessageCaps(100, {BATCH: MessageCap(10)}).largest == 100


async def test_each_method_takes_as_much_as_its_own_cap() -> None:
    links = Links()

    async def answer(request: object, context: object) -> object:
        return pb.BatchCreateLinksResponse() if isinstance(request, pb.BatchCreateLinksRequest) else pb.Link()

    links.script.get_link = answer
    async with running(links, max_message_bytes=2048, message_caps={BATCH: MessageCap(10_000)}) as service:
        batch = pb.BatchCreateLinksRequest(request_id="x" * 9_997)
        assert batch.ByteSize() == 10_000
        await service.links.BatchCreateLinks(batch)
        single = pb.CreateLinkRequest(url="x" * 2_045)
        assert single.ByteSize() == 2_048
        await service.links.CreateLink(single)

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.links.CreateLink(pb.CreateLinkRequest(url="x" * 2_046))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(raised.value) == ("REQUEST_TOO_LARGE", {"part": "message", "max_bytes": "2048"})
        assert "larger than 2,048 bytes (it has 2,049)" in (raised.value.details() or "")

        # More than any method takes: the transport's own refusal, which has no details.
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.links.BatchCreateLinks(pb.BatchCreateLinksRequest(request_id="x" * 9_998))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(links.script.calls) == 2


async def test_what_is_too_large_is_not_even_parsed() -> None:
    async with running(Links(), max_message_bytes=2048, message_caps={BATCH: MessageCap(10_000)}) as service:
        method = service.channel.unary_unary(f"/{LINKS}/CreateLink")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"\xff" * 3_000)
        assert reason_of(raised.value)[0] == "REQUEST_TOO_LARGE"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"\xff" * 2_000)
        assert reason_of(raised.value)[0] == "MALFORMED_REQUEST"


def batch(items: int, **fields: str) -> bytes:
    return pb.BatchCreateLinksRequest(requests=[pb.CreateLinkRequest()] * items, **fields).SerializeToString()


@pytest.mark.parametrize("items", [0, 1, 2, 3])
def test_items_are_counted_before_they_are_parsed(items: int) -> None:
    caps = MessageCaps(100, {BATCH: MessageCap(400, 2, "requests")})
    for message in (batch(items), batch(items, request_id="id"), b"\x12\x02id" + batch(items)):
        if items <= 2:
            caps.check(BATCH, message)
        else:
            with pytest.raises(InvalidFields) as caught:
                caps.check(BATCH, message)
            assert caught.value.violations[0].field == "requests"


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=5),
            st.sampled_from(
                [b"\x0a\x00", b"\x12\x01x", b"\x18\x05", b"\x21" + b"8" * 8, b"\x25" + b"4" * 4, b"\x0b", b"\x0c"]
            ),
        ),
        max_size=5,
    ).map(b"".join)
)
def test_any_bytes_are_counted_as_the_parser_reads_them(message: bytes) -> None:
    try:
        parsed = pb.BatchCreateLinksRequest.FromString(message)
    except DecodeError:
        has_more_items(message, 1)  # raises nothing
    else:
        assert has_more_items(message, len(parsed.requests)) is False


@given(st.lists(st.builds(pb.CreateLinkRequest, url=st.text(max_size=200)), max_size=20), st.text(max_size=5))
def test_messages_are_counted_as_they_are(requests: list[pb.CreateLinkRequest], request_id: str) -> None:
    message = pb.BatchCreateLinksRequest(requests=requests, request_id=request_id).SerializeToString()
    assert not has_more_items(message, len(requests))
    assert not requests or has_more_items(message, len(requests) - 1)
