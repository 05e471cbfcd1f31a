"""A JWKS document (RFC 7517) as the keys that signatures are checked with: only those that are fit for it, by `kid`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_KID = 256
"""Characters."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Larger ones take long to check with, which strangers could make us do; TLS libraries have the same bound."""
_MAX_RSA_EXPONENT_BITS = 32

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": frozenset({"ES256"}), "secp384r1": frozenset({"ES384"}), "secp521r1": frozenset({"ES512"})}
_ED25519 = frozenset({"EdDSA"})

ALGORITHMS = frozenset({*_RSA, "ES256", "ES384", "ES512", *_ED25519})
"""What tokens may be signed with: asymmetric algorithms alone (RFC 7518, RFC 8037)."""

# Members of private and symmetric keys (RFC 7518, section 6): what is published has none.
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class BadJwks(Exception):
    """The document is no JWKS at all; `str()` says why, without any of its bytes."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, and the algorithms that a token under its `kid` may name."""

    key: PublicKey
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one document by `kid`; `ignored` has a sentence for each entry that is not among them."""

    keys: Mapping[str, VerifyingKey]
    ignored: tuple[str, ...] = ()

    def document(self) -> str:
        """A JWKS of these keys and of nothing else, for another program that checks with them."""
        return json.dumps({"keys": [_entry(kid, key) for kid, key in self.keys.items()]})


class _Unfit(Exception):
    """Why an entry is passed over."""


def parse_jwks(document: bytes) -> KeySet:
    """The usable keys of a document.

    An entry that is no public signing key with a `kid` and a known algorithm is passed over, and so are all entries of
    a `kid` that is there twice: which of them is meant nobody could tell. Raises `BadJwks`.
    """
    entries = _entries(document)
    found: list[tuple[str, VerifyingKey]] = []
    ignored: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(_parse(entry))
        except _Unfit as unfit:
            ignored.append(f"key {number}{_name(entry)} {unfit}")
    counts = Counter(kid for kid, _ in found)
    ignored += [f"the {count} keys with the kid {kid!r} share it" for kid, count in counts.items() if count > 1]
    return KeySet(MappingProxyType({kid: key for kid, key in found if counts[kid] == 1}), tuple(ignored))


def _entries(document: bytes) -> list[Any]:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise BadJwks(f"is larger than {MAX_DOCUMENT_BYTES:,} bytes")
    try:
        parsed = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise BadJwks("is not JSON") from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise BadJwks('is not a JWKS: it has no list "keys"')
    if len(entries) > MAX_KEYS:
        raise BadJwks(f"has more than {MAX_KEYS} keys")
    return entries


def _parse(entry: Any) -> tuple[str, VerifyingKey]:
    if not isinstance(entry, dict):
        raise _Unfit("is no JSON object")
    if entry.get("kty") not in ("RSA", "EC", "OKP"):
        raise _Unfit("is of a kind (kty) that is not asymmetric, or not known")
    if not _PRIVATE.isdisjoint(entry):
        raise _Unfit("has members of a private key, and may no longer be trusted: publish a new one")
    if entry.get("use", "sig") != "sig":
        raise _Unfit("is not for signatures (use)")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _Unfit("is not for checking signatures (key_ops)")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise _Unfit(f"has no kid of 1 to {MAX_KID} characters")
    key, algorithms = _rsa(entry) if entry["kty"] == "RSA" else _curve(entry)
    if "alg" in entry:
        algorithms &= {entry["alg"]} if isinstance(entry["alg"], str) else frozenset()
        if not algorithms:
            raise _Unfit("names an algorithm (alg) that is not allowed, or not for such a key")
    return kid, VerifyingKey(key, algorithms)


def _rsa(entry: dict[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    modulus = entry.get("n")
    # Six bits a character: looked at before the number is made, and with room for a leading zero.
    if isinstance(modulus, str) and len(modulus) > MAX_RSA_BITS // 6 + 8:
        raise _Unfit(f"is an RSA key of more than {MAX_RSA_BITS:,} bits")
    key = _load(jwt.algorithms.RSAAlgorithm, entry)
    if not isinstance(key, rsa.RSAPublicKey):
        raise _Unfit("cannot be read")
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise _Unfit(f"is an RSA key of {key.key_size:,} bits; {MIN_RSA_BITS:,} to {MAX_RSA_BITS:,} are taken")
    if key.public_numbers().e.bit_length() > _MAX_RSA_EXPONENT_BITS:
        raise _Unfit(f"is an RSA key whose exponent has more than {_MAX_RSA_EXPONENT_BITS} bits")
    return key, _RSA


def _curve(entry: dict[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    if entry["kty"] == "OKP":
        key = _load(jwt.algorithms.OKPAlgorithm, entry)
        if isinstance(key, ed25519.Ed25519PublicKey):
            return key, _ED25519
    else:
        key = _load(jwt.algorithms.ECAlgorithm, entry)
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
            return key, _CURVES[key.curve.name]
    raise _Unfit("is of a curve (crv) that is not taken: P-256, P-384, P-521 and Ed25519 are")


def _load(algorithm: Any, entry: dict[str, Any]) -> Any:
    try:
        return algorithm.from_jwk(entry)
    # What the library and the ones below it raise for members that are missing, of another type, or no such number.
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise _Unfit("cannot be read") from None


def _entry(kid: str, key: VerifyingKey) -> dict[str, Any]:
    if isinstance(key.key, rsa.RSAPublicKey):
        entry = jwt.algorithms.RSAAlgorithm.to_jwk(key.key, as_dict=True)
    elif isinstance(key.key, ec.EllipticCurvePublicKey):
        entry = jwt.algorithms.ECAlgorithm.to_jwk(key.key, as_dict=True)
    else:
        entry = jwt.algorithms.OKPAlgorithm.to_jwk(key.key, as_dict=True)
    # One that is for several algorithms names none: an entry has room for one.
    return entry | {"kid": kid, "use": "sig"} | ({"alg": min(key.algorithms)} if len(key.algorithms) == 1 else {})


def _name(entry: Any) -> str:
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return f" (kid {kid[:MAX_KID]!r})" if isinstance(kid, str) else ""
