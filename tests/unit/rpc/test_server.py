"""The control port: any set of servicers, with reflection; what is no servicer is refused at start."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.service import GET_LINK, LIMITS, LINKS, Limits, Links, Running, running
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceServicer
from waypost.rpc.context import CallContext
from waypost.rpc.methods import endpoint, method_table

LINK_METHODS = {
    f"/{LINKS}/{name}"
    for name in (
        "CreateLink",
        "BatchCreateLinks",
        "GetLink",
        "ListLinks",
        "UpdateLink",
        "DeleteLink",
        "UndeleteLink",
        "ResolveLink",
    )
}


async def _reflect(service: Running, **request: str) -> Any:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    stream = stub.ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(**request))
    await stream.done_writing()
    return await stream.read()


async def test_several_servicers_are_served_side_by_side() -> None:
    async with running(Links(), Limits()) as service:
        assert (await service.get("abc")).short_code == "abc"
        assert (await service.limits.Check(limits_pb.CheckRequest(domain="x"))).allowed


async def test_a_service_may_have_no_servicer_at_all() -> None:
    async with running() as service:
        await service.status("ok")
        answer = await _reflect(service, list_services="")
    assert [found.name for found in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]


async def test_reflection_lists_every_service() -> None:
    async with running(Links(), Limits()) as service:
        answer = await _reflect(service, list_services="")
    assert {found.name for found in answer.list_services_response.service} == {
        LINKS,
        LIMITS,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_reflection_describes_a_service() -> None:
    async with running(Links()) as service:
        answer = await _reflect(service, file_containing_symbol=LINKS)
    # The file itself, then all that it imports.
    file, *imports = map(
        descriptor_pb2.FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto
    )
    assert (file.package, file.service[0].name) == ("waypost.api.v1", "LinkService")
    assert set(file.dependency) <= {found.name for found in imports}


async def test_reflection_answers_what_it_does_not_know() -> None:
    async with running(Links()) as service:
        assert (await _reflect(service, file_containing_symbol="no.Such")).HasField("error_response")


def test_what_is_no_servicer_is_refused() -> None:
    class Stranger:
        """Has no generated base."""

    with pytest.raises(TypeError, match="Stranger has no generated servicer as a base class"):
        method_table([Stranger()])


def test_the_table_has_what_is_served() -> None:
    table = method_table([Links(), Limits()])
    assert table.services == (LINKS, LIMITS)
    limit_methods = {f"/{LIMITS}/{name}" for name in ("Check", "BatchCheck", "Reset", "Explain", "ListRules")}
    assert set(table.unary) == LINK_METHODS | limit_methods
    assert not table.streaming


def test_what_is_left_to_the_generated_base_class_is_not_served() -> None:
    half: Any = type("Half", (LinkServiceServicer,), {"GetLink": Links.GetLink})
    assert set(method_table([half()]).unary) == {GET_LINK}


def test_a_servicer_may_be_derived_further() -> None:
    class Special(Links):
        """A servicer two steps below the generated class."""

    assert set(method_table([Special()]).unary) == LINK_METHODS


async def test_a_servicer_cannot_tell_which_transport_called_it() -> None:
    links = Links()
    async with running(links) as service:
        await service.get("abc", metadata=(("x-own", "1"),))
    (by_wire,) = links.script.calls
    assert type(by_wire) is CallContext
    direct = CallContext(GET_LINK, (("x-own", "1"),), "unix:", None)
    answer = await endpoint(method_table([links]))(direct, b"\x0a\x03abc")
    assert answer == b"\x0a\x03abc"
    assert links.script.calls[1] is direct
