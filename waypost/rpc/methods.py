"""The methods of any set of servicers, and the innermost handler of the chain, which calls them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError

from waypost.errors import InvalidFields, MalformedRequest, RequestTooLarge, UnknownMethod
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


class UnaryOnly:
    """Middleware that tells who asks for a stream, by its full name, on a port for unary calls where it is served."""

    def __init__(self, streams: Iterable[str]) -> None:
        self._streams = frozenset(streams)

    async def __call__(self, context: CallContext, request: bytes, call_next: chain.Handler) -> bytes:
        """Runs the call; raises `UnknownMethod` if it is a stream."""
        if context.method in self._streams:
            raise UnknownMethod(context.method, stream=True)
        return await call_next(context, request)


class _NoMessage(bytes):
    """See `NO_MESSAGE`."""


NO_MESSAGE = _NoMessage()
"""The request of a call whose caller sent no message, or not in time."""


@dataclass(frozen=True, slots=True)
class MessageCap:
    """What a method takes: `size` bytes, and `items` of its field number 1, a list of messages named `field`; 0: any.

    An empty item is two bytes that become hundreds when they are parsed, so items are counted before.
    """

    size: int
    items: int = 0
    field: str = ""


@dataclass(frozen=True, slots=True)
class MessageCaps:
    """The bounds of each method's request: `others` bytes, unless the method's full name is in `own`."""

    others: int
    own: Mapping[str, MessageCap] = field(default_factory=dict)

    @property
    def largest(self) -> int:
        """What a transport must let through."""
        return max(self.others, *(cap.size for cap in self.own.values()), 0)

    def check(self, method: str, request: bytes) -> None:
        """Raises `RequestTooLarge` if the request is larger than its method takes, by its full name."""
        cap = self.own.get(method)
        size = self.others if cap is None else cap.size
        if len(request) > size:
            raise RequestTooLarge(len(request), size)
        if cap is not None and cap.items and has_more_items(request, cap.items):
            raise InvalidFields.one(cap.field, f"has more than {cap.items:,} items: give fewer at once")


def has_more_items(message: bytes, most: int) -> bool:
    """Whether a serialised message has field number 1, as bytes, more than `most` times; False for what is no message.

    Source: https://protobuf.dev/programming-guides/encoding/. Looks at as many fields as that takes, and not into them.
    """
    place = count = 0
    try:
        while place < len(message):
            tag, place = _varint(message, place)
            kind = tag & 7
            if kind == 2:
                length, place = _varint(message, place)
                place += length
                count += tag >> 3 == 1
                if count > most:
                    return True
            elif kind == 0:
                _, place = _varint(message, place)
            elif kind in (1, 5):
                place += 8 if kind == 1 else 4
            else:
                # Groups: no message of ours has any, and the parser knows what to say of them.
                return False
    except IndexError:
        pass  # cut off: also for the parser to say
    return False


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number that begins here, and where it ends. Raises `IndexError`."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


Shortcut = Callable[[CallContext, bytes], Awaitable[bytes] | None]
"""Answers a method's ordinary requests without a servicer, which gets those that it returns None for."""


def endpoint(
    table: MethodTable, caps: MessageCaps | None = None, shortcuts: Mapping[str, Shortcut] = MappingProxyType({})
) -> chain.Handler:
    """The innermost handler of the chain: measures (without `caps` nothing is too large), parses, calls, serialises.

    `shortcuts`, by a method's full name, are asked before it is parsed.
    """

    async def call(context: CallContext, request: bytes) -> bytes:
        method = table.unary.get(context.method)
        if method is None:
            raise UnknownMethod(context.method)
        if request is NO_MESSAGE:
            raise MalformedRequest(context.method)
        if caps is not None:
            caps.check(context.method, request)
        shortcut = shortcuts.get(context.method)
        if shortcut is not None:
            answer = shortcut(context, request)
            if answer is not None:
                return await answer
        try:
            message = method.parse(request)
        except DecodeError:
            raise MalformedRequest(context.method) from None
        return method.serialize(await method.call(message, context))

    return call
