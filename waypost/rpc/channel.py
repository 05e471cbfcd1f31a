"""A channel to another service: deadlines, correlation id, trace and keepalive as the house has them."""

from __future__ import annotations

import json

import grpc

from waypost.rpc import tracing
from waypost.rpc.context import CURRENT

# The largest answers are those to batches: up to 3 MiB of URLs, and for each of 1,000 links some hundred bytes or an
# error of 3 KiB. gRPC's own bound is 4 MiB.
MAX_ANSWER_BYTES = 16_777_216

_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [{"name": [{}], "waitForReady": False}],
        "healthCheckConfig": {"serviceName": ""},
        "loadBalancingConfig": [{"round_robin": {}}],
    }
)


def channel(address: str) -> grpc.aio.Channel:
    """A plaintext channel to `host:port`; connects by itself and reconnects within a second of the peer's return.

    Calls on it fail at once while the peer is away (no wait-for-ready), so that callers can fall back.
    So they do while a peer says that it does not serve, which is watched on control ports; hot ports cannot be watched,
    and ask their clients to go when they drain.
    """
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            # Services reach each other directly; a proxy in the environment is for the way out.
            ("grpc.enable_http_proxy", 0),
        ],
        interceptors=tracing.interceptors(),
    )


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """What a call made on behalf of the running call carries on: its correlation id."""
    context = CURRENT.get(None)
    return (("x-correlation-id", context.correlation_id),) if context is not None else ()
