"""The interface's own documentation: `/openapi.json`, and Swagger UI for people at `/docs`.

Everything the page loads comes from here; its policy forbids every other host. Addresses in it are relative, so that it
also works behind a proxy that puts a folder before it.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from functools import cached_property
from importlib.resources import files
from string import Template

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

_STATIC = files("gateway").joinpath("static")

_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "vary": "accept-encoding"}
_PAGE_HEADERS = {
    # The pictures in Swagger UI's stylesheet are data.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
# What may change under its name is asked for again each time, which the etag makes cheap.
_CHANGING = {"cache-control": "public, no-cache"}
_FOR_GOOD = {"cache-control": "public, max-age=31536000, immutable"}

_GZIP_LEVEL = 6


class Asset:
    """A file with what HTTP needs to know of it; `digest`: 16 hexadecimal digits that another content does not have."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content = content
        self.media_type = media_type
        self.digest = hashlib.sha256(content).hexdigest()[:16]

    @cached_property
    def compressed(self) -> bytes:
        """The content in gzip's form; the same bytes each time."""
        return gzip.compress(self.content, _GZIP_LEVEL, mtime=0)

    async def answer(self, request: Request, headers: dict[str, str]) -> Response:
        """The file, compressed if that is welcome, or 304 if the client has it."""
        etag = f'"{self.digest}"'
        zipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        # A weak one for the compressed form, whose bytes may differ between versions of zlib.
        headers = {**_HEADERS, **headers, "etag": f"W/{etag}" if zipped else etag}
        if _names(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        if not zipped:
            return Response(self.content, headers=headers, media_type=self.media_type)
        # A thread: the largest takes 60 ms the first time, in which redirects would wait.
        body = await asyncio.to_thread(lambda: self.compressed)
        return Response(body, headers={**headers, "content-encoding": "gzip"}, media_type=self.media_type)


def docs_routes() -> list[Route]:
    """`/openapi.json`, `/docs` and what it loads: `/docs/{digest}/{name}`, which never changes."""
    document = _asset("openapi.json", "application/json")
    loaded = {
        "stylesheet": ("swagger-ui.css", _asset("swagger-ui/swagger-ui.css", "text/css")),
        "bundle": ("swagger-ui-bundle.js", _asset("swagger-ui/swagger-ui-bundle.js", "text/javascript")),
        "start": ("docs.js", _asset("docs.js", "text/javascript")),
    }
    addresses = {key: f"docs/{asset.digest}/{name}" for key, (name, asset) in loaded.items()}
    by_address = {addresses[key]: asset for key, (_, asset) in loaded.items()}
    template = Template(_STATIC.joinpath("docs.html").read_text(encoding="utf-8"))
    page = Asset(template.substitute(addresses).encode(), "text/html")

    async def openapi(request: Request) -> Response:
        return await document.answer(request, _CHANGING)

    async def docs(request: Request) -> Response:
        return await page.answer(request, _CHANGING | _PAGE_HEADERS)

    async def with_slash(_: Request) -> Response:
        return RedirectResponse("../docs", 308)

    async def part(request: Request) -> Response:
        asset = by_address.get("docs/{digest}/{name}".format(**request.path_params))
        if asset is None:
            raise HTTPException(404)
        return await asset.answer(request, _FOR_GOOD)

    return [
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/", with_slash),
        Route("/docs/{digest}/{name}", part),
    ]


def _asset(name: str, media_type: str) -> Asset:
    return Asset(_STATIC.joinpath(name).read_bytes(), media_type)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip without forbidding it (`gzip;q=0`)."""
    items = [item.replace(" ", "").partition(";q=") for item in accept_encoding.lower().split(",")]
    return any(coding == "gzip" and (not sign or quality.strip("0.") != "") for coding, sign, quality in items)


def _names(if_none_match: str, etag: str) -> bool:
    """Whether an `If-None-Match` header has this etag, as a strong or a weak one, or is `*`."""
    listed = [item.strip().removeprefix("W/") for item in if_none_match.split(",")]
    return etag in listed or listed == ["*"]
