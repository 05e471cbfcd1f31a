"""The issuer that a mesh believes while nobody has named another: `waypost dev-token`, with the key of `dev_key`.

Imports nothing that takes time: every command asks which settings there are.
"""

from __future__ import annotations

from pathlib import Path

from waypost.supervisor.data_dir import DataDir

ISSUER = "waypost-dev"
AUDIENCE = "waypost"


def key_file(data: Path) -> Path:
    """The private key, PEM, in the data directory."""
    return DataDir(data).jwt / "dev-key.pem"


def jwks_file(data: Path) -> Path:
    """The public one."""
    return DataDir(data).jwt / "jwks.json"


def settings(data: Path) -> dict[str, str]:
    """What makes a service believe the key."""
    return {
        "WAYPOST_JWT_ISSUER": ISSUER,
        "WAYPOST_JWT_AUDIENCE": AUDIENCE,
        "WAYPOST_JWT_JWKS_FILE": str(jwks_file(data)),
    }
