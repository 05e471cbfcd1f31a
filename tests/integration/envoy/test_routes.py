"""What the edge routes: every call of the contract, each to its service, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.test_failures import forgetful
from tests.support import contract
from tests.support.contract import Binding
from waypost.access.policies import POLICIES
from waypost.api.v1.member_service_pb2 import RemoveMemberRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = list(contract.methods())
BINDINGS = list(contract.bindings())
INSIDE = {"JobService"}
"""Services that the edge keeps to the mesh."""
GRPC_ONLY = {"ResolveLink", "ListJobs"}
ENVOYS_OWN = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
"""A method of the mesh that is not of our contract: the edge calls it and does not route it."""
CHANGES = [binding for binding in BINDINGS if binding.verb != "GET"]
QUERIES = [binding for binding in BINDINGS if binding.verb == "GET"]
CREDENTIALS = {"x-api-key": "wp_abc.def", "x-workspace": "0b9e", "authorization": "Bearer a.b-c_d"}

SAMPLES = {
    FieldDescriptor.CPPTYPE_STRING: ("some text", "some+text"),
    FieldDescriptor.CPPTYPE_INT32: (7, "7"),
    FieldDescriptor.CPPTYPE_UINT32: (7, "7"),
    FieldDescriptor.CPPTYPE_BOOL: (True, "true"),
}


def address(binding: Binding) -> str:
    """The path with a value for each of its fields: the field's own name, with hyphens."""
    return re.sub(r"{(\w+)}", lambda found: found[1].replace("_", "-"), binding.path)


def in_path(binding: Binding) -> dict[str, str]:
    """The fields that the path of `address` gives."""
    return {name: name.replace("_", "-") for name in re.findall(r"{(\w+)}", binding.path)}


def body(binding: Binding) -> bytes:
    return b"{}" if binding.body else b""


def calls(mesh: Mesh, method: MethodDescriptor) -> list[Any]:
    """What the service of a method has seen; the other service must have seen nothing."""
    limits = method.containing_service.name in ("RateLimitService", "LimitOverrideService")
    mine, other = (mesh.limits, mesh.links) if limits else (mesh.links, mesh.limits)
    assert not other.calls
    return mine.calls


def wanted(binding: Binding, **fields: Any) -> Message:
    """The message that a call of `address` becomes."""
    request: Message = message_factory.GetMessageClass(binding.method.input_type)(**in_path(binding), **fields)
    return request


async def test_the_contract_and_the_policies_name_the_same_methods() -> None:
    assert {*map(contract.full_name, METHODS), ENVOYS_OWN} == POLICIES.keys()
    assert {binding.method.name for binding in BINDINGS} == {method.name for method in METHODS} - GRPC_ONLY
    assert len({str(binding) for binding in BINDINGS}) == len(BINDINGS) > len(METHODS) - len(GRPC_ONLY)


@pytest.mark.parametrize("binding", BINDINGS, ids=str)
async def test_every_rule_is_reached_in_json_through_the_edge(mesh: Mesh, binding: Binding) -> None:
    async with mesh.edge.client() as client:
        response = await client.request(binding.verb, address(binding), content=body(binding), headers=CREDENTIALS)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    (call,) = calls(mesh, binding.method)
    assert (call.method, call.request) == (binding.method.name, wanted(binding))
    assert call.values("x-waypost-edge") == ["1"]
    assert call.values("x-forwarded-for") == ["127.0.0.1"]
    assert {name: call.values(name) for name in CREDENTIALS} == {name: [value] for name, value in CREDENTIALS.items()}


@pytest.mark.parametrize("method", METHODS, ids=contract.full_name)
async def test_every_method_is_reached_in_grpc_through_the_edge_or_not_at_all(
    mesh: Mesh, method: MethodDescriptor
) -> None:
    async with mesh.edge.channel() as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(contract.full_name(method))
        call = ask(b"", metadata=tuple(CREDENTIALS.items()))
        if method.containing_service.name in INSIDE:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert status.from_error(caught.value)[1].reason == "ERROR_REASON_UNKNOWN_METHOD"
            assert not mesh.links.calls + mesh.limits.calls
            return
        await call
    (seen,) = calls(mesh, method)
    assert seen.method == method.name
    assert seen.values("x-waypost-edge") == ["1"]
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert {name: seen.values(name) for name in CREDENTIALS} == {name: [value] for name, value in CREDENTIALS.items()}


