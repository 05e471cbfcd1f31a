"""A hot port's settings: where it listens, and that every bound reaches it."""

from __future__ import annotations

import dataclasses

import pytest

from waypost.rpc.hot_options import HotServerOptions
from waypost.rpc.hot_settings import HotPortSettings
from waypost.settings import BadSettings


def test_defaults_are_those_of_the_port_itself() -> None:
    options = HotPortSettings().hot_options("gateway", 50061, 65_536)
    assert options == HotServerOptions(name="gateway", port=50061)
    assert options.host == "127.0.0.1"


def test_every_bound_can_be_set() -> None:
    infos = [info for info in HotPortSettings.infos() if info.env.startswith("WAYPOST_HOT_")]
    own = {"WAYPOST_HOT_PORTS": "false", "WAYPOST_HOT_HOST": "::1", "WAYPOST_HOT_MAX_WAITING_BYTES": "3000000"}
    own |= {"WAYPOST_HOT_MAX_METADATA_BYTES": "5000", "WAYPOST_DEFAULT_DEADLINE_MS": "4000"}
    env = {info.env: "7" for info in infos} | own
    settings = HotPortSettings.from_env(env)
    default, changed = HotServerOptions(), settings.hot_options("ratelimiter", 1, 2)
    assert not settings.hot_ports
    same = [f.name for f in dataclasses.fields(default) if getattr(default, f.name) == getattr(changed, f.name)]
    assert same == []
    assert changed.message_seconds == 4.0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "unix:/run/waypost"])  # noqa: S104 - who says so gets it
def test_a_host_is_an_address_or_a_folder(host: str) -> None:
    assert HotPortSettings.from_env({"WAYPOST_HOT_HOST": host}).hot_host == host


@pytest.mark.parametrize("host", ["localhost", "unix:run", "unix:", "127.0.0.1:50061"])
def test_anything_else_is_refused_by_name(host: str) -> None:
    with pytest.raises(BadSettings, match="WAYPOST_HOT_HOST must"):
        HotPortSettings.from_env({"WAYPOST_HOT_HOST": host})
