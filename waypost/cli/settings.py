"""What the `waypost` command itself can be told by the environment, and what of it says where Waypost is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from waypost.client.channel import Server
from waypost.settings import BadSettings, Settings, setting
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings

MAX_CA_BYTES = 4 * 1024 * 1024
"""Of the authorities' file: those that the world trusts have a quarter of a megabyte."""


class CliSettings(Settings):
    """Settings of the commands that talk to a running Waypost."""

    server: str = setting(
        "WAYPOST_SERVER",
        "",
        "Waypost that `waypost links` talks to: host:port, or https://host for one behind TLS. Empty: that of `waypost "
        "up` with the same settings.",
    )
    ca_cert: str = setting(
        "WAYPOST_CA_CERT",
        "",
        "PEM file of the certificate authorities that `waypost links` trusts, or of a certificate that has signed "
        "itself. Empty: the system's.",
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
        with Path(path).expanduser().open("rb") as file:
            content = file.read(MAX_CA_BYTES + 1)
    except OSError as error:
        raise BadSettings([f"WAYPOST_CA_CERT: {path} cannot be read: {error.strerror or error}"]) from None
    if len(content) > MAX_CA_BYTES or b"-----BEGIN CERTIFICATE-----" not in content:
        raise BadSettings([f"WAYPOST_CA_CERT: {path} is no file of certificates in PEM"])
    return content


def _parse(name: str, text: str) -> Server:
    try:
        return Server.parse(text)
    except ValueError as error:
        raise BadSettings([f"{name} {error}"]) from None
