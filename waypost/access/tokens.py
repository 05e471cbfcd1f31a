"""Checks the tokens that people bring (JWT, RFC 7519): signature, issuer, audience, times. Keeps what was good a while.

Only asymmetric algorithms are taken, and only the key that the issuer has published under the token's `kid`, with an
algorithm that is that key's own. Nothing else that a token says of its key (`jku`, `x5u`, `jwk`, `x5c`) is looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
import orjson

from waypost.access.claims import ClaimRules, TokenClaims
from waypost.access.jwks import ALGORITHMS, MAX_KID, KeySet, VerifyingKey
from waypost.errors import DependencyUnavailable, Unauthenticated

__all__ = ["ClaimRules", "KeySource", "TokenClaims", "TokenVerifier"]

MAX_TOKEN_BYTES = 8192
CACHE_ENTRIES = 4096
CACHE_SECONDS = 60.0
"""Most time for which a token is believed without looking at it again: so long may a key that was withdrawn work on."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# What a token may say that it is (RFC 8725, section 3.11): tokens for other purposes are signed with the same keys.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})

_REFUSED = "the token's signature is not good"


class KeySource(Protocol):
    """Where the issuer's keys come from."""

    @property
    def keys(self) -> KeySet | None:
        """The keys in force, the same object until they change; None: there were none yet."""
        ...

    async def refresh(self) -> None:
        """Looks for newer keys, unless that was done just now; never fails."""
        ...


@dataclass(frozen=True, slots=True)
class _Header:
    kid: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class _Kept:
    claims: TokenClaims
    since: float
    until: float


class TokenVerifier:
    """Turns a token into the claims of who brought it.

    `now` is the time in seconds since the epoch. What was found good is kept by the token's SHA-256, for at most
    `CACHE_SECONDS` and never past the token's end; all of it is forgotten when the keys change.
    """

    def __init__(self, source: KeySource, rules: ClaimRules, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._rules = rules
        self._now = now
        self._jws = jwt.PyJWS(algorithms=sorted(ALGORITHMS))
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._kept_for: KeySet | None = None

    async def verify(self, token: str) -> TokenClaims:
        """The claims of a good token.

        Waits for the source only when the token names a key that is not known. Raises `Unauthenticated`, whose sentence
        holds nothing of the token, and `DependencyUnavailable` as long as there are no keys at all.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN_BYTES:,} bytes")
        if not _COMPACT.fullmatch(token):
            raise Unauthenticated("the token is no signed JWT: three parts of base64url with dots between them")
        digest = hashlib.sha256(token.encode()).digest()
        now = self._now()
        if kept := self._look_up(digest, now):
            return kept
        header = _read_header(token)
        keys = await self._keys_for(header.kid)
        claims = self._check(token, header, keys.keys.get(header.kid), now)
        self._keep(digest, claims, keys, now)
        return claims

    def known(self, token: str) -> TokenClaims | None:
        """The claims of a token that was found good a moment ago; None: look at it anew."""
        if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
            return None
        return self._look_up(hashlib.sha256(token.encode()).digest(), self._now())

    async def _keys_for(self, kid: str) -> KeySet:
        """The keys in force; they were looked for anew if this one was not among them."""
        keys = self._source.keys
        if keys is None or kid not in keys.keys:
            await self._source.refresh()
            keys = self._source.keys
        if keys is None:
            raise DependencyUnavailable("jwks", retry_after=5.0)
        return keys

    def _check(self, token: str, header: _Header, key: VerifyingKey | None, now: float) -> TokenClaims:
        if key is None:
            raise Unauthenticated("the token is signed with a key (kid) that its issuer does not publish")
        if header.algorithm not in key.algorithms:
            raise Unauthenticated("the token's algorithm (alg) is not that of its key")
        try:
            signed = self._jws.decode_complete(token, key=key.key, algorithms=[header.algorithm])
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated(_REFUSED) from None
        return self._rules.read(signed["payload"], now)

    def _look_up(self, digest: bytes, now: float) -> TokenClaims | None:
        if self._kept_for is not self._source.keys:
            self._kept.clear()
            return None
        kept = self._kept.get(digest)
        if kept is None:
            return None
        # Also when the clock was set back.
        if not kept.since <= now < kept.until:
            del self._kept[digest]
            return None
        self._kept.move_to_end(digest)
        return kept.claims

    def _keep(self, digest: bytes, claims: TokenClaims, keys: KeySet, now: float) -> None:
        until = min(now + CACHE_SECONDS, claims.expires_at.timestamp())
        # Not what was checked with keys that have been replaced meanwhile.
        if keys is not self._source.keys or until <= now:
            return
        if self._kept_for is not keys:
            self._kept.clear()
            self._kept_for = keys
        self._kept[digest] = _Kept(claims, now, until)
        if len(self._kept) > CACHE_ENTRIES:
            self._kept.popitem(last=False)


def _read_header(token: str) -> _Header:
    """What the token says of its key, which nobody has vouched for yet."""
    encoded = token.partition(".")[0]
    try:
        header: Any = orjson.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        raise Unauthenticated("the token's header is not JSON in base64url") from None
    if not isinstance(header, dict):
        raise Unauthenticated("the token's header is no JSON object")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Unauthenticated(f"the token's algorithm (alg) is none of {', '.join(sorted(ALGORITHMS))}")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise Unauthenticated("the token does not say which key it is signed with (kid)")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthenticated("the token's type (typ) is neither JWT nor at+jwt")
    # RFC 7515, section 4.1.11: what we do not know must not be passed over; RFC 7797 is for other things than tokens.
    if "crit" in header or "b64" in header:
        raise Unauthenticated("the token's header asks for an extension (crit, b64) that is not known here")
    return _Header(kid, algorithm)
