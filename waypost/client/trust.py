"""The certificate authorities that this machine trusts.

grpc's Python package brings a list of its own and asks the system for none, so that a company's authority which every
other program of the machine knows would be a stranger to this one.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep them all in one file, if it is not where Python's OpenSSL looks."""

MAX_BYTES = 4 * 1024 * 1024
"""Of such a file: those that the world trusts have a quarter of a megabyte."""
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def read_authorities(path: Path) -> bytes:
    """The certificates (PEM) of a file. Raises `OSError`, or `ValueError` if it is not a file of certificates."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES or _BEGIN not in content:
        raise ValueError(f"{path} is no file of certificates in PEM")
    return content


def system_authorities() -> bytes | None:
    """Those that the system trusts, or the environment's SSL_CERT_FILE names (PEM); None if there is no such file."""
    for path in _places():
        with contextlib.suppress(OSError, ValueError):
            return read_authorities(path)
    return None


def _places() -> Iterator[Path]:
    given = ssl.get_default_verify_paths().cafile
    if given:
        yield Path(given)
    yield from map(Path, FILES)
