"""The methods of any set of servicers, and the innermost handler of the chain, which calls them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from waypost.errors import MalformedRequest, RequestTooLarge, UnknownMethod
from waypost.rpc import chain
from waypost.rpc.context import CallContext


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method of a servicer: bytes in, bytes out."""

    name: str
    parse: Callable[[bytes], Any]
    call: Callable[[Any, CallContext], Awaitable[Any]]
    serialize: Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class MethodTable:
    """All methods of a set of servicers: unary ones for our chain, streaming ones as grpcio has them."""

    services: tuple[str, ...]
    unary: Mapping[str, Method]
    streaming: Mapping[str, Any]


class _Collector:
    """Stands in for a server while the generated `add_…_to_server` registers methods."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Older way of the same registration; the one below has all of it."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers[service] = handlers


def method_table(servicers: Sequence[object]) -> MethodTable:
    """Reads the methods off servicer objects by the base class that protoc made for each.

    A method that a servicer leaves to its base class is not served.
    """
    collector = _Collector()
    bases: dict[str, type] = {}
    for servicer in servicers:
        for base in type(servicer).__mro__:
            add = getattr(sys.modules[base.__module__], f"add_{base.__name__}_to_server", None)
            if add is not None:
                add(servicer, collector)
                bases |= dict.fromkeys(collector.handlers.keys() - bases.keys(), base)
                break
        else:
            raise TypeError(f"{type(servicer).__name__} has no generated servicer as a base class")
    unary, streaming = {}, {}
    for service, handlers in collector.handlers.items():
        for name, handler in handlers.items():
            full = f"/{service}/{name}"
            behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
            if getattr(behavior, "__func__", None) is getattr(bases[service], name, behavior):
                continue
            if handler.request_streaming or handler.response_streaming:
                streaming[full] = handler
            else:
                unary[full] = Method(
                    full, handler.request_deserializer, handler.unary_unary, handler.response_serializer
                )
    return MethodTable(tuple(collector.handlers), unary, streaming)


class _NoMessage(bytes):
    """See `NO_MESSAGE`."""


NO_MESSAGE = _NoMessage()
"""The request of a call whose caller sent no message, or not in time."""


@dataclass(frozen=True, slots=True)
class MessageCaps:
    """The largest request message of each method, in bytes: `others`, unless the method's full name is in `own`."""

    others: int
    own: Mapping[str, int] = field(default_factory=dict)

    @property
    def largest(self) -> int:
        """What a transport must let through."""
        return max(self.others, *self.own.values(), 0)

    def of(self, method: str) -> int:
        """The cap of a method by its full name, `/package.Service/Method`."""
        return self.own.get(method, self.others)


def endpoint(table: MethodTable, caps: MessageCaps | None = None) -> chain.Handler:
    """The innermost handler of the chain: measures (without `caps` nothing is too large), parses, calls, serialises."""

    async def call(context: CallContext, request: bytes) -> bytes:
        method = table.unary.get(context.method)
        if method is None:
            raise UnknownMethod(context.method)
        if request is NO_MESSAGE:
            raise MalformedRequest(context.method)
        if caps is not None and len(request) > (most := caps.of(context.method)):
            raise RequestTooLarge(len(request), most)
        try:
            message = method.parse(request)
        except DecodeError:
            raise MalformedRequest(context.method) from None
        return method.serialize(await method.call(message, context))

    return call
