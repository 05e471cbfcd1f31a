"""The documentation of the interface: a page that needs nobody else, and files that browsers need not fetch twice."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette

from gateway.docs import docs_routes
from gateway.words import is_reserved
from tools import vendor_swagger_ui

STATIC = Path(__file__).resolve().parents[3] / "gateway" / "static"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


class Loaded(HTMLParser):
    """What a page names in `src` and `href`, its inline scripts and styles, and its handlers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value or "")
            elif name.startswith("on") or name == "style":
                self.inline.append(f"{tag} {name}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=docs_routes())
    app.router.redirect_slashes = False
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://go.example/s/") as client:
        client.headers["accept-encoding"] = "identity"
        yield client


async def page(client: httpx.AsyncClient) -> Loaded:
    return Loaded((await client.get("http://go.example/docs")).text)


async def test_the_page_refers_to_its_own_host_alone(client: httpx.AsyncClient) -> None:
    loaded = await page(client)
    assert loaded.inline == []
    assert len(loaded.addresses) >= 4
    for address in loaded.addresses:
        # Relative: behind a proxy the page may stand in a folder.
        assert not address.startswith("/")
        assert urljoin("http://go.example/docs", address).startswith("http://go.example/")
    start = (STATIC / "docs.js").read_text()
    assert "validatorUrl: null" in start
    assert "://" not in start


async def test_all_that_the_page_loads_is_there_for_good(client: httpx.AsyncClient) -> None:
    kinds = {}
    for address in (await page(client)).addresses:
        if address == "openapi.json":
            continue
        response = await client.get(f"http://go.example/{address}")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        kinds[address.rpartition("/")[2]] = response.headers["content-type"]
    assert kinds == {
        "swagger-ui.css": "text/css; charset=utf-8",
        "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
        "docs.js": "text/javascript; charset=utf-8",
    }


async def test_another_content_has_another_address(client: httpx.AsyncClient) -> None:
    for address in (await page(client)).addresses:
        if address != "openapi.json":
            other = re.sub(r"[0-9a-f]{16}", "0" * 16, address)
            assert other != address
            assert (await client.get(f"http://go.example/{other}")).status_code == 404
    assert (await client.get("http://go.example/docs/x/openapi.json")).status_code == 404


async def test_headers(client: httpx.AsyncClient) -> None:
    addresses = [f"http://go.example/{address}" for address in (await page(client)).addresses]
    for address in ("http://go.example/docs", *addresses):
        headers = (await client.get(address)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["vary"] == "accept-encoding"
    headers = (await client.get("http://go.example/docs")).headers
    directives = headers["content-security-policy"].split("; ")
    assert sorted(directives) == sorted(f"{name} {sources}" for name, sources in POLICY.items())
    assert headers["cache-control"] == "public, no-cache"


async def test_the_document_is_the_file(client: httpx.AsyncClient) -> None:
    response = await client.get("http://go.example/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "public, no-cache"
    assert response.json() == json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_what_a_client_has_is_not_sent_again(client: httpx.AsyncClient, coding: str) -> None:
    for path in ("docs", "openapi.json"):
        first = await client.get(f"http://go.example/{path}", headers={"accept-encoding": coding})
        etag = first.headers["etag"]
        for sent in (etag, f'"other", {etag}', "*", etag.removeprefix("W/")):
            response = await client.get(
                f"http://go.example/{path}", headers={"if-none-match": sent, "accept-encoding": coding}
            )
            assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
        response = await client.get(f"http://go.example/{path}", headers={"if-none-match": '"other"'})
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip; q=1.0", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, identity", False),
        ("identity", False),
        ("x-gzip-not", False),
        ("", False),
    ],
)
async def test_compressed_for_those_who_say_so(client: httpx.AsyncClient, accepted: str, zipped: bool) -> None:
    plain = (STATIC / "openapi.json").read_bytes()
    headers = {"accept-encoding": accepted}
    async with client.stream("GET", "http://go.example/openapi.json", headers=headers) as response:
        raw = b"".join([part async for part in response.aiter_raw()])
    assert response.headers.get("content-encoding") == ("gzip" if zipped else None)
    assert int(response.headers["content-length"]) == len(raw)
    assert (gzip.decompress(raw) if zipped else raw) == plain
    assert response.headers["etag"].startswith('W/"' if zipped else '"')


async def test_head_and_slash(client: httpx.AsyncClient) -> None:
    for path in ("docs", "openapi.json"):
        response = await client.head(f"http://go.example/{path}")
        assert response.status_code == 200
        assert int(response.headers["content-length"]) > 500
    response = await client.get("http://go.example/docs/")
    assert response.status_code == 308
    # The page's addresses are relative to /docs.
    assert urljoin("http://go.example/s/docs/", response.headers["location"]) == "http://go.example/s/docs"


async def test_no_short_link_takes_their_place() -> None:
    assert is_reserved("docs")
    assert is_reserved("openapi.json")


def test_swagger_ui_comes_with_its_license_and_nothing_it_does_not_need() -> None:
    folder = STATIC / "swagger-ui"
    assert {path.name for path in folder.iterdir()} == {*vendor_swagger_ui.FILES, "VERSION"}
    assert (folder / "VERSION").read_text() == f"{vendor_swagger_ui.PACKAGE} {vendor_swagger_ui.VERSION}\n"
    assert "Apache License" in (folder / "LICENSE").read_text()
