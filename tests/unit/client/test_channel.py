"""Where a server is, and the way there: proxies and TLS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.addresses import FORMS
from tests.support.link_server import LinkServer, serving
from tests.support.missing import missing
from waypost import Client
from waypost.client import Unreachable
from waypost.client.channel import Server


@pytest.mark.parametrize(("text", "server"), FORMS)
def test_forms(text: str, server: Server) -> None:
    assert Server.parse(text) == server
    assert Server.parse(server.url) == server


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", ":8080", "host:", "host:x", "host:0", "host:65536", "::1:8080", "a:1:2", "host:8080/api"),
        *("ftp://host:1", "://host:1", "https://", "https://host/s", "https://user@host", "http://host?x"),
        "http://[::1",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        Server.parse(text)
    with pytest.raises(ValueError, match="must be host:port"):
        Client(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serving(LinkServer()) as port, Client(f"http://{host}:{port}") as client:
        await client.create("https://example.com/")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[bytes, bytes]:
    """A key and a certificate for this machine that nobody else has signed."""
    if shutil.which("openssl") is None:
        missing("openssl is missing")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    return key.read_bytes(), certificate.read_bytes()


async def test_tls(certificate: tuple[bytes, bytes]) -> None:
    async with serving(LinkServer(), tls=certificate) as port:
        server = f"https://127.0.0.1:{port}"
        async with Client(server, root_certificates=certificate[1]) as client:
            assert (await client.create("https://example.com/", alias="talk")).short_code == "talk"
        # Whoever is not trusted is told nothing.
        async with Client(server) as client:
            with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("talk")
