"""What the services of a client have in common: their way to the server, and lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from waypost.client.connection import Connection

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable

T = TypeVar("T")
Stub = TypeVar("Stub")
Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Service(Generic[Stub]):
    """A service of the contract at the other end of a connection."""

    def __init__(self, connection: Connection, stubs: Callable[[grpc.aio.Channel], Stub]) -> None:
        self._connection = connection
        self._stubs = stubs

    async def _call(
        self,
        method: Callable[[Stub], UnaryUnaryMultiCallable[Request, Answer]],
        request: Request,
        timeout: float | None,
    ) -> Answer:
        """Calls the method that `method` picks from the service's stub."""
        return await self._connection.call(self._stubs, method, request, timeout)


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """Some of what was asked for, in order; `next_page_token` is empty on the last page only."""

    items: tuple[T, ...]
    next_page_token: str


async def each(page_after: Callable[[str], Awaitable[Listed[T]]]) -> AsyncIterator[T]:
    """Whatever is on the pages; `page_after` is asked for the first with an empty token, then for one after another."""
    token = ""
    while True:
        page = await page_after(token)
        for item in page.items:
            yield item
        token = page.next_page_token
        if not token:
            return
