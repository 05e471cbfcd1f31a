"""`waypost up` with a certificate: HTTPS for browsers, programs and the command, and redirects for all others."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.e2e.api import fresh_alias
from tests.e2e.shell import DONE, NO_ANSWER, one_line, waypost
from tests.support.certificates import Authority, Pair
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh, mesh_running

PUBLIC = "go.example"
NAMES = (PUBLIC, "localhost")
"""Not the address at which this machine reaches itself, as with certificates from public authorities."""


@dataclass
class Secure:
    """A mesh with TLS, its files, and who vouches for them."""

    mesh: Mesh
    authority: Authority
    folder: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.mesh.ports['https']}"

    @property
    def env(self) -> dict[str, str]:
        """For commands on this machine that trust the authority."""
        return {**self.mesh.env, "WAYPOST_CA_CERT": str(self.folder / "ca.pem")}

    def client(self, *, http2: bool = False) -> httpx.Client:
        trusting = ssl.create_default_context(cadata=self.authority.root)
        key = headers_of(self.mesh.key_blocking())
        return httpx.Client(base_url=self.url, headers=key, verify=trusting, http2=http2, trust_env=False, timeout=20)

    def put(self, pair: Pair) -> None:
        (self.folder / "cert.pem").write_text(pair.chain)
        (self.folder / "key.pem").write_text(pair.key)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder, authority = tmp_path_factory.mktemp("tls"), Authority()
    (folder / "ca.pem").write_text(authority.root)
    env = {
        "WAYPOST_TLS_CERT": str(folder / "cert.pem"),
        "WAYPOST_TLS_KEY": str(folder / "key.pem"),
        "WAYPOST_PUBLIC_URL": f"https://{PUBLIC}",
    }
    pair = authority.issue(names=NAMES)
    (folder / "cert.pem").write_text(pair.chain)
    (folder / "key.pem").write_text(pair.key)
    with mesh_running(env=env) as mesh:
        yield Secure(mesh, authority, folder)


@pytest.mark.parametrize("http2", [False, True])
def test_a_link_is_made_and_followed_by_https(secure: Secure, http2: bool) -> None:
    alias = fresh_alias()
    with secure.client(http2=http2) as client:
        made = client.post("/api/v1/shorten", json={"url": "https://example.com/", "alias": alias})
        followed = client.get(f"/{alias}")
    assert made.json()["short_url"] == f"https://{PUBLIC}/{alias}"
    assert (followed.status_code, followed.headers["location"]) == (302, "https://example.com/")
    for response in (made, followed):
        assert response.headers["strict-transport-security"] == "max-age=31536000"


def test_nothing_is_made_without_tls(secure: Secure) -> None:
    alias = fresh_alias()
    with secure.client() as client:
        plain = client.post(
            f"{secure.mesh.http_url}/api/v1/shorten?a=b", json={"url": "https://example.com/", "alias": alias}
        )
        assert client.get(f"/api/v1/urls/{alias}").status_code == 404
    assert plain.status_code == 308
    assert plain.headers["location"] == "https://127.0.0.1/api/v1/shorten?a=b"


def test_people_are_told_the_address_of_https(secure: Secure) -> None:
    (ready,) = (event for event in secure.mesh.events if event["event"] == "ready")
    assert ready["url"] == f"https://127.0.0.1:{secure.mesh.ports['https']}"
    code, said, _ = waypost(secure.env, "config", "--json")
    assert code == DONE
    shown = json.loads(said)["waypost up"]
    assert shown["WAYPOST_TLS_CERT"] == str(secure.folder / "cert.pem")
    assert shown["WAYPOST_HSTS_SECONDS"] == "31536000"


def test_the_command_knows_the_waypost_on_this_machine_by_its_public_name(secure: Secure) -> None:
    alias = fresh_alias()
    made = waypost(secure.env, "links", "create", "https://example.com/", "--alias", alias)
    assert made == (DONE, f"https://{PUBLIC}/{alias}\n", "")


def test_the_command_calls_any_waypost_by_https_and_trusts_no_stranger(secure: Secure) -> None:
    alias = fresh_alias()
    create = ["links", "create", "https://example.com/", "--alias", alias]
    refused = one_line(waypost(secure.mesh.env, *create), NO_ANSWER)
    assert "is by nobody whom this machine trusts: name its authority with WAYPOST_CA_CERT" in refused
    by_address = f"https://127.0.0.1:{secure.mesh.ports['https']}"
    refused = one_line(waypost(secure.env, *create, "--server", by_address), NO_ANSWER)
    assert "is not for 127.0.0.1: call it by a name that it is for" in refused
    assert waypost(secure.env, *create, "--server", secure.url)[0] == DONE


async def test_a_new_certificate_is_served_without_a_restart(secure: Secure) -> None:
    envoy, said = secure.mesh.pid("envoy"), len(secure.mesh.events)
    pair = secure.authority.issue(names=NAMES)
    secure.put(pair)
    event = await secure.mesh.wait_event(event="certificate_changed", after=said)
    assert f"serial {pair.serial:X}" in event["detail"]
    async with asyncio.timeout(20):
        while await _shown(secure) != pair.serial:
            pass
    assert secure.mesh.pid("envoy") == envoy


async def test_an_envoy_that_died_comes_back_with_the_newest_certificate(secure: Secure) -> None:
    said = len(secure.mesh.events)
    pair = secure.authority.issue(names=NAMES)
    secure.put(pair)
    await secure.mesh.wait_event(event="certificate_changed", after=said)
    secure.mesh.kill("envoy")
    await secure.mesh.wait_event(process="envoy", state="ready", after=said)
    assert await _shown(secure) == pair.serial


async def _shown(secure: Secure) -> int:
    """The serial number that a new connection is shown."""
    trusting = ssl.create_default_context(cadata=secure.authority.root)
    _, writer = await asyncio.open_connection("localhost", secure.mesh.ports["https"], ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number
