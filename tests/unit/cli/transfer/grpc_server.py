"""The server in memory behind real gRPC, for programs of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from tests.e2e.shell import PROGRAMS
from tests.support.process import environment
from tests.unit.cli.transfer.server import MemoryServer
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceServicer, add_LinkServiceServicer_to_server
from waypost.client import Link, LinkState, NewLink
from waypost.errors import InvalidFields, WaypostError
from waypost.rpc.status import DETAILS_KEY, to_status

_STATES: dict[LinkState, Any] = {
    state: getattr(pb, f"LINK_STATE_{state.name}") for state in LinkState if state is not LinkState.UNKNOWN
}


class _Links(LinkServiceServicer):
    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self.fail_after: int | None = None

    async def BatchCreateLinks(self, request: pb.BatchCreateLinksRequest, context: Any) -> pb.BatchCreateLinksResponse:
        try:
            outcomes = await self._server.batch_create(map(_new, request.requests), request_id=request.request_id)
        except WaypostError as error:
            raise await _abort(context, error) from None
        return pb.BatchCreateLinksResponse(
            results=[
                pb.BatchCreateLinkResult(link=_proto(one))
                if isinstance(one, Link)
                else pb.BatchCreateLinkResult(error=to_status(one, "").to_proto())
                for one in outcomes
            ]
        )

    async def GetLink(self, request: pb.GetLinkRequest, context: Any) -> pb.Link:
        try:
            return _proto(await self._server.get(request.short_code))
        except WaypostError as error:
            raise await _abort(context, error) from None

    async def ListLinks(self, request: pb.ListLinksRequest, context: Any) -> pb.ListLinksResponse:
        if request.filter not in ("", "state = deleted"):
            raise await _abort(context, InvalidFields.one("filter", f"has {request.filter!r}: give a condition"))
        wanted = [
            link for link in self._server.links.values() if (link.state is LinkState.DELETED) is bool(request.filter)
        ]
        start = int(request.page_token or 0)
        if self.fail_after is not None and start >= self.fail_after:
            await context.abort(grpc.StatusCode.INTERNAL, "a defect")
        end = start + request.page_size
        return pb.ListLinksResponse(
            links=map(_proto, wanted[start:end]), next_page_token=str(end) if end < len(wanted) else ""
        )


class Serving:
    """A server that answers at `address`."""

    def __init__(self, address: str, links: _Links) -> None:
        self.address = address
        self._links = links

    def fail_pages_after(self, links: int) -> None:
        """Lets lists break off after so many links."""
        self._links.fail_after = links


@contextlib.asynccontextmanager
async def serving(server: MemoryServer) -> AsyncIterator[Serving]:
    """Lets the server answer over gRPC on a free port."""
    grpc_server = grpc.aio.server()
    links = _Links(server)  # type: ignore[abstract]  # what a transfer does not call
    add_LinkServiceServicer_to_server(links, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    try:
        yield Serving(f"127.0.0.1:{port}", links)
    finally:
        server.gate.set()
        await grpc_server.stop(None)


async def start(serving: Serving | None, *arguments: str | Path, cwd: Path) -> asyncio.subprocess.Process:
    """Starts `waypost links …` in a process of its own."""
    where = ["--server", serving.address] if serving else []
    return await asyncio.create_subprocess_exec(
        PROGRAMS / "waypost",
        "links",
        *map(str, arguments),
        *where,
        cwd=cwd,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """Waits for its end: exit code, output, errors."""
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def run(serving: Serving | None, *arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Runs `waypost links …` to its end."""
    return await ended(await start(serving, *arguments, cwd=cwd))


async def _abort(context: Any, error: WaypostError) -> Exception:
    status = to_status(error, "")
    await context.abort(status.code, status.message, ((DETAILS_KEY, status.to_proto().SerializeToString()),))
    return AssertionError("abort does not return")


def _new(request: pb.CreateLinkRequest) -> NewLink:
    return NewLink(
        url=request.url,
        alias=request.alias,
        title=request.title,
        tags=tuple(request.tags),
        expires_at=request.expires_at.ToDatetime(UTC) if request.HasField("expires_at") else None,
        max_clicks=request.max_clicks,
        redirect_status=request.redirect_status,
        forward_query=request.forward_query,
    )


def _proto(link: Link) -> pb.Link:
    found = pb.Link(
        short_code=link.short_code,
        short_url=link.short_url,
        original_url=link.original_url,
        title=link.title,
        tags=link.tags,
        state=_STATES[link.state],
        max_clicks=link.max_clicks,
        clicks_used=link.clicks_used,
        redirect_status=link.redirect_status,
        forward_query=link.forward_query,
        etag=link.etag,
    )
    times: dict[str, datetime | None] = {
        "created_at": link.created_at,
        "updated_at": link.updated_at,
        "expires_at": link.expires_at,
    }
    for name, at in times.items():
        if at is not None:
            getattr(found, name).FromDatetime(at)
    return found
