"""LinkService by its contract, in memory, on a real port: what clients are tested against.

As a program it prints its port and serves, with the servers of the other services, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from tests.support.account_server import AccountServer
from tests.support.answering import Answering
from tests.support.limit_server import LimitServer
from waypost import errors
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc
from waypost.errors import InvalidFields, WaypostError
from waypost.rpc.status import to_status

PUBLIC_URL = "https://go.example"
NOW = datetime(2031, 1, 1, tzinfo=UTC)
"""The instant at which the server stands; each link is made a second after the one before."""

_CONDITION = re.compile(r'(\w+) (=|:|>=|<) "((?:[^"\\]|\\.)*)"(?: AND |$)')
_ESCAPE = re.compile(r"\\(.)")


class LinkServer(Answering, link_service_pb2_grpc.LinkServiceServicer):
    """The links and the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.links: dict[str, pb.Link] = {}

    async def CreateLink(self, request: pb.CreateLinkRequest, context: Any) -> Any:
        return await self.answer("CreateLink", request, context, self._create)

    async def BatchCreateLinks(self, request: pb.BatchCreateLinksRequest, context: Any) -> Any:
        return await self.answer("BatchCreateLinks", request, context, self._batch)

    async def GetLink(self, request: pb.GetLinkRequest, context: Any) -> Any:
        return await self.answer("GetLink", request, context, lambda asked: self._found(asked.short_code))

    async def ListLinks(self, request: pb.ListLinksRequest, context: Any) -> Any:
        return await self.answer("ListLinks", request, context, self._list)

    async def UpdateLink(self, request: pb.UpdateLinkRequest, context: Any) -> Any:
        return await self.answer("UpdateLink", request, context, self._update)

    async def DeleteLink(self, request: pb.DeleteLinkRequest, context: Any) -> Any:
        return await self.answer("DeleteLink", request, context, self._delete)

    async def UndeleteLink(self, request: pb.UndeleteLinkRequest, context: Any) -> Any:
        return await self.answer("UndeleteLink", request, context, self._undelete)

    async def ResolveLink(self, request: pb.ResolveLinkRequest, context: Any) -> Any:
        return await self.answer("ResolveLink", request, context, self._resolve)

    def _create(self, request: pb.CreateLinkRequest) -> pb.Link:
        problems = []
        if not request.url.startswith(("http://", "https://")):
            problems.append(errors.FieldViolation("url", "must be absolute"))
        if request.alias and not re.fullmatch(r"[\w-]{3,64}", request.alias):
            problems.append(errors.FieldViolation("alias", "must be 3 to 64 of A-Z a-z 0-9 _ -"))
        if request.HasField("ttl_seconds") and request.ttl_seconds < 1:
            problems.append(errors.FieldViolation("ttl_seconds", "must be 1 to 315360000 (ten years)"))
        if problems:
            raise InvalidFields(problems)
        code = request.alias or f"random{len(self.links)}"
        if code in self.links:
            raise errors.AliasTaken(code)
        link = pb.Link(
            short_code=code,
            short_url=f"{PUBLIC_URL}/{code}",
            original_url=request.url,
            state=pb.LINK_STATE_ACTIVE,
            redirect_status=request.redirect_status or 302,
            etag="v1",
            title=request.title,
            tags=request.tags,
            max_clicks=request.max_clicks,
            forward_query=request.forward_query,
        )
        link.created_at.FromDatetime(NOW + timedelta(seconds=len(self.links)))
        link.updated_at.CopyFrom(link.created_at)
        _end(link, request)
        self.links[code] = link
        return link

    def _batch(self, request: pb.BatchCreateLinksRequest) -> pb.BatchCreateLinksResponse:
        if not 1 <= len(request.requests) <= 1000:
            raise InvalidFields.one("requests", "must be 1 to 1,000")
        answer = pb.BatchCreateLinksResponse()
        for one in request.requests:
            try:
                answer.results.add(link=self._create(one))
            except WaypostError as error:
                answer.results.add(error=to_status(error, "test").to_proto())
        return answer

    def _found(self, code: str, etag: str = "") -> pb.Link:
        link = self.links.get(code)
        if link is None:
            raise errors.LinkNotFound(code)
        if etag and etag != link.etag:
            raise errors.EtagMismatch(code, link.etag)
        return link

    def _list(self, request: pb.ListLinksRequest) -> pb.ListLinksResponse:
        conditions = _conditions(request.filter)
        if request.order_by not in ("", "created_at desc", "created_at", "short_code"):
            raise InvalidFields.one("order_by", "is one of created_at desc, created_at or short_code")
        found = [link for link in self.links.values() if _matches(link, conditions)]
        if request.order_by == "short_code":
            found.sort(key=lambda link: link.short_code)
        elif request.order_by != "created_at":
            found.reverse()
        arguments = f"{request.filter}|{request.order_by}"
        offset, _, before = request.page_token.partition("|") if request.page_token else ("0", "", arguments)
        if before != arguments:
            raise InvalidFields.one("page_token", "came with another filter or order")
        start, size = int(offset), min(request.page_size, 500) or 50
        more = f"{start + size}|{arguments}" if start + size < len(found) else ""
        return pb.ListLinksResponse(links=found[start : start + size], next_page_token=more)

    def _update(self, request: pb.UpdateLinkRequest) -> pb.Link:
        link = self._found(request.short_code, request.etag)
        if link.state == pb.LINK_STATE_DELETED:
            raise errors.LinkGone(request.short_code, expired=False)
        paths = set(request.update_mask.paths)
        if "url" in paths:
            link.original_url = request.url
        if "tags" in paths:
            del link.tags[:]
            link.tags.extend(request.tags)
        for name in paths & {"title", "max_clicks", "redirect_status", "forward_query"}:
            setattr(link, name, getattr(request, name))
        link.redirect_status = link.redirect_status or 302
        if paths & {"expires_at", "ttl_seconds"}:
            _end(link, request)
        return _changed(link)

    def _delete(self, request: pb.DeleteLinkRequest) -> pb.Link:
        link = self._found(request.short_code, request.etag)
        if link.state != pb.LINK_STATE_DELETED:
            link.state = pb.LINK_STATE_DELETED
            _changed(link)
        return link

    def _undelete(self, request: pb.UndeleteLinkRequest) -> pb.Link:
        link = self._found(request.short_code, request.etag)
        if link.state == pb.LINK_STATE_DELETED:
            link.state = pb.LINK_STATE_ACTIVE
            _changed(link)
        return link

    def _resolve(self, request: pb.ResolveLinkRequest) -> pb.ResolveLinkResponse:
        link = self.links.get(request.short_code)
        answer = pb.ResolveLinkResponse(short_code=request.short_code, http_status=404)
        if link is not None:
            answer.state = link.state
            answer.http_status = link.redirect_status if link.state == pb.LINK_STATE_ACTIVE else 410
            answer.location = link.original_url if link.state == pb.LINK_STATE_ACTIVE else ""
            if link.HasField("expires_at"):
                answer.valid_for.FromTimedelta(link.expires_at.ToDatetime(UTC) - NOW)
        return answer


