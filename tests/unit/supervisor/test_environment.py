"""What each process gets to see."""

from pathlib import Path

import pytest

import native
from waypost.settings import BadSettings
from waypost.supervisor import environment
from waypost.supervisor.settings import SupervisorSettings

NAMES = {
    "gateway": {
        "WAYPOST_HOST", "WAYPOST_HOT_PORTS", "WAYPOST_HOT_HOST", "WAYPOST_GATEWAY_HOT_PORT",
        "WAYPOST_GATEWAY_CONTROL_PORT", "WAYPOST_GATEWAY_WEB_PORT", "WAYPOST_PUBLIC_URL",
        "WAYPOST_DATABASE_URL", "WAYPOST_DATABASE_API_URL", "WAYPOST_DATABASE_REDIRECT_URL",
        "WAYPOST_DATABASE_IDENTITY_URL", "WAYPOST_DATABASE_OPERATOR_URL", "WAYPOST_KEY_PEPPER",
        "WAYPOST_ANONYMOUS_CREATE", "WAYPOST_RATELIMITER_ADDRESS", "WAYPOST_TRUSTED_PROXIES",
    },
    "ratelimiter": {
        "WAYPOST_HOST", "WAYPOST_HOT_PORTS", "WAYPOST_HOT_HOST", "WAYPOST_RATELIMITER_HOT_PORT",
        "WAYPOST_RATELIMITER_CONTROL_PORT", "WAYPOST_LIMITS_DIR", "WAYPOST_DATABASE_URL",
        "WAYPOST_DATABASE_IDENTITY_URL", "WAYPOST_DATABASE_LIMITER_URL", "WAYPOST_KEY_PEPPER",
    },
    "workers": {
        "WAYPOST_WORKERS_CONTROL_PORT", "WAYPOST_DATABASE_URL", "WAYPOST_DATABASE_SWEEPER_URL",
        "WAYPOST_DATABASE_IDENTITY_URL", "WAYPOST_KEY_PEPPER",
    },
}  # fmt: skip
URLS = {
    "waypost_api": "postgresql://waypost_api:a@/waypost",
    "waypost_redirect": "postgresql://waypost_redirect:r@/waypost",
    "waypost_sweeper": "postgresql://waypost_sweeper:s@/waypost",
    "waypost_relay": "postgresql://waypost_relay:y@/waypost",
    "waypost_identity": "postgresql://waypost_identity:i@/waypost",
    "waypost_operator": "postgresql://waypost_operator:o@/waypost",
    "waypost_limiter": "postgresql://waypost_limiter:l@/waypost",
}
PEPPER = "p" * 32


def _of(service: str, settings: SupervisorSettings, **env: str) -> dict[str, str]:
    return environment.for_service(service, NAMES[service], env, settings, Path("/data"), URLS, PEPPER)


def test_a_service_never_sees_the_database_urls_of_another() -> None:
    settings = SupervisorSettings()
    seen = {service: _of(service, settings) for service in NAMES}
    assert seen["gateway"]["WAYPOST_DATABASE_API_URL"] == URLS["waypost_api"]
    assert seen["gateway"]["WAYPOST_DATABASE_REDIRECT_URL"] == URLS["waypost_redirect"]
    assert seen["gateway"]["WAYPOST_DATABASE_OPERATOR_URL"] == URLS["waypost_operator"]
    assert seen["ratelimiter"]["WAYPOST_DATABASE_LIMITER_URL"] == URLS["waypost_limiter"]
    assert seen["workers"]["WAYPOST_DATABASE_SWEEPER_URL"] == URLS["waypost_sweeper"]
    for service, env in seen.items():
        secrets = {value for value in env.values() if value.startswith("postgresql://")}
        assert secrets == {URLS[role] for role in environment.DATABASE_ROLES[service].values()}


def test_a_service_sees_its_own_settings_only() -> None:
    given = {
        "PATH": "/bin",
        "WAYPOST_TRUSTED_PROXIES": "10.0.0.0/8",
        "WAYPOST_LIMITS_DIR": "limits",
        "WAYPOST_REDIS_URL": "redis://",
    }
    for service, names in NAMES.items():
        env = _of(service, SupervisorSettings(), **given)
        assert env["PATH"] == "/bin"
        assert {name for name in env if name.startswith("WAYPOST_")} <= names
    assert _of("gateway", SupervisorSettings(), **given)["WAYPOST_TRUSTED_PROXIES"] == "10.0.0.0/8"
    assert _of("ratelimiter", SupervisorSettings(), **given)["WAYPOST_LIMITS_DIR"] == "limits"


def test_moved_ports_reach_those_who_use_them() -> None:
    settings = SupervisorSettings(ratelimiter_control_port=6000, http_port=6001, hot_ports=False)
    gateway = _of("gateway", settings)
    assert gateway["WAYPOST_RATELIMITER_ADDRESS"] == "127.0.0.1:6000"
    assert gateway["WAYPOST_PUBLIC_URL"] == "http://127.0.0.1:6001"
    assert _of("ratelimiter", settings)["WAYPOST_RATELIMITER_CONTROL_PORT"] == "6000"
    assert _of("gateway", settings, WAYPOST_RATELIMITER_ADDRESS="a:1")["WAYPOST_RATELIMITER_ADDRESS"] == "a:1"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:6003"), ("::1", "[::1]:6003"), ("unix:/run/w", "unix:/run/w/ratelimiter.sock")],
)
def test_the_gateway_asks_the_limiter_on_its_hot_port(monkeypatch: pytest.MonkeyPatch, host: str, address: str) -> None:
    monkeypatch.setattr(native, "HOT_PORT", True)
    settings = SupervisorSettings(hot_host=host, ratelimiter_hot_port=6003)
    assert _of("gateway", settings)["WAYPOST_RATELIMITER_ADDRESS"] == address


