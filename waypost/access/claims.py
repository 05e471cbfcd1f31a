"""What a token whose signature is good says, and whether it may be believed: RFC 7519, section 4.1, and RFC 8725."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from waypost.errors import Unauthenticated

LEEWAY_SECONDS = 60
"""How far the issuer's clock may be from ours."""
MAX_SUBJECT = 255
"""Characters; OpenID Connect Core, section 2, has the same bound."""
_SUBJECT = re.compile(f"[!-~]{{1,{MAX_SUBJECT}}}")
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """Who a token stands for, until when.

    subject  the claim that names people: `sub`, or the e-mail address in lower case
    email    the address in lower case, if the issuer says that it is verified
    name     what the issuer calls them, for people to read; empty if it is no printable text
    """

    subject: str
    expires_at: datetime
    email: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Which tokens are meant for us: from `issuer`, for one of `audiences`, made for at most `max_lifetime` seconds."""

    issuer: str
    audiences: frozenset[str]
    max_lifetime: int
    subject_claim: Literal["sub", "email"] = "sub"

    def read(self, payload: bytes, now: float) -> TokenClaims:
        """The claims in the JSON of a token; `now` in seconds since the epoch. Raises `Unauthenticated`."""
        try:
            claims = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise Unauthenticated("the token's claims are not JSON") from None
        if not isinstance(claims, dict):
            raise Unauthenticated("the token's claims are no JSON object")
        self._check_parties(claims)
        expires = self._check_times(claims, now)
        email = _email(claims)
        return TokenClaims(
            subject=self._subject(claims, email),
            expires_at=datetime.fromtimestamp(expires, UTC),
            email=email,
            name=_name(claims),
        )

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        issuer = _required(claims, "iss")
        if issuer != self.issuer:
            raise Unauthenticated("the token is of another issuer (iss) than this server believes")
        audience = _required(claims, "aud")
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise Unauthenticated("the token's audience (aud) is neither a text nor a list of texts")
        if self.audiences.isdisjoint(named):
            raise Unauthenticated("the token is for another audience (aud) than this server")

    def _check_times(self, claims: Mapping[str, Any], now: float) -> float:
        """Returns when the token expires, in seconds since the epoch."""
        expires, issued = _time(claims, "exp"), _time(claims, "iat")
        if now >= expires + LEEWAY_SECONDS:
            raise Unauthenticated("the token has expired (exp): get a new one")
        if issued > now + LEEWAY_SECONDS:
            raise Unauthenticated("the token was issued in the future (iat): a clock is wrong")
        if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY_SECONDS:
            raise Unauthenticated("the token is not valid yet (nbf)")
        if expires <= issued:
            raise Unauthenticated("the token expires (exp) before it was issued (iat)")
        if expires - issued > self.max_lifetime:
            raise Unauthenticated(
                f"the token is made for longer (from iat to exp) than the {self.max_lifetime} seconds that this server "
                "takes"
            )
        return expires

    def _subject(self, claims: Mapping[str, Any], email: str) -> str:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not is_subject(subject):
            raise Unauthenticated(
                f"the token names no subject (sub) of 1 to {MAX_SUBJECT} visible ASCII characters without spaces"
            )
        if self.subject_claim == "sub":
            return subject
        if not email:
            raise Unauthenticated("the token has no e-mail address (email) that is verified (email_verified)")
        return email


def is_subject(text: str) -> bool:
    """Whether people can be called so, in tokens and as members of workspaces."""
    return _SUBJECT.fullmatch(text) is not None


def _required(claims: Mapping[str, Any], name: str) -> Any:
    if name not in claims:
        raise Unauthenticated(f"the token lacks the claim {name}")
    return claims[name]


def _time(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate: seconds since the epoch, perhaps with a fraction."""
    value = _required(claims, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unauthenticated(f"the token's claim {name} is no time in seconds")
    return float(value)


def _email(claims: Mapping[str, Any]) -> str:
    # Some issuers write the boolean as a text.
    if claims.get("email_verified") is not True and claims.get("email_verified") != "true":
        return ""
    address = claims.get("email")
    if not isinstance(address, str) or "@" not in address or not is_subject(address):
        return ""
    # One person, however they write themselves today.
    return address.lower()


def _name(claims: Mapping[str, Any]) -> str:
    value = claims.get("name")
    return value.strip() if isinstance(value, str) and len(value) <= _MAX_NAME and value.isprintable() else ""
