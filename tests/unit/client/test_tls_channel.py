"""Whom the client trusts, and by which name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import Authority, self_signed
from tests.support.link_server import LinkServer, serving
from waypost import Client
from waypost.client import Unreachable, trust
from waypost.client.channel import Server

AUTHORITY = Authority()


async def test_an_authority_and_a_name_can_be_given() -> None:
    pair = AUTHORITY.issue(names=("go.example",))
    async with serving(LinkServer(), tls=(pair.key.encode(), pair.chain.encode())) as port:
        here = Server(f"127.0.0.1:{port}", tls=True, name="go.example", trust=AUTHORITY.root.encode())
        async with Client(here) as client:
            assert (await client.create("https://example.com/", alias="talk")).short_code == "talk"
        # By the address alone it is not the one that the certificate is for.
        nameless = Server(here.address, tls=True, trust=here.trust)
        async with Client(nameless) as client:
            with pytest.raises(Unreachable, match=r"(?i)verif"):
                await client.get("talk")


async def test_a_certificate_that_signed_itself_can_be_the_authority() -> None:
    pair = self_signed()
    async with serving(LinkServer(), tls=(pair.key.encode(), pair.chain.encode())) as port:
        async with Client(f"https://127.0.0.1:{port}", root_certificates=pair.chain.encode()) as client:
            await client.create("https://example.com/", alias="talk")
        stranger = self_signed()
        async with Client(f"https://127.0.0.1:{port}", root_certificates=stranger.chain.encode()) as client:
            with pytest.raises(Unreachable):
                await client.get("talk")


def test_what_is_trusted_shows_in_no_representation() -> None:
    assert "CERTIFICATE" not in repr(Server("h:1", tls=True, trust=b"CERTIFICATE"))


@pytest.mark.parametrize("known", [True, False])
async def test_otherwise_the_authorities_of_the_system_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text(AUTHORITY.root if known else Authority().root)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    pair = AUTHORITY.issue()
    tls = pair.key.encode(), pair.chain.encode()
    async with serving(LinkServer(), tls=tls) as port, Client(f"https://127.0.0.1:{port}") as client:
        if known:
            await client.create("https://example.com/", alias="talk")
        else:
            with pytest.raises(Unreachable, match="handshake failed"):
                await client.create("https://example.com/", alias="talk")


def test_the_file_of_the_distribution_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "away"))
    roots = tmp_path / "roots.pem"
    monkeypatch.setattr(trust, "FILES", (str(tmp_path / "nowhere"), str(tmp_path / "empty"), str(roots)))
    (tmp_path / "empty").touch()
    assert trust.system_authorities() is None
    roots.write_text(AUTHORITY.root)
    assert trust.system_authorities() == AUTHORITY.root.encode()
