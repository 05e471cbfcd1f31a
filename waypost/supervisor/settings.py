"""What `waypost up` can be told: where the processes of one machine listen and where they keep their data."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

import native
from waypost.access.settings import JwtSettings
from waypost.rpc.hot_settings import HotHost, HotPortSettings
from waypost.rpc.ports import address
from waypost.settings import DatabaseUrl, PublicUrl, setting

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - named to be told apart, not to listen on
"""Addresses that mean "all of them", with the one under which this machine reaches itself."""

HOT_SERVICES = ("gateway", "ratelimiter")
"""Those with a hot port."""

HTTPS_PORT = 443
"""What an address by HTTPS need not say."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One port that a process of the mesh listens on, and the setting that moves it."""

    setting: str
    host: str
    port: int


Upstream = tuple[str, int] | Path
"""Where a service takes calls: host (a name or an IP address, without brackets) and port, or its unix socket."""


def _number(env: str, default: float, description: str, *, ge: float, le: float) -> Any:
    return Field(default, ge=ge, le=le, alias=env, description=description)


def _port(env: str, default: int, description: str) -> Any:
    return _number(env, default, description, ge=1, le=65535)


def _as_services(field: str) -> Any:
    """A setting of the services' that the supervisor reads too: same name, default and sentence."""
    info = HotPortSettings.model_fields[field]
    return setting(str(info.alias), info.default, info.description or "")


