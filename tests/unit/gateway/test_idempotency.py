"""The idempotency key of a call."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from gateway.idempotency import Mutation, key_of
from tests.support.identities import as_anonymous, as_owner
from waypost.access.identity import Identity
from waypost.api.v1 import link_service_pb2 as pb
from waypost.errors import InvalidFields
from waypost.model import DEFAULT_WORKSPACE, IdempotencyKey
from waypost.rpc.context import CallContext


def asked(
    request: Mutation, header: str | None = None, method: str = "CreateLink", identity: Identity | None = None
) -> IdempotencyKey | None:
    metadata = () if header is None else (("idempotency-key", header),)
    context = CallContext(f"/waypost.api.v1.LinkService/{method}", metadata, "unix:", None)
    return key_of(request, context, identity or as_owner())


def test_without_a_key_there_is_none() -> None:
    assert asked(pb.CreateLinkRequest(url="x")) is None
    assert asked(pb.CreateLinkRequest(url="x"), header="") is None


def test_field_header_and_both_name_the_same_key() -> None:
    keys = {
        asked(pb.CreateLinkRequest(url="x", request_id="k")),
        asked(pb.CreateLinkRequest(url="x"), header="k"),
        asked(pb.CreateLinkRequest(url="x", request_id="k"), header="k"),
    }
    (key,) = keys
    assert key is not None
    assert (key.key, key.method, key.workspace_id) == ("k", "CreateLink", DEFAULT_WORKSPACE)


def test_a_key_is_known_by_who_asks_and_in_which_workspace() -> None:
    request = pb.CreateLinkRequest(request_id="k")
    callers = [
        as_owner(),
        as_owner(principal="user:bob"),
        as_owner(principal="key:ada"),
        as_owner(UUID(int=2)),
        as_anonymous("192.0.2.7"),
        as_anonymous("192.0.2.8"),
    ]
    keys = [asked(request, identity=caller) for caller in callers]
    assert len(set(keys)) == len(callers)
    for key, caller in zip(keys[:4], callers, strict=False):
        assert key is not None
        assert (key.workspace_id, key.principal) == (caller.workspace_id, caller.principal)


def test_the_key_of_somebody_known_is_not_known_by_where_they_are() -> None:
    request = pb.CreateLinkRequest(request_id="k")
    at_home = as_owner()
    assert asked(request, identity=at_home) == asked(request, identity=replace(at_home, address="198.51.100.9"))


def test_two_that_differ_are_refused() -> None:
    with pytest.raises(InvalidFields) as caught:
        asked(pb.CreateLinkRequest(request_id="k"), header="K")
    assert caught.value.violations[0].field == "request_id"


def test_two_headers_that_differ_are_refused() -> None:
    metadata = (("idempotency-key", "k"), ("idempotency-key", "K"))
    context = CallContext("/waypost.api.v1.LinkService/CreateLink", metadata, "unix:", None)
    with pytest.raises(InvalidFields) as caught:
        key_of(pb.CreateLinkRequest(), context, as_owner())
    assert caught.value.violations[0].field == "idempotency-key"


def test_methods_and_requests_are_told_apart() -> None:
    first = asked(pb.DeleteLinkRequest(short_code="a", request_id="k"), method="DeleteLink")
    second = asked(pb.UndeleteLinkRequest(short_code="a", request_id="k"), method="UndeleteLink")
    third = asked(pb.DeleteLinkRequest(short_code="b", request_id="k"), method="DeleteLink")
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.method != second.method
    assert (first.method, first.key) == (third.method, third.key)
    assert first.fingerprint != third.fingerprint
    assert len(first.fingerprint) == 32


@pytest.mark.parametrize("key", ["!", "~", "x" * 128, "6b3a55e0-1cf0-4c5e-9c2c-0f3a1d2b4c5d", '"quoted"'])
def test_any_visible_ascii_is_a_key(key: str) -> None:
    for found in (asked(pb.CreateLinkRequest(request_id=key)), asked(pb.CreateLinkRequest(), header=key)):
        assert found is not None
        assert found.key == key


@pytest.mark.parametrize("key", ["x" * 129, "a b", " ", "a\tb", "a\n", "\x7f", "ä", "\0"])
def test_anything_else_is_none(key: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        asked(pb.CreateLinkRequest(request_id=key))
    assert caught.value.violations[0].field == "request_id"
    with pytest.raises(InvalidFields) as caught:
        asked(pb.CreateLinkRequest(), header=key)
    assert caught.value.violations[0].field == "idempotency-key"
