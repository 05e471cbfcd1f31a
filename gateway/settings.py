"""The gateway's settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.intake import Intake
from waypost.access.settings import TokenSettings
from waypost.rpc.hot_settings import HotPortSettings
from waypost.settings import DatabaseUrl, Port, PublicUrl, setting


class Settings(TokenSettings, HotPortSettings):
    """What the gateway can be told."""

    control_port: Port = setting("WAYPOST_GATEWAY_CONTROL_PORT", 50051, "gRPC port of the gateway.")
    hot_port: Port = setting(
        "WAYPOST_GATEWAY_HOT_PORT", 50061, "Hot port of the gateway: unary gRPC calls, compiled to the socket."
    )
    web_port: Port = setting("WAYPOST_GATEWAY_WEB_PORT", 50071, "HTTP port of redirects and pages.")
    metrics_port: Port = setting("WAYPOST_GATEWAY_METRICS_PORT", 9101, "HTTP port of the gateway's health and metrics.")
    public_url: PublicUrl = setting(
        "WAYPOST_PUBLIC_URL",
        "http://127.0.0.1:8080",
        "What short links start with; its host is refused as a destination.",
    )
    database_api_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_API_URL",
        SecretStr(""),
        "The same database as the login role waypost_api. Empty: WAYPOST_DATABASE_URL, switched to that role.",
    )
    database_redirect_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_REDIRECT_URL",
        SecretStr(""),
        "The same database as the login role waypost_redirect. Empty: WAYPOST_DATABASE_URL, switched to that role.",
    )
    database_operator_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_OPERATOR_URL",
        SecretStr(""),
        "The same database as the login role waypost_operator. Empty: WAYPOST_DATABASE_URL, switched to that role.",
    )
    database_pool: int = Field(
        10,
        ge=1,
        le=200,
        alias="WAYPOST_GATEWAY_DATABASE_POOL",
        description="Most connections of each of the gateway's two large pools.",
    )
    ratelimiter_address: str = setting(
        "WAYPOST_RATELIMITER_ADDRESS", "127.0.0.1:50052", "host:port of the ratelimiter's gRPC port."
    )
    ratelimiter_timeout_ms: int = Field(
        50,
        ge=1,
        le=5000,
        alias="WAYPOST_RATELIMITER_TIMEOUT_MS",
        description="Longest wait for the ratelimiter before the gateway decides by itself, in milliseconds.",
    )
    local_creates_per_minute: int = Field(
        60,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_GATEWAY_LOCAL_CREATES_PER_MINUTE",
        description="Links that one caller may make, and other changes, in a minute while the ratelimiter is away.",
    )
    local_reads_per_minute: int = Field(
        1200,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_GATEWAY_LOCAL_READS_PER_MINUTE",
        description="Reads of the API that one caller may make in a minute while the ratelimiter is away.",
    )
    unknown_codes_per_minute: int = Field(
        120,
        ge=0,
        le=1_000_000,
        alias="WAYPOST_GATEWAY_UNKNOWN_CODES_PER_MINUTE",
        description="Codes without a link that one address may try in a minute before only what is cached is answered; "
        "0: any number.",
    )
    cache_bytes: int = Field(
        67_108_864,
        ge=1_048_576,
        alias="WAYPOST_GATEWAY_CACHE_BYTES",
        description="Memory for cached links, in bytes.",
    )
    max_stale_seconds: int = Field(
        600,
        ge=0,
        le=86_400,
        alias="WAYPOST_GATEWAY_MAX_STALE_SECONDS",
        description="How long cached links redirect while PostgreSQL does not answer, in seconds.",
    )
    allow_private_hosts: bool = setting(
        "WAYPOST_ALLOW_PRIVATE_HOSTS", True, "Whether links may lead to addresses and names of private networks."
    )
    anonymous_create: bool = setting(
        "WAYPOST_ANONYMOUS_CREATE",
        False,
        "Whether links may be made without credentials, limited by address. Empty with `waypost up` and its own "
        "database: true.",
    )

    @field_validator("public_url")
    @classmethod
    def _check_public_host(cls, value: str) -> str:
        # Raises a ValueError that says what is wrong with it.
        Intake([urlsplit(value).hostname or ""])
        return value

    @model_validator(mode="after")
    def _check_database(self) -> Settings:
        urls = {
            "WAYPOST_DATABASE_API_URL": self.api_dsn(),
            "WAYPOST_DATABASE_REDIRECT_URL": self.redirect_dsn(),
            "WAYPOST_DATABASE_IDENTITY_URL": self.identity_dsn(),
            "WAYPOST_DATABASE_OPERATOR_URL": self.operator_dsn(),
        }
        if missing := [name for name, url in urls.items() if not url]:
            raise ValueError(f"WAYPOST_DATABASE_URL must be set (or else {', '.join(missing)})")
        return self

    @model_validator(mode="after")
    def _check_key_pepper(self) -> Settings:
        if not self.peppers():
            raise ValueError(
                "WAYPOST_KEY_PEPPER must be set: 32 random characters or more, the same for all replicas and kept for "
                "good (openssl rand -hex 32)"
            )
        return self

    def own_hosts(self) -> tuple[str, ...]:
        """The hosts that short links themselves are on."""
        return (urlsplit(self.public_url).hostname or "",)

    def api_dsn(self) -> str:
        """How to reach the database as the role `waypost_api`."""
        return self.database_api_url.get_secret_value() or self.database_url.get_secret_value()

    def redirect_dsn(self) -> str:
        """How to reach the database as the role `waypost_redirect`."""
        return self.database_redirect_url.get_secret_value() or self.database_url.get_secret_value()

    def operator_dsn(self) -> str:
        """How to reach the database as the role `waypost_operator`."""
        return self.database_operator_url.get_secret_value() or self.database_url.get_secret_value()
