"""Where a server is, and channels to it that try again by themselves."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc

from waypost.client.trust import system_authorities

MAX_REQUEST = 3 * 1024 * 1024
"""Bytes that a request may have: the contract's bound of a batch. What is larger could not be tried again either."""

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes that an answer may have: a batch of 1,000 links, each as long as a link can be."""

MAX_ATTEMPTS = 4

REPEATABLE = {
    # Each change carries a `request_id`.
    "LinkService": [],
    "WorkspaceService": ["ListWorkspaces", "GetWorkspace", "UpdateWorkspace", "GetCaller"],
    "MemberService": ["ListMembers", "UpdateMember"],
    "KeyService": ["ListKeys", "GetKey", "RevokeKey"],
    "AuditService": [],
    "AbuseService": ["ListReports", "CloseReport", "BlockLink", "UnblockLink", "ListBlockedLinks"],
    "RateLimitService": ["Explain", "ListRules"],
    "LimitOverrideService": ["SetOverride", "ListOverrides"],
}
"""Methods that are tried again, by service (none named: all of them): those that do once what they are asked twice."""

# UNAVAILABLE alone says that another attempt may fare better soon. The budget is 20 % of the calls, at least 100 (half
# of the tokens): an outage is not to be met with four times the load.
SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": f"waypost.api.v1.{service}", **({"method": method} if method else {})}
                    for service, methods in REPEATABLE.items()
                    for method in methods or [""]
                ],
                "retryPolicy": {
                    "maxAttempts": MAX_ATTEMPTS,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.2},
    }
)

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Server:
    """Where a Waypost takes gRPC: `host:port`, and whether it expects TLS."""

    address: str
    tls: bool = False
    name: str = ""
    """The name that its certificate must be for; empty: the host of the address."""
    trust: bytes | None = field(default=None, repr=False)
    """The authorities (PEM) that vouch for the certificate; None: those that this machine trusts."""

    @property
    def url(self) -> str:
        """Its address as `parse` reads it."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine's own loopback, from where nothing gets out."""
        host = self.address.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @classmethod
    def parse(cls, text: str) -> Server:
        """Reads `host:port`, `http://host[:port]` or `https://host[:port]`. Raises `ValueError` for anything else."""
        scheme, separator, rest = text.rpartition("://")
        default = _DEFAULT_PORTS.get(scheme.lower()) if separator else None
        known = default is not None or not separator
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port or default
        except ValueError:
            host = port = None
        # A path, a query or a user name would be lost in silence.
        if not known or not host or not port or "@" in rest or parts.netloc != rest.removesuffix("/"):
            raise ValueError(f"must be host:port, http://host:port or https://host, not {text!r}")
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls=scheme.lower() == "https")


def open_channel(server: Server) -> grpc.aio.Channel:
    """A channel with a connection of its own, made at the first call and again whenever it is lost."""
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", SERVICE_CONFIG),
        # Nobody else's DNS records are to change how calls are tried again.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.per_rpc_retry_buffer_size", MAX_REQUEST + 64 * 1024),
        ("grpc.max_receive_message_length", MAX_ANSWER),
        # So that an attempt after a short outage finds a connection that is tried anew.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    # `http_proxy` is for the way out, and no proxy can reach this machine's own loopback.
    if server.loopback:
        options.append(("grpc.enable_http_proxy", 0))
    if server.tls:
        if server.name:
            options.append(("grpc.ssl_target_name_override", server.name))
        trust = server.trust if server.trust is not None else system_authorities()
        return grpc.aio.secure_channel(server.address, grpc.ssl_channel_credentials(trust), options)
    return grpc.aio.insecure_channel(server.address, options)
