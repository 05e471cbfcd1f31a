"""What services can be told of credentials: peppers, operators, proxies, and how to reach the keys."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from waypost.access.settings import TokenSettings
from waypost.settings import BadSettings

LONG = "secret-0123456789-0123456789-0123456789"
DATABASE = "postgresql://waypost:secret@db/waypost"


def settings(**env: str) -> TokenSettings:
    """Settings from variables without their prefix."""
    return TokenSettings.from_env({f"WAYPOST_{name}": env[name] for name in env})


def refusal(**env: str) -> str:
    with pytest.raises(BadSettings) as caught:
        settings(**env)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_defaults_know_no_credentials_at_all() -> None:
    found = settings()
    assert (found.peppers(), found.operator_subjects(), found.identity_dsn()) == ((), frozenset(), "")
    assert not found.takes_tokens
    assert found.failed_credentials_per_minute == 300
    for loopback in ("127.0.0.1", "::1"):
        assert any(ip_address(loopback) in network for network in found.trusted_networks())
    assert not any(ip_address("10.0.0.1") in network for network in found.trusted_networks())


@pytest.mark.parametrize(
    ("given", "peppers"),
    [
        (LONG, [LONG]),
        (f"{LONG}1,{LONG}2", [f"{LONG}1", f"{LONG}2"]),
        (f" {LONG}2 , {LONG}1 ,", [f"{LONG}2", f"{LONG}1"]),
        (f"{LONG},{LONG}", [LONG]),
        ("p" * 32, ["p" * 32]),
        ("ä" * 16, ["ä" * 16]),
    ],
)
def test_peppers_are_taken_in_their_order(given: str, peppers: list[str]) -> None:
    assert settings(KEY_PEPPER=given).peppers() == tuple(pepper.encode() for pepper in peppers)


@pytest.mark.parametrize("given", ["secret", "s" * 31, f"{LONG},secret", f"secret,{LONG}"])
def test_a_pepper_that_could_be_guessed_is_refused(given: str) -> None:
    assert refusal(KEY_PEPPER=given).startswith("WAYPOST_KEY_PEPPER must be 32 characters or more")


def test_the_pepper_is_not_shown() -> None:
    found = settings(KEY_PEPPER=f"{LONG}1,{LONG}2", DATABASE_URL=DATABASE)
    assert "secret" not in repr(found)
    assert found.effective()["WAYPOST_KEY_PEPPER"] == "********"
    assert next(info for info in TokenSettings.infos() if info.env == "WAYPOST_KEY_PEPPER").secret


def test_the_database_of_keys_may_have_a_role_of_its_own() -> None:
    assert settings(DATABASE_URL=DATABASE).identity_dsn() == DATABASE
    both = settings(DATABASE_URL=DATABASE, DATABASE_IDENTITY_URL=f"{DATABASE}-identity")
    assert both.identity_dsn() == f"{DATABASE}-identity"
    assert refusal(DATABASE_IDENTITY_URL="mysql://x").startswith("WAYPOST_DATABASE_IDENTITY_URL ")


def test_operators_are_named_by_subject() -> None:
    assert settings(OPERATORS=" ada , bob@example.org,").operator_subjects() == {"ada", "bob@example.org"}
    assert settings(OPERATORS=" , ").operator_subjects() == frozenset()


@pytest.mark.parametrize("given", ["0", "-1", "many", "1000001"])
def test_wrong_credentials_have_a_bound(given: str) -> None:
    assert refusal(FAILED_CREDENTIALS_PER_MINUTE=given).startswith("WAYPOST_FAILED_CREDENTIALS_PER_MINUTE ")


@pytest.mark.parametrize("networks", ["envoy", "10.0.0.1/8", "10.0.0.0/8,", "10.0.0.0/33", "*"])
def test_proxies_are_networks(networks: str) -> None:
    assert refusal(TRUSTED_PROXIES=networks).startswith("WAYPOST_TRUSTED_PROXIES ")
