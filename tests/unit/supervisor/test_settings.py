"""The supervisor's settings: defaults that depend on others, and the ports of a mesh."""

import os
from pathlib import Path

import pytest

from waypost.settings import BadSettings
from waypost.supervisor.settings import SupervisorSettings


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


def test_every_port_is_a_listener_and_can_be_moved() -> None:
    env = {listener.setting: str(20000 + n) for n, listener in enumerate(SupervisorSettings().listeners())}
    assert len(env) == 9
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
