"""What the `waypost` command itself can be told by the environment, and what of it says where Waypost is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from waypost.client.channel import Server
from waypost.client.trust import read_authorities
from waypost.settings import BadSettings, Settings, setting
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings


class CliSettings(Settings):
    """Settings of the commands that talk to a running Waypost."""

    server: str = setting(
        "WAYPOST_SERVER",
        "",
        "Waypost that `waypost` commands talk to: host:port, or https://host for one behind TLS. Empty: that of "
        "`waypost up` with the same settings.",
    )
    ca_cert: str = setting(
        "WAYPOST_CA_CERT",
        "",
        "PEM file of the certificate authorities that `waypost` commands trust, or of a certificate that has signed "
        "itself. Empty: the system's.",
    )
    api_key: SecretStr = setting(
        "WAYPOST_API_KEY",
        SecretStr(""),
        "API key that `waypost` commands call with. Without any credentials, a server on this machine's loopback gets "
        "the operator key that `waypost up` has put in the data directory, if it can be read.",
    )
    api_key_file: str = setting("WAYPOST_API_KEY_FILE", "", "File with the API key, in place of WAYPOST_API_KEY.")
    token: SecretStr = setting(
        "WAYPOST_TOKEN",
        SecretStr(""),
        "Token of an identity provider that `waypost` commands call with, in place of an API key.",
    )
    workspace: str = setting(
        "WAYPOST_WORKSPACE",
        "",
        "Workspace that `waypost` commands work in, by its id. Empty: that of the key, or the caller's only one.",
    )
    insecure_credentials: bool = setting(
        "WAYPOST_INSECURE_CREDENTIALS",
        False,
        "Whether `waypost` commands send keys and tokens to other machines without TLS too: only for networks that are "
        "safe by themselves.",
    )


def server_of(env: Mapping[str, str], option: str | None) -> Server:
    """The Waypost to talk to: the one of `--server`, of WAYPOST_SERVER, else of `waypost up` on this machine.

    Raises `BadSettings`, also for names that are no settings.
    """
    known = known_names()
    settings = CliSettings.from_env(env, known)
    if option is not None:
        server = _parse("--server", option)
    elif settings.server:
        server = _parse("WAYPOST_SERVER", settings.server)
    else:
        up = SupervisorSettings.from_env(env, known)
        server = _parse("WAYPOST_HTTP_HOST", up.http_address)
        if up.tls and up.public_url:
            # Its certificate is for the public name, and not for this machine's own address.
            server = replace(server, name=up.public_host)
    return replace(server, trust=_authorities(settings.ca_cert)) if server.tls and settings.ca_cert else server


def _authorities(path: str) -> bytes:
    try:
        return read_authorities(Path(path).expanduser())
    except OSError as error:
        raise BadSettings([f"WAYPOST_CA_CERT: {path} cannot be read: {error.strerror or error}"]) from None
    except ValueError as error:
        raise BadSettings([f"WAYPOST_CA_CERT: {error}"]) from None


def _parse(name: str, text: str) -> Server:
    try:
        return Server.parse(text)
    except ValueError as error:
        raise BadSettings([f"{name} {error}"]) from None
