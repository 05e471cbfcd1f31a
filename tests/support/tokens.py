"""An issuer of tokens for tests: keys of every kind, the JWKS that publishes them, tokens good and bad."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from waypost.access.claims import ClaimRules
from waypost.access.jwks import KeySet, parse_jwks

ISSUER = "https://id.example/realms/people"
AUDIENCE = "waypost"

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}

ALGORITHMS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA-2048"),
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}
"""Every algorithm that is taken, with a kind of key that it is for."""


@cache
def private_key(kind: str, which: int = 0) -> Any:
    """A private key of `RSA-<bits>`, a curve's name, `Ed25519` or `Ed448`; another for each `which`."""
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("RSA-")))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind]())


def public_jwk(kind: str, kid: str | None, which: int = 0, **members: Any) -> dict[str, Any]:
    """The public half as an entry of a JWKS."""
    algorithm: Any = {"R": jwt.algorithms.RSAAlgorithm, "E": jwt.algorithms.OKPAlgorithm}.get(
        kind[0], jwt.algorithms.ECAlgorithm
    )
    entry: dict[str, Any] = algorithm.to_jwk(private_key(kind, which).public_key(), as_dict=True)
    # The library names what a key is for; whether it does is for the tests to say.
    entry.pop("key_ops", None)
    return entry | ({} if kid is None else {"kid": kid}) | members


def jwks(*entries: dict[str, Any]) -> bytes:
    """The document."""
    return json.dumps({"keys": entries}).encode()


def public_pem(kind: str) -> bytes:
    """The public half as everybody may read it."""
    return bytes(
        private_key(kind)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def public_der(kind: str) -> bytes:
    """The same, in DER."""
    return bytes(
        private_key(kind)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    """A JSON value as a part of a token."""
    return encoded(json.dumps(value).encode())


def turned(token: str, bit: int = 0) -> str:
    """The token with one bit of its signature turned."""
    head, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[bit // 8] ^= 1 << bit % 8
    return f"{head}.{encoded(bytes(raw))}"


def in_der(token: str, size: int = 32) -> str:
    """A token of ECDSA with its signature in the form that X.509 has and JWS has not."""
    head, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    der = encode_dss_signature(int.from_bytes(raw[:size]), int.from_bytes(raw[size:]))
    assert decode_dss_signature(der)
    return f"{head}.{encoded(der)}"


@dataclass
class Issuer:
    """Makes tokens that are good unless told otherwise; `now` is the time that they are made at."""

    kind: str = "P-256"
    algorithm: str = "ES256"
    kid: str = "key-1"
    now: float = field(default_factory=time.time)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a good token says, with these changes; None leaves a claim out."""
        now = int(self.now)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, headers: dict[str, Any] | None = None, which: int = 0, **changes: Any) -> str:
        """A token, signed; `headers` on top of `alg`, `kid` and `typ` (None leaves one out)."""
        return self.sign(self.claims(**changes), headers=headers, which=which)

    def sign(self, claims: Any, *, headers: dict[str, Any] | None = None, which: int = 0) -> str:
        """Any JSON value as the claims of a token that is signed well."""
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **(headers or {})}
        head = part({name: value for name, value in header.items() if value is not None})
        return self.seal(f"{head}.{part(claims)}", which)

    def seal(self, signed: str, which: int = 0) -> str:
        """Signs two parts as they are, whatever they say."""
        scheme = jwt.PyJWS().get_algorithm_by_name(self.algorithm)
        return f"{signed}.{encoded(scheme.sign(signed.encode(), private_key(self.kind, which)))}"

    def jwks(self, which: int = 0) -> bytes:
        """The document that publishes its key."""
        return jwks(public_jwk(self.kind, self.kid, which, alg=self.algorithm, use="sig"))

    @property
    def rules(self) -> ClaimRules:
        """What a server that believes it goes by."""
        return ClaimRules(ISSUER, frozenset({AUDIENCE}), max_lifetime=86_400)


class Keys:
    """Keys that are as a test says, and change when it says."""

    def __init__(self, document: bytes | None) -> None:
        self.keys: KeySet | None = None if document is None else parse_jwks(document)
        self.refreshed = 0
        self.next: bytes | None = None
        """What the next look at the source finds."""

    async def refresh(self) -> None:
        self.refreshed += 1
        if self.next is not None:
            self.keys, self.next = parse_jwks(self.next), None
