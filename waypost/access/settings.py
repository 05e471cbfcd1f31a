"""What the services can be told of the tokens that people bring."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from waypost.access.api_keys import MIN_PEPPER_BYTES
from waypost.access.claims import MAX_SUBJECT, ClaimRules
from waypost.access.jwks_url import check_url
from waypost.settings import DatabaseUrl, ServiceSettings, Settings, setting

MAX_AUDIENCES = 20


class JwtSettings(Settings):
    """Whose tokens are believed; the services and whoever starts them are told the same."""

    jwt_issuer: str = setting(
        "WAYPOST_JWT_ISSUER",
        "",
        "Issuer (iss) of the tokens that people bring. Empty: no tokens; `waypost up` with its own database then takes "
        "those of `waypost dev-token`.",
    )
    jwt_audience: str = setting(
        "WAYPOST_JWT_AUDIENCE", "", "Audiences (aud), by comma, of which a token must name one: what Waypost is called."
    )
    jwt_jwks_file: str = setting(
        "WAYPOST_JWT_JWKS_FILE",
        "",
        "File with the issuer's public keys (JWKS); a change of it is noticed. Envoy checks tokens too with it.",
    )
    jwt_jwks_url: str = setting(
        "WAYPOST_JWT_JWKS_URL",
        "",
        "Address of the issuer's public keys (JWKS, https), instead of a file. The services fetch it, Envoy does not.",
    )
    jwt_subject_claim: Literal["sub", "email"] = setting(
        "WAYPOST_JWT_SUBJECT_CLAIM", "sub", "Claim that names people: sub, or email, which then has to be verified."
    )
    jwt_max_lifetime_seconds: int = Field(
        86_400,
        ge=60,
        le=604_800,
        alias="WAYPOST_JWT_MAX_LIFETIME_SECONDS",
        description="Longest time from iat to exp for which a token may be made, in seconds; 900 is better if your "
        "issuer can do it.",
    )

    @field_validator("jwt_issuer")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        if len(value) > MAX_SUBJECT or not value.isprintable():
            raise ValueError(f"must be one line of at most {MAX_SUBJECT} characters")
        return value

    @field_validator("jwt_audience")
    @classmethod
    def _check_audience(cls, value: str) -> str:
        if (value and not 0 < len(_by_comma(value)) <= MAX_AUDIENCES) or not value.isprintable():
            raise ValueError(f"must name 1 to {MAX_AUDIENCES} audiences, with commas between them")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value:
            check_url(value)
        return value

    @model_validator(mode="after")
    def _check_jwt(self) -> JwtSettings:
        if self.jwt_jwks_file and self.jwt_jwks_url:
            raise ValueError("WAYPOST_JWT_JWKS_FILE and WAYPOST_JWT_JWKS_URL are both set: set one of them")
        given = {
            "WAYPOST_JWT_ISSUER": self.jwt_issuer,
            "WAYPOST_JWT_AUDIENCE": self.jwt_audience,
            "WAYPOST_JWT_JWKS_FILE (or WAYPOST_JWT_JWKS_URL)": self.jwt_jwks_file or self.jwt_jwks_url,
        }
        missing = [name for name, value in given.items() if not value]
        if 0 < len(missing) < len(given):
            raise ValueError(f"tokens take an issuer, an audience and keys: set {' and '.join(missing)} too")
        return self

    @property
    def takes_tokens(self) -> bool:
        """Whether an issuer is named, with all that belongs to it."""
        return bool(self.jwt_issuer)

    @property
    def jwt_audiences(self) -> tuple[str, ...]:
        """`jwt_audience`, parsed."""
        return _by_comma(self.jwt_audience)

    def claim_rules(self) -> ClaimRules:
        """Which tokens are meant for us."""
        return ClaimRules(
            issuer=self.jwt_issuer,
            audiences=frozenset(self.jwt_audiences),
            max_lifetime=self.jwt_max_lifetime_seconds,
            subject_claim=self.jwt_subject_claim,
        )

    def jwks_path(self) -> Path | None:
        """The file with the keys, if it is a file that they come from."""
        return Path(self.jwt_jwks_file).expanduser().absolute() if self.jwt_jwks_file else None


class TokenSettings(JwtSettings, ServiceSettings):
    """What every service that takes credentials can be told of them."""

    database_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_URL",
        SecretStr(""),
        "PostgreSQL as postgresql://user:password@host:port/database. Empty with `waypost up`: it brings its own.",
    )
    database_identity_url: DatabaseUrl = setting(
        "WAYPOST_DATABASE_IDENTITY_URL",
        SecretStr(""),
        "The same database as the login role waypost_identity. Empty: WAYPOST_DATABASE_URL, switched to that role.",
    )
    key_pepper: SecretStr = setting(
        "WAYPOST_KEY_PEPPER",
        SecretStr(""),
        "Secret of 32 characters or more under which the digests of API keys are made, the same for all replicas. "
        "Several by comma: new keys are made under the first, all count. Empty with `waypost up`: it makes one.",
    )
    operators: str = setting(
        "WAYPOST_OPERATORS", "", "Subjects of tokens, by comma, whose people are operators of the whole mesh."
    )
    failed_credentials_per_minute: int = Field(
        300,
        ge=1,
        le=1_000_000,
        alias="WAYPOST_FAILED_CREDENTIALS_PER_MINUTE",
        description="Wrong keys and tokens for which one address is listened to in a minute.",
    )
    trusted_proxies: str = setting(
        "WAYPOST_TRUSTED_PROXIES",
        "127.0.0.0/8,::1/128",
        "Networks, by comma, whose last x-forwarded-for entry is believed: where Envoy runs.",
    )

    @field_validator("key_pepper")
    @classmethod
    def _check_pepper(cls, value: SecretStr) -> SecretStr:
        for pepper in _by_comma(value.get_secret_value()):
            if len(pepper.encode()) < MIN_PEPPER_BYTES:
                raise ValueError(f"must be {MIN_PEPPER_BYTES} characters or more, random ones: openssl rand -hex 32")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for network in value.split(","):
            ip_network(network.strip())
        return value

    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`trusted_proxies`, parsed."""
        return tuple(ip_network(network.strip()) for network in self.trusted_proxies.split(","))

    def peppers(self) -> tuple[bytes, ...]:
        """`key_pepper`, parsed; the first is for new keys."""
        return tuple(pepper.encode() for pepper in _by_comma(self.key_pepper.get_secret_value()))

    def operator_subjects(self) -> frozenset[str]:
        """`operators`, parsed."""
        named = self.operators.lower() if self.jwt_subject_claim == "email" else self.operators
        return frozenset(_by_comma(named))

    def identity_dsn(self) -> str:
        """How to reach the database as the role `waypost_identity`; empty: there is none."""
        return self.database_identity_url.get_secret_value() or self.database_url.get_secret_value()


def _by_comma(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for one in value.split(",") if (part := one.strip())))
