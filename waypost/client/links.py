"""Links: one method for each of LinkService's."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.client import convert
from waypost.client.connection import Connection
from waypost.client.errors import from_status
from waypost.client.model import UNSET, Link, NewLink, Page, Resolution, Unset
from waypost.client.service import Service
from waypost.errors import WaypostError

if TYPE_CHECKING:
    # The stub as asynchronous channels make it: known to type checkers only.
    from waypost.api.v1.link_service_pb2_grpc import LinkServiceAsyncStub

MAX_BATCH = 1000
"""Links that one `batch_create` can make."""

Outcomes = list[Link | WaypostError]


class Links(Service["LinkServiceAsyncStub"]):
    """The workspace's links."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, LinkServiceStub)

    async def create(
        self,
        url: str,
        *,
        alias: str = "",
        title: str = "",
        tags: Sequence[str] = (),
        ttl: timedelta | None = None,
        expires_at: datetime | None = None,
        max_clicks: int = 0,
        redirect_status: int = 0,
        forward_query: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Link:
        """Makes a short link; see `NewLink` for what each may be.

        Raises `InvalidFields`, `AliasTaken`, `RateLimited`.
        """
        new = NewLink(
            url=url,
            alias=alias,
            title=title,
            tags=tags,
            ttl=ttl,
            expires_at=expires_at,
            max_clicks=max_clicks,
            redirect_status=redirect_status,
            forward_query=forward_query,
        )
        request = convert.create_to_proto(new, _request_id(request_id))
        return convert.link_from_proto(await self._call(lambda stub: stub.CreateLink, request, timeout))

    async def batch_create(
        self, links: Iterable[NewLink], *, request_id: str | None = None, timeout: float | None = None
    ) -> Outcomes:
        """Makes up to `MAX_BATCH` links, together at most 3 MiB; returns a link or an error for each, in their order.

        Raises `InvalidFields` (also if there are none or too many) and `RateLimited`: then none has been made.
        """
        request = convert.batch_to_proto(links, _request_id(request_id))
        answer = await self._call(lambda stub: stub.BatchCreateLinks, request, timeout)
        return [
            convert.link_from_proto(one.link) if one.HasField("link") else from_status(one.error)
            for one in answer.results
        ]

    async def get(self, short_code: str, *, timeout: float | None = None) -> Link:
        """The link, whatever its state. Raises `LinkNotFound`."""
        request = pb.GetLinkRequest()
        convert.fill(request, {"short_code": short_code})
        return convert.link_from_proto(await self._call(lambda stub: stub.GetLink, request, timeout))

    async def list(
        self, *, filter: str = "", order_by: str = "", page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[Link]:
        """All links that match, a page of `page_size` (0: the server's choice; at most 500) at a time.

        `filter` and `order_by` as the contract's `ListLinksRequest` has them; absent: the newest first, without deleted
        ones. `timeout` is for each page. Raises `InvalidFields`.
        """
        token = ""
        while True:
            page = await self.list_page(
                filter=filter, order_by=order_by, page_size=page_size, page_token=token, timeout=timeout
            )
            for link in page.links:
                yield link
            token = page.next_page_token
            if not token:
                return

    async def list_page(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Page:
        """One page: the first, or with `page_token` the one that follows; all else must be as it was for the first."""
        request = pb.ListLinksRequest()
        convert.fill(
            request, {"filter": filter, "order_by": order_by, "page_size": page_size, "page_token": page_token}
        )
        return convert.page_from_proto(await self._call(lambda stub: stub.ListLinks, request, timeout))

    async def update(
        self,
        short_code: str,
        *,
        url: str | Unset = UNSET,
        title: str | Unset | None = UNSET,
        tags: Sequence[str] | Unset | None = UNSET,
        ttl: timedelta | Unset = UNSET,
        expires_at: datetime | Unset | None = UNSET,
        max_clicks: int | Unset | None = UNSET,
        redirect_status: int | Unset | None = UNSET,
        forward_query: bool | Unset | None = UNSET,
        etag: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Link:
        """Changes what is given and returns the link as it is now; None, `""`, `[]` and 0 clear a field.

        With an `etag` only if the link is still in that state. Raises `LinkNotFound`, `LinkGone`, `EtagMismatch`,
        `InvalidFields`.
        """
        changes: dict[str, convert.Value | Unset] = {
            "url": url,
            "title": title,
            "tags": tags,
            "ttl_seconds": ttl,
            "expires_at": expires_at,
            "max_clicks": max_clicks,
            "redirect_status": redirect_status,
            "forward_query": forward_query,
        }
        request = convert.update_to_proto(short_code, changes, etag, _request_id(request_id))
        return convert.link_from_proto(await self._call(lambda stub: stub.UpdateLink, request, timeout))

    async def delete(
        self, short_code: str, *, etag: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> Link:
        """Takes the link out of service and returns it; its code is never handed out again. Raises as `update`."""
        request = pb.DeleteLinkRequest()
        convert.fill(request, {"short_code": short_code, "etag": etag, "request_id": _request_id(request_id)})
        return convert.link_from_proto(await self._call(lambda stub: stub.DeleteLink, request, timeout))

    async def undelete(
        self, short_code: str, *, etag: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> Link:
        """Puts a deleted link back into service, just as it was. Raises `LinkNotFound`, `EtagMismatch`."""
        request = pb.UndeleteLinkRequest()
        convert.fill(request, {"short_code": short_code, "etag": etag, "request_id": _request_id(request_id)})
        return convert.link_from_proto(await self._call(lambda stub: stub.UndeleteLink, request, timeout))

    async def resolve(self, short_code: str, *, timeout: float | None = None) -> Resolution:
        """What a visit to the short link would get now, without counting it; also for codes that nobody has."""
        request = pb.ResolveLinkRequest()
        convert.fill(request, {"short_code": short_code})
        answer = await self._call(lambda stub: stub.ResolveLink, request, timeout)
        return convert.resolution_from_proto(answer)


def _request_id(given: str | None) -> str:
    return str(uuid.uuid4()) if given is None else given