async def test_nothing_else_is_reached_in_json(mesh: Mesh) -> None:
    known = {(binding.verb, address(binding)) for binding in BINDINGS}
    async with mesh.edge.client() as client:
        for path in sorted({path for _, path in known}):
            for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                for found in (path, f"{path}/x", f"{path}:other"):
                    if (verb, found) not in known and not _is_a_name(found):
                        response = await client.request(verb, found, content=b"{}" if verb[0] == "P" else b"")
                        status.check_json(response, 404, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
                        assert response.headers["cache-control"] == "no-store"
        for method in METHODS:
            # A gRPC method's own path is no page and no JSON call.
            assert (await client.post(contract.full_name(method), content=b"{}")).status_code == 405
    assert not mesh.links.calls + mesh.limits.calls


def _is_a_name(path: str) -> bool:
    """Whether a path that was made here means another object: `/api/v1/keys/x`, `/api/v1/members/subject:other`."""
    patterns = [re.sub(r"{\w+}", "[^/]+", binding.path) for binding in BINDINGS]
    return any(re.fullmatch(pattern, path) for pattern in patterns)


def fields(binding: Binding) -> Iterator[FieldDescriptor]:
    """The fields that a query can give: those that are neither in the path nor messages."""
    for field in binding.method.input_type.fields:
        if field.name not in in_path(binding) and field.cpp_type in SAMPLES and not field.is_repeated:
            yield field


@pytest.mark.parametrize("binding", QUERIES, ids=str)
async def test_every_field_of_a_question_arrives_from_the_query(mesh: Mesh, binding: Binding) -> None:
    found = list(fields(binding))
    query = "&".join(f"{field.name}={SAMPLES[field.cpp_type][1]}" for field in found)
    async with mesh.edge.client() as client:
        assert (await client.get(f"{address(binding)}?{query}")).status_code == 200
    (call,) = calls(mesh, binding.method)
    expected = {f.name: SAMPLES[f.cpp_type][0] for f in found}
    assert call.request == wanted(binding, **expected)


@pytest.mark.parametrize("binding", [one for one in BINDINGS if "{" in one.path], ids=str)
async def test_the_path_has_the_last_word(mesh: Mesh, binding: Binding) -> None:
    async with mesh.edge.client() as client:
        for name in in_path(binding):
            camel = re.sub("_(.)", lambda found: found[1].upper(), name)
            path = f"{address(binding)}?{name}=other&{camel}=another"
            assert (await client.request(binding.verb, path, content=body(binding))).status_code == 200
    for call in calls(mesh, binding.method):
        assert call.request == wanted(binding)


SUBJECTS = ["auth0|5f7c8ec7c33c6c004bbafe82", "a@b.example", "user:1", "a;b,c", "...", "a?b#c%+", "system:revoke"]


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_subjects_are_whatever_an_identity_provider_makes_them(mesh: Mesh, subject: str) -> None:
    escaped = "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in subject)
    async with mesh.edge.client() as client:
        assert (await client.delete(f"/api/v1/members/{escaped}")).status_code == 200
    assert mesh.links.calls[0].request == RemoveMemberRequest(subject=subject)


@pytest.mark.parametrize("subject", ["spiffe%3A%2F%2Fa%2Fb", "CORP%5Cada"])
async def test_a_slash_in_a_subject_has_no_address(mesh: Mesh, subject: str) -> None:
    """A path with an escaped slash is refused, whatever it means: not all who read paths agree on them."""
    async with mesh.edge.client() as client:
        response = await client.delete(f"/api/v1/members/{subject}")
    status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
    assert not mesh.links.calls


@pytest.mark.parametrize("binding", CHANGES, ids=str)
async def test_a_page_of_another_site_can_call_no_change(mesh: Mesh, binding: Binding) -> None:
    headers = {"sec-fetch-site": "cross-site", "content-type": "application/x-www-form-urlencoded"}
    async with mesh.edge.client() as client:
        response = await client.request(binding.verb, address(binding), content=body(binding), headers=headers)
    status.check_json(response, 403, 7, "ERROR_REASON_CROSS_SITE")
    assert response.headers["cache-control"] == "no-store"
    assert not mesh.links.calls + mesh.limits.calls


def repeatable(method: MethodDescriptor, *, keyed: bool) -> bool:
    """Whether a call may be sent again although it may have been heard."""
    reads = method.name.startswith(("Get", "List", "Resolve"))
    return reads or (keyed and method.containing_service.name == "LinkService")


async def test_only_reads_and_keyed_changes_of_links_are_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else keeps answers under keys, and the answer of CreateKey, which holds a secret, is not kept at all."""
    # Of gRPC callers too, whose failures are 200 in HTTP.
    edges.hasten(
        monkeypatch,
        tmp_path,
        {"default_value: 500, runtime_key: access_log": "default_value: 0, runtime_key: access_log"},
    )
    routed = [method for method in METHODS if method.containing_service.name not in INSIDE]
    async with forgetful(tmp_path) as (edge, _), edge.client() as client, edge.client(http2=True) as http2:
        for key in ({}, {"idempotency-key": "k"}):
            mark = {"x-correlation-id": str(len(key))}
            grpc_headers = {"content-type": "application/grpc", "te": "trailers", **key, **mark}
            await asyncio.gather(
                *(client.request(b.verb, address(b), content=body(b), headers=key | mark) for b in BINDINGS),
                *(http2.post(contract.full_name(m), content=b"\0" * 5, headers=grpc_headers) for m in routed),
            )
    lines = [json.loads(line) for line in (tmp_path / "envoy.out").read_text().splitlines()]
    attempts = {(line["method"], line["path"], line["correlation_id"]): line["attempts"] for line in lines}
    for keyed in (False, True):
        for binding in BINDINGS:
            count = attempts[binding.verb, address(binding), str(int(keyed))]
            assert (count > 1) is repeatable(binding.method, keyed=keyed), f"{binding}: {count}"
        for method in routed:
            count = attempts["POST", contract.full_name(method), str(int(keyed))]
            assert (count > 1) is repeatable(method, keyed=keyed), f"{method.full_name}: {count}"
