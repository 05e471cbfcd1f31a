"""Every call that changes something, ready to be made as JSON and over gRPC, with a key or without."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import grpc
import httpx
from google.protobuf.json_format import MessageToDict

from tests.e2e.api import Api, fresh_alias
from waypost.api.v1 import link_service_pb2 as pb

Request = (
    pb.CreateLinkRequest
    | pb.BatchCreateLinksRequest
    | pb.UpdateLinkRequest
    | pb.DeleteLinkRequest
    | pb.UndeleteLinkRequest
)

TIMEOUT = 20.0
HEADER = "idempotency-key"
ROUTES = {
    "CreateLink": ("POST", "/api/v1/shorten"),
    "BatchCreateLinks": ("POST", "/api/v1/shorten:batch"),
    "UpdateLink": ("PATCH", "/api/v1/urls/{short_code}"),
    "DeleteLink": ("DELETE", "/api/v1/urls/{short_code}"),
    "UndeleteLink": ("POST", "/api/v1/urls/{short_code}:undelete"),
}


@dataclass(frozen=True)
class Mutation:
    """One change. `request` has no `request_id` yet; `codes`: the links that it makes or changes; `event`: what the
    outbox tells of each; `change`: changes the first of them once more, in another way.
    """

    request: Request
    codes: tuple[str, ...]
    event: str
    change: Callable[[], httpx.Response]

    @property
    def method(self) -> str:
        """The method's name."""
        return type(self.request).__name__.removesuffix("Request")

    def json(self, client: httpx.Client, *, field: str = "", header: str = "") -> httpx.Response:
        """Makes it as JSON through the edge, the key in the field, in the header, or both."""
        verb, path = ROUTES[self.method]
        fields = MessageToDict(self._keyed(field), preserving_proto_field_name=True)
        if "{short_code}" in path:
            path = path.format(short_code=fields.pop("short_code"))
        headers = {HEADER: header} if header else {}
        if verb == "DELETE":
            return client.request(verb, path, params=fields, headers=headers)
        return client.request(verb, path, json=fields, headers=headers)

    def rpc(self, channel: grpc.Channel, *, field: str = "", header: str = "") -> bytes:
        """Makes it over gRPC; the bytes of the answer."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/waypost.api.v1.LinkService/{self.method}", request_serializer=None, response_deserializer=None
        )
        metadata = ((HEADER, header),) if header else ()
        return call(self._keyed(field).SerializeToString(), timeout=TIMEOUT, metadata=metadata)

    def events(self, api: Api) -> list[list[str]]:
        """What the outbox tells of each of its links."""
        return [api.told(code) for code in self.codes]

    def _keyed(self, key: str) -> Request:
        request = deepcopy(self.request)
        request.request_id = key
        return request


def _create(api: Api) -> Mutation:
    alias = fresh_alias()
    request = pb.CreateLinkRequest(url="https://a.example/?é", alias=alias, tags=["one", "two"], ttl_seconds=3600)
    return Mutation(request, (alias,), "created", lambda: api.update(alias, title="changed"))


def _batch(api: Api) -> Mutation:
    aliases = (fresh_alias(), fresh_alias())
    items = [pb.CreateLinkRequest(url="https://a.example/", alias=alias) for alias in aliases]
    items.insert(1, pb.CreateLinkRequest(url="javascript:x"))
    return Mutation(
        pb.BatchCreateLinksRequest(requests=items), aliases, "created", lambda: api.update(aliases[0], title="changed")
    )


def _update(api: Api) -> Mutation:
    code = api.code(tags=["before"])
    request = pb.UpdateLinkRequest(short_code=code, title="after", url="https://b.example/")
    return Mutation(request, (code,), "updated", lambda: api.update(code, title="changed"))


def _delete(api: Api) -> Mutation:
    code = api.code()
    return Mutation(pb.DeleteLinkRequest(short_code=code), (code,), "deleted", lambda: api.undelete(code))


def _undelete(api: Api) -> Mutation:
    code = api.code()
    assert api.delete(code).status_code == 200
    return Mutation(pb.UndeleteLinkRequest(short_code=code), (code,), "updated", lambda: api.delete(code))


MUTATIONS: dict[str, Callable[[Api], Mutation]] = {
    "CreateLink": _create,
    "BatchCreateLinks": _batch,
    "UpdateLink": _update,
    "DeleteLink": _delete,
    "UndeleteLink": _undelete,
}
"""By method: makes what it needs, and a change that nobody has asked for yet."""
