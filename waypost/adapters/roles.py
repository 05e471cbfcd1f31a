"""The login roles of PostgreSQL, one for each job, and what the server keeps of a password. No driver needed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

JOB_ROLES = (
    "waypost_api",
    "waypost_redirect",
    "waypost_relay",
    "waypost_rollup",
    "waypost_sweeper",
    "waypost_identity",
    "waypost_operator",
    "waypost_limiter",
)
"""Made by migrations, without passwords."""

ITERATIONS = 4096


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password, RFC 5803: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`."""
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("a role's password must be printable ASCII")  # else it would need SASLprep
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(value).decode() for value in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{salt64}${stored64}:{server64}"
