"""Where the Waypost is that a command talks to."""

from __future__ import annotations

import pytest

from tests.support.addresses import FORMS
from waypost.cli.settings import CliSettings, server_of
from waypost.client.channel import Server
from waypost.settings import BadSettings


@pytest.mark.parametrize(("text", "server"), FORMS)
def test_forms(text: str, server: Server) -> None:
    assert server_of({}, text) == server
    assert server_of({"WAYPOST_SERVER": text}, None) == server
    assert server_of({"WAYPOST_SERVER": "127.0.0.1:1"}, text) == server


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", ":8080", "host:", "host:x", "host:0", "host:65536", "::1:8080", "a:1:2", "host:8080/api"),
        *(
            "ftp://host:1",
            "://host:1",
            "https://",
            "https://host/s",
            "https://user@host",
            "http://host?x",
            "http://[::1",
        ),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadSettings) as caught:
        server_of({}, text)
    (problem,) = caught.value.problems
    assert problem.startswith("--server must be host:port")


@pytest.mark.parametrize(
    ("env", "address"),
    [
        ({}, "127.0.0.1:8080"),
        ({"WAYPOST_HTTP_PORT": "9000"}, "127.0.0.1:9000"),
        ({"WAYPOST_HTTP_HOST": "0.0.0.0"}, "127.0.0.1:8080"),  # noqa: S104 - where nobody listens
        ({"WAYPOST_HTTP_HOST": "::"}, "[::1]:8080"),
        ({"WAYPOST_HTTP_HOST": "192.0.2.7"}, "192.0.2.7:8080"),
    ],
)
def test_without_a_server_it_is_the_one_on_this_machine(env: dict[str, str], address: str) -> None:
    assert server_of(env, None) == Server(address)


def test_no_secret_is_shown() -> None:
    settings = CliSettings.from_env({"WAYPOST_API_KEY": "wp_hunter2", "WAYPOST_TOKEN": "hunter2"})
    assert "hunter2" not in repr(settings) + str(settings.effective())
    assert settings.effective()["WAYPOST_TOKEN"] == "********"


@pytest.mark.parametrize("option", [None, "127.0.0.1:8080"])
def test_a_name_that_is_no_setting_is_refused(option: str | None) -> None:
    with pytest.raises(BadSettings, match="did you mean WAYPOST_SERVER"):
        server_of({"WAYPOST_SERVR": "127.0.0.1:8080"}, option)
