"""The gateway's settings: what is refused, and what follows from what is not."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.settings import Settings
from waypost.settings import BadSettings

DATABASE = "postgresql://waypost:secret@db/waypost"
PEPPER = "secret pepper of more than 32 characters"
NEEDED = {"WAYPOST_DATABASE_URL": DATABASE, "WAYPOST_KEY_PEPPER": PEPPER}
JOBS = ("API", "REDIRECT", "IDENTITY", "OPERATOR")
OWN_URLS = {f"WAYPOST_DATABASE_{job}_URL": f"{DATABASE}-{job}" for job in JOBS}


def settings(**env: str) -> Settings:
    """Settings from variables without their prefix."""
    return Settings.from_env(NEEDED | {f"WAYPOST_{name}": env[name] for name in env})


def refusal(**env: str) -> str:
    with pytest.raises(BadSettings) as caught:
        settings(**env)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_defaults() -> None:
    found = settings()
    assert (found.control_port, found.web_port, found.metrics_port) == (50051, 50071, 9101)
    assert any(ip_address("127.0.0.1") in network for network in found.trusted_networks())
    assert any(ip_address("::1") in network for network in found.trusted_networks())


def test_database_is_needed() -> None:
    for missing in OWN_URLS:
        env = {name: url for name, url in OWN_URLS.items() if name != missing}
        with pytest.raises(BadSettings, match=rf"^WAYPOST_DATABASE_URL must be set \(or else {missing}\)$"):
            Settings.from_env(env | {"WAYPOST_KEY_PEPPER": PEPPER})
    with pytest.raises(BadSettings, match=r"^WAYPOST_DATABASE_URL must be set"):
        Settings.from_env({"WAYPOST_KEY_PEPPER": PEPPER})
    assert Settings.from_env(OWN_URLS | {"WAYPOST_KEY_PEPPER": PEPPER}).database_url.get_secret_value() == ""


def test_role_of_its_own_goes_first() -> None:
    for found, suffixes in (
        (Settings.from_env(NEEDED | OWN_URLS), [f"-{job}" for job in JOBS]),
        (settings(), [""] * len(JOBS)),
    ):
        dsns = [found.api_dsn(), found.redirect_dsn(), found.identity_dsn(), found.operator_dsn()]
        assert dsns == [DATABASE + suffix for suffix in suffixes]


def test_pepper_is_needed() -> None:
    with pytest.raises(BadSettings, match=r"^WAYPOST_KEY_PEPPER must be set: .*openssl rand -hex 32"):
        Settings.from_env({"WAYPOST_DATABASE_URL": DATABASE})


def test_nobody_makes_links_without_credentials_unless_told_so() -> None:
    assert not settings().anonymous_create
    assert settings(ANONYMOUS_CREATE="true").anonymous_create


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://go.example", "https://go.example"),
        ("https://go.example/", "https://go.example"),
        ("http://go.example:8080/s/", "http://go.example:8080/s"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_public_url(given: str, kept: str) -> None:
    assert settings(PUBLIC_URL=given).public_url == kept


@pytest.mark.parametrize(
    "url", ["go.example", "ftp://go.example", "https://", "https://go.example/?a", "https://x/#b", "http://["]
)
def test_public_url_is_refused(url: str) -> None:
    assert refusal(PUBLIC_URL=url).startswith("WAYPOST_PUBLIC_URL ")


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://go.example:8443", ("go.example",)),
        ("http://localhost:8080", ("localhost",)),
        ("http://[::1]:8080", ("::1",)),
    ],
)
def test_own_hosts(url: str, hosts: tuple[str, ...]) -> None:
    assert settings(PUBLIC_URL=url).own_hosts() == hosts


def test_trusted_proxies() -> None:
    found = settings(TRUSTED_PROXIES=" 10.0.0.0/8 , fd00::/8,192.0.2.1")
    assert [str(network) for network in found.trusted_networks()] == ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]


@pytest.mark.parametrize("networks", ["envoy", "10.0.0.1/8", "10.0.0.0/8,", "10.0.0.0/33", "*"])
def test_trusted_proxies_are_refused(networks: str) -> None:
    assert refusal(TRUSTED_PROXIES=networks).startswith("WAYPOST_TRUSTED_PROXIES ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_CONTROL_PORT", "65536"),
        ("GATEWAY_WEB_PORT", "-1"),
        ("GATEWAY_METRICS_PORT", "http"),
        ("GATEWAY_DATABASE_POOL", "0"),
        ("GATEWAY_CACHE_BYTES", "1000"),
        ("GATEWAY_MAX_STALE_SECONDS", "86401"),
        ("RATELIMITER_TIMEOUT_MS", "0"),
        ("GATEWAY_LOCAL_CREATES_PER_MINUTE", "0"),
        ("ALLOW_PRIVATE_HOSTS", "perhaps"),
        ("ANONYMOUS_CREATE", "perhaps"),
        ("DATABASE_API_URL", "mysql://x"),
        ("DATABASE_OPERATOR_URL", "mysql://x"),
    ],
)
def test_value_out_of_bounds_is_refused(name: str, value: str) -> None:
    assert refusal(**{name: value}).startswith(f"WAYPOST_{name} ")


def test_secrets_are_not_shown() -> None:
    found = settings()
    assert "secret" not in repr(found)
    assert "secret" not in str(found.effective())
    assert found.effective()["WAYPOST_KEY_PEPPER"] == "********"
