"""API keys: one method for each of KeyService's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from waypost.api.v1 import key_service_pb2 as pb
from waypost.api.v1.key_service_pb2_grpc import KeyServiceStub
from waypost.client.connection import Connection
from waypost.client.convert import Value, fill
from waypost.client.identity_convert import key_from_proto, new_key_from_proto, role_to_proto
from waypost.client.identity_model import Key, NewKey, Role
from waypost.client.service import Listed, Service, each

if TYPE_CHECKING:
    from waypost.api.v1.key_service_pb2_grpc import KeyServiceAsyncStub


class Keys(Service["KeyServiceAsyncStub"]):
    """The keys of the workspace that the client works in."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, KeyServiceStub)

    async def create(
        self,
        name: str,
        *,
        role: Role | str = Role.EDITOR,
        scopes: Sequence[str] = (),
        ttl: timedelta | None = None,
        expires_at: datetime | None = None,
        timeout: float | None = None,
    ) -> NewKey:
        """Makes a key and returns it with its secret, which is told this once.

        It may do what the role may, or of that only what `scopes` name; `ttl` and `expires_at` (with a time zone)
        exclude each other. If the answer is lost, the key may be there: revoke it by its name and make another. Raises
        `InvalidFields`, `TooMany`; `PermissionDenied` for a key that could do what you may not.
        """
        values: dict[str, Value] = {
            "name": name,
            "role": role_to_proto(role),
            "scopes": scopes,
            "ttl_seconds": ttl,
            "expires_at": expires_at,
        }
        request = pb.CreateKeyRequest()
        fill(request, {field: value for field, value in values.items() if value is not None})
        return new_key_from_proto(await self._call(lambda stub: stub.CreateKey, request, timeout))

    async def list(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[Key]:
        """All keys, the newest first, also revoked and expired ones; a page of `page_size` (at most 200) at a time."""
        async for one in each(
            lambda token: self.list_page(page_size=page_size, page_token=token, timeout=timeout),
        ):
            yield one

    async def list_page(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> Listed[Key]:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListKeysRequest()
        fill(request, {"page_size": page_size, "page_token": page_token})
        answer = await self._call(lambda stub: stub.ListKeys, request, timeout)
        return Listed(tuple(map(key_from_proto, answer.keys)), answer.next_page_token)

    async def get(self, key_id: str, *, timeout: float | None = None) -> Key:
        """The key. Raises `ResourceNotFound`."""
        request = pb.GetKeyRequest()
        fill(request, {"key_id": key_id})
        return key_from_proto(await self._call(lambda stub: stub.GetKey, request, timeout))

    async def revoke(self, key_id: str, *, timeout: float | None = None) -> Key:
        """Takes a key back for good; nobody knows it any more within a second. Raises `ResourceNotFound`."""
        request = pb.RevokeKeyRequest()
        fill(request, {"key_id": key_id})
        return key_from_proto(await self._call(lambda stub: stub.RevokeKey, request, timeout))
