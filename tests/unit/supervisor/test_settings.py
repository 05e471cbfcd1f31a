"""The supervisor's settings: defaults that depend on others, and the ports of a mesh."""

import os
from pathlib import Path

import pytest

import native
from waypost.settings import BadSettings
from waypost.supervisor.settings import SupervisorSettings

HOT = {"WAYPOST_GATEWAY_HOT_PORT", "WAYPOST_RATELIMITER_HOT_PORT"}


def test_the_default_data_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SupervisorSettings()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert settings.data_path({}) == Path("/var/lib/waypost")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert settings.data_path({"HOME": "/home/ada"}) == Path("/home/ada/.local/share/waypost")
    assert settings.data_path({"HOME": "/home/ada", "XDG_DATA_HOME": "/srv"}) == Path("/srv/waypost")
    assert settings.data_path({"HOME": "/home/ada", "XDG_DATA_HOME": "srv"}) == Path("/home/ada/.local/share/waypost")


def test_a_given_data_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SupervisorSettings(data_dir="mine").data_path({}) == tmp_path / "mine"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the hot port was built."""
    monkeypatch.setattr(native, "HOT_PORT", True)


@pytest.mark.usefixtures("built")
def test_every_port_is_a_listener_and_can_be_moved() -> None:
    env = {listener.setting: str(20000 + n) for n, listener in enumerate(SupervisorSettings().listeners())}
    assert len(env) == 11
    moved = SupervisorSettings.from_env(env)
    assert {listener.setting: str(listener.port) for listener in moved.listeners()} == env


def test_addresses_for_people_follow_the_ports() -> None:
    settings = SupervisorSettings(http_port=18080, http_host="0.0.0.0")  # noqa: S104
    assert settings.http_address == settings.public_address == "http://127.0.0.1:18080"
    assert SupervisorSettings(http_host="::1").http_address == "http://[::1]:8080"
    assert SupervisorSettings(public_url="https://go.example.com").public_address == "https://go.example.com"


def test_envoy_listens_on_an_address_not_a_name() -> None:
    with pytest.raises(BadSettings, match="WAYPOST_HTTP_HOST must be an IP address"):
        SupervisorSettings.from_env({"WAYPOST_HTTP_HOST": "localhost"})


def test_a_port_that_is_none_is_named() -> None:
    with pytest.raises(BadSettings, match="WAYPOST_HTTP_PORT"):
        SupervisorSettings.from_env({"WAYPOST_HTTP_PORT": "99999"})


@pytest.mark.usefixtures("built")
def test_unary_calls_go_to_hot_ports_wherever_those_listen() -> None:
    settings = SupervisorSettings.from_env({"WAYPOST_HOST": "192.0.2.1", "WAYPOST_GATEWAY_HOT_PORT": "6001"})
    assert settings.unary_calls("gateway") == ("127.0.0.1", 6001)
    assert settings.unary_calls("ratelimiter") == ("127.0.0.1", 50062)
    assert {one.host for one in settings.listeners() if one.setting in HOT} == {"127.0.0.1"}
    everywhere = SupervisorSettings.from_env({"WAYPOST_HOT_HOST": "::"})
    assert everywhere.unary_calls("gateway") == ("::1", 50061)
    assert {one.host for one in everywhere.listeners() if one.setting in HOT} == {"::"}


@pytest.mark.usefixtures("built")
def test_hot_ports_that_are_sockets_take_no_port() -> None:
    settings = SupervisorSettings.from_env({"WAYPOST_HOT_HOST": "unix:/run/waypost"})
    paths = [Path("/run/waypost/gateway.sock"), Path("/run/waypost/ratelimiter.sock")]
    assert [settings.unary_calls(service) for service in ("gateway", "ratelimiter")] == paths
    assert list(settings.sockets()) == paths
    assert not HOT & {one.setting for one in settings.listeners()}


@pytest.mark.parametrize("env", [{"WAYPOST_HOT_PORTS": "false"}, {}], ids=["not wanted", "not built"])
@pytest.mark.parametrize("host", ["127.0.0.1", "unix:/run/waypost"])
def test_without_hot_ports_unary_calls_go_to_control_ports(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], host: str
) -> None:
    monkeypatch.setattr(native, "HOT_PORT", bool(env))
    settings = SupervisorSettings.from_env({**env, "WAYPOST_HOT_HOST": host, "WAYPOST_HOST": "192.0.2.1"})
    assert settings.unary_calls("gateway") == ("192.0.2.1", 50051)
    assert settings.unary_calls("ratelimiter") == ("192.0.2.1", 50052)
    assert not HOT & {one.setting for one in settings.listeners()}
    assert not list(settings.sockets())


def test_hot_ports_listen_on_an_address_or_in_a_folder() -> None:
    for host in ("localhost", "unix:run", "unix:"):
        with pytest.raises(BadSettings, match="WAYPOST_HOT_HOST must"):
            SupervisorSettings.from_env({"WAYPOST_HOT_HOST": host})
