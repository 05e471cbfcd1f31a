"""The rate limiter's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from waypost.access.settings import TokenSettings
from waypost.settings import Port, setting


class Settings(TokenSettings):
    """What the rate limiter can be told."""

    control_port: Port = setting("WAYPOST_RATELIMITER_CONTROL_PORT", 50052, "gRPC port of the rate limiter.")
    metrics_port: Port = setting(
        "WAYPOST_RATELIMITER_METRICS_PORT", 9102, "HTTP port of the rate limiter's health and metrics."
    )
    limits_dir: str = setting(
        "WAYPOST_LIMITS_DIR", "", "Folder of rule files (*.yaml). Empty: the rules that come with Waypost."
    )
    table_capacity: int = Field(
        200_000,
        ge=1000,
        le=100_000_000,
        alias="WAYPOST_LIMITS_TABLE_CAPACITY",
        description="Most counters in memory; beyond it new keys share one counter for each rule.",
    )

    def rules_folder(self) -> Path:
        """The folder to load rules from."""
        return Path(self.limits_dir) if self.limits_dir else Path(__file__).with_name("limits")
