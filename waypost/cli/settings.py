"""What the `waypost` command itself can be told by the environment, and what of it says where Waypost is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from waypost.rpc.ports import address
from waypost.settings import BadSettings, Settings, setting
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}


class CliSettings(Settings):
    """Settings of the commands that talk to a running Waypost."""

    server: str = setting(
        "WAYPOST_SERVER",
        "",
        "Waypost that `waypost links` talks to: host:port, or https://host for one behind TLS. Empty: that of `waypost "
        "up` with the same settings.",
    )


@dataclass(frozen=True, slots=True)
class Server:
    """Where a Waypost takes gRPC: `host:port`, and whether it expects TLS."""

    address: str
    tls: bool = False


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
    scheme, separator, rest = text.rpartition("://")
    default = _DEFAULT_PORTS.get(scheme.lower()) if separator else None
    known = default is not None or not separator
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port or default
    except ValueError:
        host = port = None
    # A path, a query or a user name would be lost in silence.
    if not known or not host or not port or "@" in rest or parts.netloc != rest.removesuffix("/"):
        raise BadSettings([f"{name} must be host:port, http://host:port or https://host, not {text!r}"])
    return Server(address(host, port), tls=scheme.lower() == "https")