def _end(link: pb.Link, request: pb.CreateLinkRequest | pb.UpdateLinkRequest) -> None:
    link.ClearField("expires_at")
    if request.HasField("expires_at"):
        link.expires_at.CopyFrom(request.expires_at)
    elif request.HasField("ttl_seconds"):
        link.expires_at.FromDatetime(NOW + timedelta(seconds=request.ttl_seconds))


def _changed(link: pb.Link) -> pb.Link:
    link.etag = f"v{int(link.etag[1:]) + 1}"
    return link


def _conditions(text: str) -> list[tuple[str, str, str]]:
    """Field, operator and value of each condition; every value must be in quotes, as our own tools write them."""
    found, place = [], 0
    while place < len(text):
        match = _CONDITION.match(text, place)
        if match is None:
            raise InvalidFields.one("filter", f"at position {place + 1}: no condition")
        found.append((match[1], match[2], _ESCAPE.sub(r"\1", match[3])))
        place = match.end()
    return found


def _matches(link: pb.Link, conditions: list[tuple[str, str, str]]) -> bool:
    state = pb.LinkState.Name(link.state).removeprefix("LINK_STATE_").lower()
    if not any(field == "state" for field, _, _ in conditions) and state == "deleted":
        return False
    for field, operator, value in conditions:
        match field, operator:
            case "state", "=":
                fits = state == value
            case "tag", "=":
                fits = value in link.tags
            case "text", ":":
                fits = all(word in f"{link.title} {link.original_url}".lower() for word in value.lower().split())
            case "created_at", ">=":
                fits = link.created_at.ToDatetime(UTC) >= datetime.fromisoformat(value)
            case "created_at", "<":
                fits = link.created_at.ToDatetime(UTC) < datetime.fromisoformat(value)
            case _:
                raise InvalidFields.one("filter", f"no field {field!r}")
        if not fits:
            return False
    return True


@asynccontextmanager
async def serving(
    servicer: LinkServer | AccountServer | LimitServer, port: int = 0, *, tls: tuple[bytes, bytes] | None = None
) -> AsyncIterator[int]:
    """Serves it on a port of this machine for the time of the block; `tls`: key and certificate."""
    async with serving_all([servicer], port, tls=tls) as bound:
        yield bound


@asynccontextmanager
async def serving_all(
    servicers: Sequence[LinkServer | AccountServer | LimitServer],
    port: int = 0,
    *,
    tls: tuple[bytes, bytes] | None = None,
) -> AsyncIterator[int]:
    """Serves them on one port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 8 * 1024 * 1024)])
    for servicer in servicers:
        if isinstance(servicer, LinkServer):
            link_service_pb2_grpc.add_LinkServiceServicer_to_server(servicer, server)
        else:
            servicer.add_to(server)
    if tls is None:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        bound = server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([tls]))
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


async def _main() -> None:
    async with serving_all([LinkServer(), AccountServer(), LimitServer()]) as port:
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
