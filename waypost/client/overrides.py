"""Overrides of rate limits, for operators; one method for each of LimitOverrideService's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

from waypost.api.v1 import limit_override_service_pb2 as pb
from waypost.api.v1.limit_override_service_pb2_grpc import LimitOverrideServiceStub
from waypost.client.connection import Connection
from waypost.client.convert import fill
from waypost.client.limits_convert import entries_to_proto, number_to_proto, override_from_proto, unit_to_proto
from waypost.client.limits_model import Entries, LimitOverride, LimitUnit
from waypost.client.service import Listed, Service, each

if TYPE_CHECKING:
    from waypost.api.v1.limit_override_service_pb2_grpc import LimitOverrideServiceAsyncStub


class Overrides(Service["LimitOverrideServiceAsyncStub"]):
    """Other numbers for single descriptors than the rules give. They hold on every replica within a second."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, LimitOverrideServiceStub)

    async def set(
        self,
        domain: str,
        entries: Entries,
        *,
        requests_per_unit: int = 0,
        unit: LimitUnit | str | None = None,
        burst: int = 0,
        unlimited: bool = False,
        reason: str = "",
        expires_at: datetime | None = None,
        timeout: float | None = None,
    ) -> LimitOverride:
        """Sets the override of a descriptor, in place of the one that it has.

        Either `requests_per_unit` (0 refuses everything) and `unit`, or `unlimited`. Raises `InvalidFields`, `TooMany`.
        """
        request = pb.SetOverrideRequest(
            entries=entries_to_proto(entries),
            unlimited=unlimited,
            requests_per_unit=number_to_proto("requests_per_unit", requests_per_unit),
            unit=unit_to_proto(unit),
            burst=number_to_proto("burst", burst),
        )
        fill(request, {"domain": domain, "reason": reason, "expires_at": expires_at})
        return override_from_proto(await self._call(lambda stub: stub.SetOverride, request, timeout))

    async def list(
        self, domain: str = "", *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[LimitOverride]:
        """All overrides of a domain, or of all, the latest first; a page of `page_size` (at most 500) at a time."""
        async for one in each(
            lambda token: self.list_page(domain, page_size=page_size, page_token=token, timeout=timeout),
        ):
            yield one

    async def list_page(
        self, domain: str = "", *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> Listed[LimitOverride]:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListOverridesRequest()
        fill(request, {"domain": domain, "page_size": page_size, "page_token": page_token})
        answer = await self._call(lambda stub: stub.ListOverrides, request, timeout)
        return Listed(tuple(map(override_from_proto, answer.overrides)), answer.next_page_token)

    async def delete(self, override_id: str, *, timeout: float | None = None) -> LimitOverride:
        """Deletes an override: the rule's numbers hold again. Raises `ResourceNotFound`."""
        request = pb.DeleteOverrideRequest()
        fill(request, {"override_id": override_id})
        return override_from_proto(await self._call(lambda stub: stub.DeleteOverride, request, timeout))
