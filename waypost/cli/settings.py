"""What the `waypost` command itself can be told by the environment, and what of it says where Waypost is."""

from __future__ import annotations

from collections.abc import Mapping

from waypost.client.channel import Server
from waypost.settings import BadSettings, Settings, setting
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings


class CliSettings(Settings):
    """Settings of the commands that talk to a running Waypost."""

    server: str = setting(
        "WAYPOST_SERVER",
        "",
        "Waypost that `waypost links` talks to: host:port, or https://host for one behind TLS. Empty: that of `waypost "
        "up` with the same settings.",
    )


def server_of(env: Mapping[str, str], option: str | None) -> Server:
    """The Waypost to talk to: the one of `--server`, of WAYPOST_SERVER, else of `waypost up` on this machine.

    Raises `BadSettings`, also for names that are no settings.
    """
    known = known_names()
    given = CliSettings.from_env(env, known).server
    if option is not None:
        return _parse("--server", option)
    if given:
        return _parse("WAYPOST_SERVER", given)
    return _parse("WAYPOST_HTTP_HOST", SupervisorSettings.from_env(env, known).http_address)


def _parse(name: str, text: str) -> Server:
    try:
        return Server.parse(text)
    except ValueError as error:
        raise BadSettings([f"{name} {error}"]) from None
