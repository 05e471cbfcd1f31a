"""Calls: made on channels in turn, within their time, with credentials, and ending in errors of ours."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from waypost.client.channel import Server, open_channel
from waypost.client.credentials import Credentials
from waypost.client.errors import ClientClosed, from_rpc
from waypost.errors import IdempotencyKeyInUse

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable

MAX_TIMEOUT = 86_400
"""Seconds that a call may be given."""

Stub = TypeVar("Stub")
Request = TypeVar("Request")
Answer = TypeVar("Answer")


class _Lane:
    """A channel with the stubs that were made on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._stubs: dict[Callable[..., Any], Any] = {}

    def stub(self, make: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        if make not in self._stubs:
            self._stubs[make] = make(self.channel)
        stub: Stub = self._stubs[make]
        return stub


class Connection:
    """`size` channels to a server, opened and closed together; calls take them in turn."""

    def __init__(self, server: Server, credentials: Credentials, *, size: int, timeout: float) -> None:
        if size < 1:
            raise ValueError(f"channels must be at least 1, not {size}")
        self.server = server
        self._credentials = credentials
        self._size = size
        self._timeout = _seconds(timeout)
        self._lanes: list[_Lane] = []
        self._next: Iterator[_Lane] | None = None

    def open(self) -> None:
        """Makes the channels; they connect when they are first used."""
        if self._lanes:
            raise RuntimeError("the client is open already")
        self._lanes = [_Lane(open_channel(self.server)) for _ in range(self._size)]
        self._next = itertools.cycle(self._lanes)

    async def close(self) -> None:
        """Ends all connections; calls under way fail with `ClientClosed`."""
        lanes, self._lanes, self._next = self._lanes, [], None
        for lane in lanes:
            await lane.channel.close()

    async def call(
        self,
        stubs: Callable[[grpc.aio.Channel], Stub],
        method: Callable[[Stub], UnaryUnaryMultiCallable[Request, Answer]],
        request: Request,
        timeout: float | None,
    ) -> Answer:
        """Makes a call within its time and turns whatever it ends with into one of our errors."""
        seconds = self._timeout if timeout is None else _seconds(timeout)
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while True:
            try:
                # Not 0: that would be no limit at all.
                return await self._attempt(stubs, method, request, max(ends - clock(), 0.001), seconds)
            except IdempotencyKeyInUse as error:
                # An attempt of ours was cut off, yet goes on at the server: its answer is the one to wait for.
                pause = max(error.retry_after, 0.05)
                if clock() + pause >= ends:
                    raise
                await asyncio.sleep(pause)

    async def _attempt(
        self,
        stubs: Callable[[grpc.aio.Channel], Stub],
        method: Callable[[Stub], UnaryUnaryMultiCallable[Request, Answer]],
        request: Request,
        left: float,
        timeout: float,
    ) -> Answer:
        if self._next is None:
            raise ClientClosed
        lanes = self._next
        metadata = self._credentials.metadata()
        try:
            return await method(next(lanes).stub(stubs))(request, timeout=left, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.server.address, timeout) from error
        except grpc.aio.UsageError:
            raise ClientClosed from None
        except asyncio.CancelledError:
            # Closing a channel cancels its calls; that must not look as if somebody had cancelled the caller.
            task = asyncio.current_task()
            if self._next is lanes or (task is not None and task.cancelling()):
                raise
            raise ClientClosed from None


def _seconds(timeout: float) -> float:
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout must be above 0 and at most {MAX_TIMEOUT:,} seconds, not {timeout}")
    return timeout
