"""The rate limiter's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from waypost.access.settings import TokenSettings
from waypost.rpc.hot_settings import HotPortSettings
from waypost.settings import DatabaseUrl, Port, setting
from waypost.settings import Settings as BaseSettings


class RuleSettings(BaseSettings):
    """Where rules come from."""

    limits_dir: str = setting(
        "WAYPOST_LIMITS_DIR", "", "Folder of rule files (*.yaml). Empty: the rules that come with Waypost."
    )
    limits_merge_domains: bool = setting(
        "WAYPOST_LIMITS_MERGE_DOMAINS", False, "Whether several rule files may have rules of one domain."
    )

    def rules_folder(self) -> Path:
        """The folder to load rules from."""
        return Path(self.limits_dir) if self.limits_dir else Path(__file__).with_name("limits")


class Settings(RuleSettings, TokenSettings, HotPortSettings):
    """What the rate limiter can be told."""

    control_port: Port = setting("WAYPOST_RATELIMITER_CONTROL_PORT", 50052, "gRPC port of the rate limiter.")
    hot_port: Port = setting(
        "WAYPOST_RATELIMITER_HOT_PORT", 50062, "Hot port of the rate limiter: unary gRPC calls, compiled to the socket."
    )
    metrics_port: Port = setting(
        "WAYPOST_RATELIMITER_METRICS_PORT", 9102, "HTTP port of the rate limiter's health and metrics."
    )
    database_limiter_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_LIMITER_URL",
        SecretStr(""),
        "The same database as the login role waypost_limiter. Empty: WAYPOST_DATABASE_URL, switched to that role.",
    )
    table_capacity: int = Field(
        200_000,
        ge=1000,
        le=100_000_000,
        alias="WAYPOST_LIMITS_TABLE_CAPACITY",
        description="Most counters in memory; beyond it new keys share one counter for each rule.",
    )

    redis_url: SecretStr = setting(
        "WAYPOST_REDIS_URL",
        SecretStr(""),
        "Redis as redis://user:password@host:port/0, where strict limits are counted for all replicas together. Empty: "
        "each replica counts them by itself.",
    )
    store_timeout_ms: int = Field(
        10,
        ge=1,
        le=1000,
        alias="WAYPOST_RATELIMITER_STORE_TIMEOUT_MS",
        description="Longest wait for Redis before a strict limit is decided without it, in milliseconds; Envoy itself "
        "waits 20.",
    )
    limits_shadow_mode: bool = setting(
        "WAYPOST_LIMITS_SHADOW_MODE", False, "Whether limits are only watched: everything is counted, nothing refused."
    )
    response_headers: bool = setting(
        "WAYPOST_RATELIMITER_RESPONSE_HEADERS",
        True,
        "Whether answers to Envoy bring headers for clients: X-RateLimit-*, RateLimit, RateLimit-Policy, Retry-After. "
        "The edge of `waypost up` needs them for its own answers.",
    )
    dynamic_metadata: bool = setting(
        "WAYPOST_RATELIMITER_DYNAMIC_METADATA",
        False,
        "Whether answers to Envoy bring what was asked, and the metadata of the rules that were passed.",
    )

    log_every: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_RATELIMITER_LOG_EVERY",
        description="Of Envoy's questions and of checks that go well, one in so many is logged; 1: all are. Failures "
        "always are.",
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and ("://" not in url or not url.startswith(("redis", "unix:"))):
            raise ValueError("must be like redis://user:password@host:port/0")
        return value

    def limiter_dsn(self) -> str:
        """How to reach the database as the role `waypost_limiter`; empty: there is none, and so no override."""
        return self.database_limiter_url.get_secret_value() or self.database_url.get_secret_value()
