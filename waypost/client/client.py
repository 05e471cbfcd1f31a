"""The client: one method for each of LinkService's."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import grpc

from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.client import convert
from waypost.client.channel import Server, open_channel
from waypost.client.errors import ClientClosed, from_rpc, from_status
from waypost.client.model import UNSET, Link, NewLink, Page, Resolution, Unset
from waypost.errors import IdempotencyKeyInUse, WaypostError

if TYPE_CHECKING:
    # The stub as asynchronous channels make it: known to type checkers only.
    from waypost.api.v1.link_service_pb2_grpc import LinkServiceAsyncStub

T = TypeVar("T")

MAX_BATCH = 1000
"""Links that one `batch_create` can make."""

MAX_TIMEOUT = 86_400
"""Seconds that a call may be given."""

Outcomes = list[Link | WaypostError]


class Client:
    """A Waypost at `server`: `host:port`, `http://host[:port]`, or `https://host[:port]` for one behind TLS.

        async with Client("localhost:8080") as client:
            link = await client.create("https://example.com/", alias="talk")

    It reads no settings: WAYPOST_SERVER is for the `waypost` command, and `Client()` talks to `localhost:8080` whatever
    that says.

    Any number of tasks may share one; `channels` connections take calls in turn. `root_certificates` (PEM) are trusted
    in place of the usual ones.

    A call has `timeout` seconds in all. Within them it is made up to four times, with growing pauses, when nobody
    answers, but not throughout a lasting outage. That is safe, since whatever changes something carries a `request_id`
    of its own. Give one yourself if your program may be started again in the middle: for 24 hours the same request
    under the same id is done once.

    Every failure is a `WaypostError`: those of `waypost.errors` that the server sends, `DeadlineExceeded` of the same
    when the time is up, and three of `waypost.client.errors`: `Unreachable` when nobody listens there, `ClientClosed`,
    and `RemoteError` for whatever else a server may say.
    """

    def __init__(
        self,
        server: str | Server = "localhost:8080",
        *,
        channels: int = 1,
        timeout: float = 10.0,
        root_certificates: bytes | None = None,
    ) -> None:
        if channels < 1:
            raise ValueError(f"channels must be at least 1, not {channels}")
        self._server = Server.parse(server) if isinstance(server, str) else server
        if root_certificates is not None:
            self._server = replace(self._server, trust=root_certificates)
        self._size = channels
        self._timeout = _seconds(timeout)
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: itertools.cycle[LinkServiceAsyncStub] | None = None

    async def __aenter__(self) -> Self:
        if self._channels:
            raise RuntimeError("the client is open already")
        self._channels = [open_channel(self._server) for _ in range(self._size)]
        stubs: list[LinkServiceAsyncStub] = [LinkServiceStub(channel) for channel in self._channels]
        self._stubs = itertools.cycle(stubs)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections; calls under way fail with `ClientClosed`."""
        channels, self._channels, self._stubs = self._channels, [], None
        for channel in channels:
            await channel.close()

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
        return convert.link_from_proto(await self._call(lambda stub, s: stub.CreateLink(request, timeout=s), timeout))

    async def batch_create(
        self, links: Iterable[NewLink], *, request_id: str | None = None, timeout: float | None = None
    ) -> Outcomes:
        """Makes up to `MAX_BATCH` links, together at most 3 MiB; returns a link or an error for each, in their order.

        Raises `InvalidFields` (also if there are none or too many) and `RateLimited`: then none has been made.
        """
        request = convert.batch_to_proto(links, _request_id(request_id))
        answer = await self._call(lambda stub, s: stub.BatchCreateLinks(request, timeout=s), timeout)
        return [
            convert.link_from_proto(one.link) if one.HasField("link") else from_status(one.error)
            for one in answer.results
        ]

    async def get(self, short_code: str, *, timeout: float | None = None) -> Link:
        """The link, whatever its state. Raises `LinkNotFound`."""
        request = pb.GetLinkRequest()
        convert.fill(request, {"short_code": short_code})
        return convert.link_from_proto(await self._call(lambda stub, s: stub.GetLink(request, timeout=s), timeout))

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
        return convert.page_from_proto(await self._call(lambda stub, s: stub.ListLinks(request, timeout=s), timeout))

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
        return convert.link_from_proto(await self._call(lambda stub, s: stub.UpdateLink(request, timeout=s), timeout))

    async def delete(
        self, short_code: str, *, etag: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> Link:
        """Takes the link out of service and returns it; its code is never handed out again. Raises as `update`."""
        request = pb.DeleteLinkRequest()
        convert.fill(request, {"short_code": short_code, "etag": etag, "request_id": _request_id(request_id)})
        return convert.link_from_proto(await self._call(lambda stub, s: stub.DeleteLink(request, timeout=s), timeout))

    async def undelete(
        self, short_code: str, *, etag: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> Link:
        """Puts a deleted link back into service, just as it was. Raises `LinkNotFound`, `EtagMismatch`."""
        request = pb.UndeleteLinkRequest()
        convert.fill(request, {"short_code": short_code, "etag": etag, "request_id": _request_id(request_id)})
        return convert.link_from_proto(await self._call(lambda stub, s: stub.UndeleteLink(request, timeout=s), timeout))

    async def resolve(self, short_code: str, *, timeout: float | None = None) -> Resolution:
        """What a visit to the short link would get now, without counting it; also for codes that nobody has."""
        request = pb.ResolveLinkRequest()
        convert.fill(request, {"short_code": short_code})
        answer = await self._call(lambda stub, s: stub.ResolveLink(request, timeout=s), timeout)
        return convert.resolution_from_proto(answer)

    async def _call(self, call: Callable[[LinkServiceAsyncStub, float], Awaitable[T]], timeout: float | None) -> T:
        """Makes a call within its time and turns whatever it ends with into one of our errors."""
        seconds = self._timeout if timeout is None else _seconds(timeout)
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while True:
            try:
                # Not 0: that would be no limit at all.
                return await self._attempt(call, max(ends - clock(), 0.001), seconds)
            except IdempotencyKeyInUse as error:
                # An attempt of ours was cut off, yet goes on at the server: its answer is the one to wait for.
                pause = max(error.retry_after, 0.05)
                if clock() + pause >= ends:
                    raise
                await asyncio.sleep(pause)

    async def _attempt(
        self, call: Callable[[LinkServiceAsyncStub, float], Awaitable[T]], left: float, timeout: float
    ) -> T:
        if self._stubs is None:
            raise ClientClosed
        stubs = self._stubs
        try:
            return await call(next(stubs), left)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self._server.address, timeout) from error
        except grpc.aio.UsageError:
            raise ClientClosed from None
        except asyncio.CancelledError:
            # Closing a channel cancels its calls; that must not look as if somebody had cancelled the caller.
            task = asyncio.current_task()
            if self._stubs is stubs or (task is not None and task.cancelling()):
                raise
            raise ClientClosed from None


def _seconds(timeout: float) -> float:
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout must be above 0 and at most {MAX_TIMEOUT:,} seconds, not {timeout}")
    return timeout


def _request_id(given: str | None) -> str:
    return str(uuid.uuid4()) if given is None else given
