"""Each method has its own cap of bytes: what passes the transport's but not the method's is refused with details."""

from __future__ import annotations

import grpc
import pytest

from tests.support.service import LINKS, Links, reason_of, running
from waypost.api.v1 import link_service_pb2 as pb
from waypost.rpc.methods import MessageCaps

BATCH = f"/{LINKS}/BatchCreateLinks"


def test_a_method_without_a_cap_of_its_own_has_that_of_the_others() -> None:
    caps = MessageCaps(100, {BATCH: 400, "/s/Small": 10})
    assert [caps.of(method) for method in (BATCH, "/s/Small", "/s/Other")] == [400, 10, 100]
    assert caps.largest == 400
    assert MessageCaps(100).largest == MessageCaps(100, {BATCH: 10}).largest == 100


async def test_each_method_takes_as_much_as_its_own_cap() -> None:
    links = Links()

    async def answer(request: object, context: object) -> object:
        return pb.BatchCreateLinksResponse() if isinstance(request, pb.BatchCreateLinksRequest) else pb.Link()

    links.script.get_link = answer
    async with running(links, max_message_bytes=2048, message_caps={BATCH: 10_000}) as service:
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
    async with running(Links(), max_message_bytes=2048, message_caps={BATCH: 10_000}) as service:
        method = service.channel.unary_unary(f"/{LINKS}/CreateLink")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"\xff" * 3_000)
        assert reason_of(raised.value)[0] == "REQUEST_TOO_LARGE"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"\xff" * 2_000)
        assert reason_of(raised.value)[0] == "MALFORMED_REQUEST"