def test_what_is_said_of_hot_ports_reaches_those_who_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "HOT_PORT", True)
    given = {
        "WAYPOST_HOT_HOST": "::1",
        "WAYPOST_HOT_PORTS": "yes",
        "WAYPOST_GATEWAY_HOT_PORT": "6002",
        "WAYPOST_RATELIMITER_HOT_PORT": "6003",
    }
    settings = SupervisorSettings.from_env(given)
    own = {service: {name for name in _of(service, settings, **given) if "_HOT_" in name} for service in NAMES}
    shared = {"WAYPOST_HOT_HOST", "WAYPOST_HOT_PORTS"}
    assert own == {
        "gateway": {*shared, "WAYPOST_GATEWAY_HOT_PORT"},
        "ratelimiter": {*shared, "WAYPOST_RATELIMITER_HOT_PORT"},
        "workers": set(),
    }
    for service in ("gateway", "ratelimiter"):
        seen = _of(service, settings, **given)
        assert (seen["WAYPOST_HOT_HOST"], seen["WAYPOST_HOT_PORTS"]) == ("::1", "yes")
        assert environment.names_of(service) >= own[service]
    assert _of("gateway", SupervisorSettings(gateway_hot_port=6004))["WAYPOST_GATEWAY_HOT_PORT"] == "6004"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "unix:/run/waypost", "192.0.2.1", "0.0.0.0"])  # noqa: S104
def test_hot_ports_that_only_the_edge_reaches_have_its_bounds(host: str) -> None:
    given = {"WAYPOST_HOT_HOST": host, "WAYPOST_HOT_WRITE_SECONDS": "7"}
    settings = SupervisorSettings.from_env(given, environment.known_names())
    names = environment.names_of("ratelimiter")
    seen = environment.for_service("ratelimiter", names, given, settings, Path("/data"), URLS, PEPPER)
    private = host not in ("192.0.2.1", "0.0.0.0")  # noqa: S104
    assert seen.get("WAYPOST_HOT_MAX_RESETS") == ("100000" if private else None)
    assert seen["WAYPOST_HOT_WRITE_SECONDS"] == "7"


def test_an_external_database_is_handed_to_those_who_use_it() -> None:
    url = "postgresql://me:secret@db/waypost"
    settings = SupervisorSettings.from_env({"WAYPOST_DATABASE_URL": url})
    for service in NAMES:
        urls = {value for value in _of(service, settings).values() if value.startswith("postgresql://")}
        assert urls == ({url} if service in environment.USES_DATABASE else set())


def test_every_service_makes_digests_under_one_pepper() -> None:
    for service in NAMES:
        assert _of(service, SupervisorSettings())["WAYPOST_KEY_PEPPER"] == PEPPER
        given = "q" * 32
        assert _of(service, SupervisorSettings(), WAYPOST_KEY_PEPPER=given)["WAYPOST_KEY_PEPPER"] == given


def test_a_pepper_that_is_too_short_is_refused_before_anything_starts() -> None:
    with pytest.raises(BadSettings, match="WAYPOST_KEY_PEPPER must be 32 characters or more") as caught:
        environment.check({"WAYPOST_KEY_PEPPER": "sec-ret"}, SupervisorSettings())
    assert "sec-ret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "gateway", "open_to_all"),
    [
        ({}, "true", True),
        ({"WAYPOST_ANONYMOUS_CREATE": "off"}, "off", False),
        ({"WAYPOST_ANONYMOUS_CREATE": " "}, "true", True),
        ({"WAYPOST_DATABASE_URL": "postgresql://db/waypost"}, None, False),
        ({"WAYPOST_DATABASE_URL": "postgresql://db/waypost", "WAYPOST_ANONYMOUS_CREATE": "1"}, "1", True),
    ],
)
def test_links_are_made_without_credentials_only_on_a_machine_by_itself_unless_told(
    env: dict[str, str], gateway: str | None, open_to_all: bool
) -> None:
    settings = SupervisorSettings.from_env(env, environment.known_names())
    environment.check(env, settings)
    assert _of("gateway", settings, **env).get("WAYPOST_ANONYMOUS_CREATE") == gateway
    assert environment.anonymous_create(env, settings) is open_to_all


def test_role_urls_without_a_database_are_refused() -> None:
    env = {"WAYPOST_DATABASE_API_URL": "postgresql://elsewhere"}
    with pytest.raises(BadSettings, match="WAYPOST_DATABASE_API_URL is set, but WAYPOST_DATABASE_URL is not"):
        environment.check(env, SupervisorSettings())


def test_names_are_read_from_the_service_itself() -> None:
    assert environment.names_of("gateway") >= set(environment.DATABASE_ROLES["gateway"])
