"""What a servicer and the middleware know of one unary call, whichever port it came in by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import NoReturn

import grpc

from waypost.access.identity import ANONYMOUS, Identity
from waypost.rpc.status import RpcError, RpcStatus

Metadata = Sequence[tuple[str, str | bytes]]

EDGE_TIMEOUT = "x-envoy-expected-rq-timeout-ms"
"""How long Envoy will wait: JSON calls bring no `grpc-timeout`."""


_NOBODY = Identity(ANONYMOUS)


class CallContext:
    """The part of `grpc.aio.ServicerContext` that unary code uses, and what our chain adds to it.

    method          full name, `/package.Service/Method`
    deadline        event-loop time at which the call's time is up; set by the chain
    timeout         the seconds it had at its start; set by the chain
    correlation_id  set by the chain
    identity        who calls; set by the chain, nobody before
    """

    __slots__ = (
        "_initial",
        "_metadata",
        "_peer",
        "_trailing",
        "client_timeout",
        "correlation_id",
        "deadline",
        "headers",
        "identity",
        "method",
        "timeout",
    )

    def __init__(self, method: str, metadata: Metadata, peer: str, client_timeout: float | None) -> None:
        self.method = method
        self._metadata = metadata
        self._peer = peer
        self._initial: list[tuple[str, str | bytes]] = []
        self._trailing: list[tuple[str, str | bytes]] = []
        # First value wins: what Envoy appends to a list comes in one value.
        headers: dict[str, str] = {}
        for key, value in metadata:
            if isinstance(value, str):
                headers.setdefault(key, value)
        self.headers = headers
        self.client_timeout = client_timeout
        self.correlation_id = ""
        self.identity = _NOBODY
        self.deadline = 0.0
        self.timeout = 0.0

    def invocation_metadata(self) -> Metadata:
        """The call's metadata as received."""
        return self._metadata

    def peer(self) -> str:
        """Who is connected, as gRPC writes it: `ipv4:127.0.0.1:40312`, `ipv6:%5B::1%5D:40312`, `unix:`."""
        return self._peer

    def time_remaining(self) -> float:
        """Seconds until the call's deadline; never below 0."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def add_initial_metadata(self, metadata: Metadata) -> None:
        """Adds to the metadata that is sent before the answer, if there is one: what the edge makes headers of."""
        self._initial.extend(metadata)

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Adds to the metadata that is sent with the status."""
        self._trailing.extend(metadata)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call with a status. For servicers that others wrote (health): ours raise `WaypostError`s."""
        self.set_trailing_metadata(trailing_metadata)
        raise RpcError(RpcStatus(code, details, ()))

    def initial_metadata(self) -> list[tuple[str, str | bytes]]:
        """What `add_initial_metadata` collected."""
        return self._initial

    def trailing_metadata(self) -> list[tuple[str, str | bytes]]:
        """What `set_trailing_metadata` collected."""
        return self._trailing


CURRENT: ContextVar[CallContext] = ContextVar("waypost_call")
"""The call that the running task works for; absent outside of calls."""