class SupervisorSettings(JwtSettings):
    """The settings of `waypost up`; what only a service can be told stands in that service's own class."""

    host: str = setting("WAYPOST_HOST", "127.0.0.1", "Address on which the services listen.")
    http_host: str = setting(
        "WAYPOST_HTTP_HOST", "127.0.0.1", "Address on which Envoy takes HTTP in `waypost up`; 0.0.0.0 for all."
    )
    http_port: int = _port("WAYPOST_HTTP_PORT", 8080, "Port of the public HTTP listener (Envoy).")
    https_port: int = _port(
        "WAYPOST_HTTPS_PORT", 8443, "Port of the public HTTPS listener (Envoy), if WAYPOST_TLS_CERT is set."
    )
    tls_cert: str = setting(
        "WAYPOST_TLS_CERT",
        "",
        "PEM file of the certificate to serve HTTPS with, its chain after it; a new one is taken up without a restart. "
        "Set, WAYPOST_HTTP_PORT only redirects to HTTPS. Empty: HTTP alone.",
    )
    tls_key: str = setting("WAYPOST_TLS_KEY", "", "PEM file of the private key of WAYPOST_TLS_CERT, not encrypted.")
    hsts_seconds: int = _number(
        "WAYPOST_HSTS_SECONDS",
        31_536_000,
        "How long browsers are told to come by HTTPS alone (strict-transport-security), in seconds; 0: they are not.",
        ge=0,
        le=315_360_000,
    )
    envoy_admin_port: int = _port("WAYPOST_ENVOY_ADMIN_PORT", 9901, "Port of Envoy's admin pages, on loopback only.")
    gateway_control_port: int = _port("WAYPOST_GATEWAY_CONTROL_PORT", 50051, "gRPC port of the gateway.")
    ratelimiter_control_port: int = _port("WAYPOST_RATELIMITER_CONTROL_PORT", 50052, "gRPC port of the rate limiter.")
    workers_control_port: int = _port("WAYPOST_WORKERS_CONTROL_PORT", 50053, "gRPC port of the workers.")
    hot_ports: bool = _as_services("hot_ports")
    hot_host: HotHost = _as_services("hot_host")
    gateway_hot_port: int = _port(
        "WAYPOST_GATEWAY_HOT_PORT", 50061, "Hot port of the gateway: unary gRPC calls, compiled to the socket."
    )
    ratelimiter_hot_port: int = _port(
        "WAYPOST_RATELIMITER_HOT_PORT", 50062, "Hot port of the rate limiter: unary gRPC calls, compiled to the socket."
    )
    gateway_web_port: int = _port("WAYPOST_GATEWAY_WEB_PORT", 50071, "Port of the gateway's redirects and pages.")
    gateway_metrics_port: int = _port("WAYPOST_GATEWAY_METRICS_PORT", 9101, "Port of the gateway's metrics and health.")
    ratelimiter_metrics_port: int = _port(
        "WAYPOST_RATELIMITER_METRICS_PORT", 9102, "Port of the rate limiter's metrics and health."
    )
    workers_metrics_port: int = _port("WAYPOST_WORKERS_METRICS_PORT", 9103, "Port of the workers' metrics and health.")
    data_dir: str = setting(
        "WAYPOST_DATA_DIR",
        "",
        "Folder of everything that is kept. Empty: /var/lib/waypost for root, else $XDG_DATA_HOME/waypost or "
        "~/.local/share/waypost.",
    )
    public_url: PublicUrl = setting(
        "WAYPOST_PUBLIC_URL", "", "Address under which people reach short links. Empty: Envoy's own HTTP address."
    )
    database_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_URL", SecretStr(""), "PostgreSQL to use. Empty: an embedded one in the data directory."
    )
    postgres_bin: str = setting(
        "WAYPOST_POSTGRES_BIN", "", "Folder of the programs of another PostgreSQL 15+ to embed. Empty: the bundled one."
    )
    postgres_user: str = setting(
        "WAYPOST_POSTGRES_USER",
        "waypost",
        "Operating system user of the embedded PostgreSQL when Waypost runs as root.",
    )
    trusted_hops: int = Field(
        0,
        ge=0,
        le=10,
        alias="WAYPOST_TRUSTED_HOPS",
        description="Proxies in front of Envoy whose x-forwarded-for is believed; 0: Envoy faces the callers itself.",
    )
    envoy_concurrency: int = _number("WAYPOST_ENVOY_CONCURRENCY", 1, "Worker threads of Envoy.", ge=1, le=1024)
    envoy_ratelimiter_timeout_ms: int = _number(
        "WAYPOST_ENVOY_RATELIMITER_TIMEOUT_MS",
        20,
        "Longest wait of Envoy for the ratelimiter before a call goes on without its answer, in milliseconds.",
        ge=1,
        le=5000,
    )
    drain_seconds: float = _number(
        "WAYPOST_DRAIN_SECONDS",
        10.0,
        "Most time that calls in flight get to finish when a process is told to stop, in seconds.",
        ge=0,
        le=300,
    )
    drain_delay_seconds: float = _number(
        "WAYPOST_DRAIN_DELAY_SECONDS",
        0.0,
        "Time for which a process that was told to stop serves on while it reports not ready, in seconds: what a "
        "balancer needs to notice.",
        ge=0,
        le=60,
    )

    @field_validator("http_host")
    @classmethod
    def _check_http_host(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("must be an IP address, like 127.0.0.1, or 0.0.0.0 for all") from None
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_port(cls, value: str) -> str:
        try:
            urlsplit(value).port  # noqa: B018 - it is read here
        except ValueError:
            raise ValueError("has a port that is no number from 0 to 65535") from None
        return value

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        for present, absent in (("CERT", "KEY"), ("KEY", "CERT")):
            if getattr(self, f"tls_{present.lower()}") and not getattr(self, f"tls_{absent.lower()}"):
                raise ValueError(f"WAYPOST_TLS_{present} is set, but WAYPOST_TLS_{absent} is not: set both or none")
        return self

    @property
    def tls(self) -> bool:
        """Whether the edge serves HTTPS."""
        return bool(self.tls_cert)

    @property
    def embedded(self) -> bool:
        """Whether PostgreSQL is ours to run."""
        return not self.database_url.get_secret_value()

    @property
    def dev_tokens(self) -> bool:
        """Whether the mesh believes the tokens of `waypost dev-token`: nobody has named another issuer."""
        return self.embedded and not self.takes_tokens

    @property
    def service_host(self) -> str:
        """The address under which this machine reaches its own services."""
        return WILDCARDS.get(self.host, self.host)

    @property
    def http_address(self) -> str:
        """The address that Envoy serves at as this machine reaches it, for example `http://127.0.0.1:8080`."""
        scheme, port = ("https", self.https_port) if self.tls else ("http", self.http_port)
        return f"{scheme}://{address(WILDCARDS.get(self.http_host, self.http_host), port)}"

    @property
    def reached_by_others(self) -> bool:
        """Whether Envoy listens on more than this machine's own loopback."""
        return not (self.http_host.startswith("127.") or self.http_host in ("localhost", "::1"))

    @property
    def public_address(self) -> str:
        """The address that short links begin with."""
        return self.public_url or self.http_address

    @property
    def public_host(self) -> str:
        """The host of that address, without brackets."""
        return urlsplit(self.public_address).hostname or ""

    @property
    def public_https_port(self) -> int:
        """The port under which others reach HTTPS: a balancer or a container may have moved it."""
        parts = urlsplit(self.public_url)
        return parts.port or HTTPS_PORT if parts.scheme == "https" else self.https_port

    def control_port(self, service: str) -> int:
        """The gRPC port of `service`."""
        return int(getattr(self, f"{service}_control_port"))

    def metrics_port(self, service: str) -> int:
        """The metrics and health port of `service`."""
        return int(getattr(self, f"{service}_metrics_port"))

    @property
    def hot(self) -> bool:
        """Whether services have hot ports: they were built, and nobody has said that they are not wanted."""
        return self.hot_ports and native.HOT_PORT

    @property
    def socket_folder(self) -> Path | None:
        """Where the sockets of hot ports lie, if they are sockets and not TCP ports."""
        folder = self.hot_host.removeprefix("unix:")
        return Path(folder) if self.hot and folder != self.hot_host else None

    @property
    def hot_host_is_private(self) -> bool:
        """Whether hot ports are open to this machine alone."""
        return self.hot_host.startswith("unix:") or ipaddress.ip_address(self.hot_host).is_loopback

    def unary_calls(self, service: str) -> Upstream:
        """Where `service` takes unary gRPC calls: its hot port, or its control port where it has none."""
        if not self.hot:
            return self.service_host, self.control_port(service)
        if self.socket_folder:
            return self.socket_folder / f"{service}.sock"
        return WILDCARDS.get(self.hot_host, self.hot_host), int(getattr(self, f"{service}_hot_port"))

    def sockets(self) -> Iterator[Path]:
        """Every unix socket that the services open."""
        if self.socket_folder:
            yield from (self.socket_folder / f"{service}.sock" for service in HOT_SERVICES)

    def listeners(self) -> Iterator[Listener]:
        """Every port that the mesh opens."""
        hosts = {
            "http_port": self.http_host,
            "https_port": self.http_host if self.tls else None,
            "envoy_admin_port": "127.0.0.1",
            **dict.fromkeys(
                (f"{service}_hot_port" for service in HOT_SERVICES),
                self.hot_host if self.hot and not self.socket_folder else None,
            ),
        }
        for info in self.infos():
            if info.field.endswith("_port"):
                host = hosts.get(info.field, self.host)
                if host is not None:
                    yield Listener(info.env, host, getattr(self, info.field))

    def data_path(self, env: Mapping[str, str]) -> Path:
        """The data directory as an absolute path; `env` is the user's environment (`XDG_DATA_HOME`, `HOME`)."""
        if self.data_dir:
            return Path(self.data_dir).expanduser().absolute()
        if os.geteuid() == 0:
            return Path("/var/lib/waypost")
        # A relative XDG_DATA_HOME is invalid and must be ignored (XDG Base Directory Specification).
        share = env.get("XDG_DATA_HOME", "")
        base = Path(share) if share.startswith("/") else Path(env.get("HOME") or Path.home()) / ".local" / "share"
        return base / "waypost"
