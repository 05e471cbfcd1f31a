"""Whom the command trusts, and by which name it knows the Waypost on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from waypost.cli.settings import server_of
from waypost.client.channel import Server
from waypost.settings import BadSettings

TLS = {"WAYPOST_TLS_CERT": "/c.pem", "WAYPOST_TLS_KEY": "/k.pem"}
PEM = "-----BEGIN CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("env", "server"),
    [
        ({}, Server("127.0.0.1:8443", tls=True)),
        ({"WAYPOST_HTTPS_PORT": "9443", "WAYPOST_HTTP_HOST": "::"}, Server("[::1]:9443", tls=True)),
        (
            {"WAYPOST_PUBLIC_URL": "https://go.example/s"},
            Server("127.0.0.1:8443", tls=True, name="go.example"),
        ),
        ({"WAYPOST_SERVER": "https://other.example"}, Server("other.example:443", tls=True)),
        ({"WAYPOST_PUBLIC_URL": "https://go.example", "WAYPOST_SERVER": "h:1"}, Server("h:1")),
    ],
)
def test_the_waypost_on_this_machine_is_known_by_its_public_name(env: dict[str, str], server: Server) -> None:
    assert server_of({**TLS, **env}, None) == server


def test_an_authority_is_trusted_for_https_alone(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(PEM)
    env = {"WAYPOST_CA_CERT": str(path)}
    assert server_of(env, "https://go.example") == Server("go.example:443", tls=True, trust=PEM.encode())
    assert server_of({**env, **TLS}, None).trust == PEM.encode()
    assert server_of(env, "go.example:8080").trust is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "is no file of certificates in PEM"),
        ("-----BEGIN PRIVATE KEY-----", "is no file of certificates in PEM"),
        (PEM + "x" * 4_194_304, "is no file of certificates in PEM"),
    ],
)
def test_a_file_of_authorities_that_is_none_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadSettings) as caught:
        server_of({"WAYPOST_CA_CERT": str(path)}, "https://go.example")
    assert str(caught.value) == f"WAYPOST_CA_CERT: {path} {said}"
