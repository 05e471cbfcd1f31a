"""The key of a machine on which somebody tries Waypost out: made once, signs the tokens of `waypost dev-token`.

It is there only with the embedded database and without an issuer in the settings, and its tokens are good only for the
mesh of this very data directory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from waypost.access.jwks import KeySet, VerifyingKey
from waypost.supervisor.dev_issuer import AUDIENCE, ISSUER, jwks_file, key_file
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.postgres_credentials import write_private

ALGORITHM = "ES256"


def load_or_make(data: Path) -> None:
    """Makes the key in a data directory if there is none, and writes down its public half. Raises `CannotStart`."""
    path = key_file(data)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            _make(path)
        key = _load(path)
        public = KeySet({_kid(key): VerifyingKey(key.public_key(), frozenset({ALGORITHM}))})
        write_private(jwks_file(data), public.document() + "\n")
    except OSError as error:
        raise CannotStart(f"the key of `waypost dev-token` cannot be kept in {path.parent}: {error.strerror}") from None


def sign(data: Path, claims: Mapping[str, object]) -> str:
    """A token with these claims and the issuer's own. Raises `CannotStart` if there is no key that we can read."""
    path = key_file(data)
    try:
        key = _load(path)
    except FileNotFoundError:
        raise CannotStart(
            f"there is no key to sign with ({path}): `waypost up` makes one when it runs with its own database and "
            "without WAYPOST_JWT_ISSUER; is this its data directory (WAYPOST_DATA_DIR)?"
        ) from None
    except PermissionError:
        raise CannotStart(f"{path} is not ours to read: run this as the user that runs `waypost up`") from None
    except OSError as error:
        raise CannotStart(f"{path} cannot be read: {error.strerror}") from None
    body = {"iss": ISSUER, "aud": AUDIENCE, **claims}
    return jwt.encode(body, key, algorithm=ALGORITHM, headers={"kid": _kid(key)})


def _make(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem.decode())


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            key = serialization.load_pem_private_key(file.read(16_384), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise CannotStart(f"{path} does not hold a key for {ALGORITHM}: delete it, and `waypost up` makes a new one")
    return key


def _kid(key: ec.EllipticCurvePrivateKey) -> str:
    """Another one for each key, so that nobody ever takes one for the other."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"dev-{hashlib.sha256(public).hexdigest()[:16]}"
