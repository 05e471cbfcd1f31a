"""The workers' settings."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from waypost.access.settings import TokenSettings
from waypost.settings import DatabaseUrl, Port, PublicUrl, setting


class Settings(TokenSettings):
    """What the workers can be told."""

    control_port: Port = setting("WAYPOST_WORKERS_CONTROL_PORT", 50053, "gRPC port of the workers.")
    metrics_port: Port = setting("WAYPOST_WORKERS_METRICS_PORT", 9103, "HTTP port of the workers' health and metrics.")
    database_sweeper_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_SWEEPER_URL",
        SecretStr(""),
        "The same database as the login role waypost_sweeper. Empty: WAYPOST_DATABASE_URL, switched to that role.",
    )
    public_url: PublicUrl = setting("WAYPOST_PUBLIC_URL", "http://127.0.0.1:8080", "What short links start with.")
    sweep_interval_seconds: int = Field(
        60,
        ge=1,
        le=86_400,
        alias="WAYPOST_SWEEP_INTERVAL_SECONDS",
        description="Time between two sweeps that mark expired links, in seconds.",
    )

    @model_validator(mode="after")
    def _check_database(self) -> Settings:
        if not self.sweeper_dsn():
            raise ValueError("WAYPOST_DATABASE_URL must be set (or WAYPOST_DATABASE_SWEEPER_URL)")
        return self

    def sweeper_dsn(self) -> str:
        """How to reach the database as the role `waypost_sweeper`."""
        return self.database_sweeper_url.get_secret_value() or self.database_url.get_secret_value()
