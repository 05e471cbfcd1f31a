"""A mesh under a public name: what short links begin with, and where they may not lead."""

from __future__ import annotations

import pytest

from tests.e2e.api import bad_fields, calling_from
from tests.support.mesh import Mesh


def test_short_links_begin_with_the_public_address(strict: Mesh) -> None:
    with calling_from("127.0.0.31", strict) as client:
        link = client.post("/api/v1/shorten", json={"url": "https://a.example/"}).json()
        assert link["short_url"] == f"https://Go.Example.com/s/{link['short_code']}"
        assert client.get(f"/{link['short_code']}").headers["location"] == "https://a.example/"
        assert "https://Go.Example.com/s/api/v1/shorten" in client.get("/").text


@pytest.mark.parametrize(
    ("address", "url"),
    [
        pytest.param("127.0.0.41", "https://go.example.com/s/abc", id="54"),
        pytest.param("127.0.0.42", "http://GO.EXAMPLE.COM", id="55 capitals"),
        pytest.param("127.0.0.43", "https://go.example.com./x", id="55 a final dot"),
        pytest.param("127.0.0.44", "https://go.example.com:8443/x", id="55 a port"),
        pytest.param("127.0.0.45", "https://ｇｏ.example.com/", id="55 full width"),
    ],
)
def test_no_link_leads_to_its_own_host(strict: Mesh, address: str, url: str) -> None:
    with calling_from(address, strict) as client:
        assert "own host" in bad_fields(client.post("/api/v1/shorten", json={"url": url}))["url"]


@pytest.mark.parametrize(
    ("address", "urls"),
    [
        ("127.0.0.51", ["http://127.0.0.1", "http://127.1", "http://2130706433", "http://0x7f.1", "http://0177.0.0.1"]),
        (
            "127.0.0.52",
            ["http://0/", "http://[::1]", "http://[::]", "http://[::ffff:127.0.0.1]", "http://[64:ff9b::7f00:1]"],
        ),
        ("127.0.0.53", ["http://[2002:7f00:1::]", "http://[fe80::1]", "http://169.254.169.254", "http://100.64.0.1"]),
        ("127.0.0.54", ["http://metadata.google.internal", "http://10.1.2.3", "http://localhost.", "http://intranet/"]),
    ],
)
def test_no_link_leads_into_a_private_network(strict: Mesh, address: str, urls: list[str]) -> None:
    """Rows 29 to 45, which are refused at create where the operator says so."""
    with calling_from(address, strict) as client:
        for url in urls:
            assert bad_fields(client.post("/api/v1/shorten", json={"url": url})).keys() == {"url"}
