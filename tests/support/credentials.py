"""Clients that say who they are: headers for HTTP, and channels that send a key with every call over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from waypost.access.api_keys import parse_key
from waypost.access.authentication import KEY_HEADER


def headers_of(key: str) -> dict[str, str]:
    """What goes with a call; nothing without a key."""
    return {KEY_HEADER: key} if key else {}


def principal_of(key: str) -> str:
    """What the services call the holder of a key."""
    parsed = parse_key(key)
    assert parsed is not None
    return f"key:{parsed.key_id}"


def with_key(channel: grpc.Channel, key: str) -> grpc.Channel:
    """A channel whose unary calls send the key, but for those that bring a key or a token of their own."""
    return grpc.intercept_channel(channel, _WithKey(key))


def aio_with_key(key: str) -> list[grpc.aio.ClientInterceptor]:
    """The `interceptors` of an asyncio channel that does the same."""
    return [_AioWithKey(key)]


class _Details(NamedTuple):
    """What grpc's own `ClientCallDetails` is, for both of its kinds of channels."""

    method: Any
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any = None


def _keyed(details: Any, key: str) -> _Details:
    metadata = list(details.metadata or ())
    if not any(name in (KEY_HEADER, "authorization") for name, _ in metadata):
        metadata.append((KEY_HEADER, key))
    return _Details(
        details.method,
        details.timeout,
        grpc.aio.Metadata(*metadata),
        details.credentials,
        details.wait_for_ready,
        getattr(details, "compression", None),
    )


class _WithKey(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, key: str) -> None:
        self._key = key

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        keyed = _keyed(client_call_details, self._key)
        return continuation(keyed._replace(metadata=tuple(keyed.metadata)), request)


class _AioWithKey(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, key: str) -> None:
        self._key = key

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        return await continuation(_keyed(client_call_details, self._key), request)
