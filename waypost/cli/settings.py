"""What the `waypost` command itself can be told by the environment."""

from __future__ import annotations

from waypost.settings import Settings, setting


class CliSettings(Settings):
    """Settings of the commands that talk to a running Waypost."""

    server: str = setting(
        "WAYPOST_SERVER",
        "",
        "host:port of the Waypost that `waypost links` talks to. Empty: 127.0.0.1 and WAYPOST_HTTP_PORT.",
    )
    http_port: int = setting("WAYPOST_HTTP_PORT", 8080, "Port of the public HTTP listener (Envoy).")

    @property
    def address(self) -> str:
        """Where to connect."""
        return self.server or f"127.0.0.1:{self.http_port}"
