"""A client of a mesh as its users see it: JSON and redirects through Envoy, gRPC on any port, SQL behind its back."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import httpx
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.support.credentials import headers_of, with_key
from tests.support.mesh import Mesh
from tests.support.postgres import run
from tests.support.raw_http import ends_connection

DETAILS_KEY = "grpc-status-details-bin"
KINDS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
        error_details_pb2.QuotaFailure,
    )
}
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

_numbers = itertools.count(1)


def fresh_alias() -> str:
    """An alias that no test has used."""
    # Digits and dashes alone: no word of any language can come of it.
    return f"t-{next(_numbers)}-{secrets.randbelow(10**6):06}"


@dataclass(frozen=True)
class Api:
    """The mesh through Envoy."""

    mesh: Mesh
    http: httpx.Client

    def shorten(self, url: str = "https://example.com/", **fields: object) -> httpx.Response:
        """`POST /api/v1/shorten`, the text in it as UTF-8."""
        return self.send("POST", "/api/v1/shorten", {"url": url, **fields})

    def make(self, url: str = "https://example.com/", **fields: object) -> dict[str, Any]:
        """A new link, as the API shows it."""
        response = self.shorten(url, **fields)
        assert response.status_code == 200, response.text
        link: dict[str, Any] = response.json()
        return link

    def code(self, url: str = "https://example.com/", **fields: object) -> str:
        """The short code of a new link."""
        return str(self.make(url, **fields)["short_code"])

    def link(self, short_code: str) -> dict[str, Any]:
        """`GET /api/v1/urls/{short_code}`."""
        response = self.http.get(f"/api/v1/urls/{short_code}")
        assert response.status_code == 200, response.text
        link: dict[str, Any] = response.json()
        return link

    def batch(self, requests: Sequence[Mapping[str, object]], **fields: object) -> httpx.Response:
        """`POST /api/v1/shorten:batch`."""
        return self.send("POST", "/api/v1/shorten:batch", {"requests": requests, **fields})

    def results(self, requests: Sequence[Mapping[str, object]], **fields: object) -> list[dict[str, Any]]:
        """What became of each request of a batch."""
        response = self.batch(requests, **fields)
        assert response.status_code == 200, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        assert len(results) == len(requests)
        return results

    def update(self, short_code: str, /, **fields: object) -> httpx.Response:
        """`PATCH /api/v1/urls/{short_code}`."""
        return self.send("PATCH", f"/api/v1/urls/{short_code}", fields)

    def updated(self, short_code: str, /, **fields: object) -> dict[str, Any]:
        """The link after an update that is made."""
        response = self.update(short_code, **fields)
        assert response.status_code == 200, response.text
        link: dict[str, Any] = response.json()
        return link

    def delete(self, short_code: str, /, **fields: str) -> httpx.Response:
        """`DELETE /api/v1/urls/{short_code}`, the fields as its query."""
        return self.http.delete(f"/api/v1/urls/{short_code}", params=fields)

    def undelete(self, short_code: str, /, **fields: object) -> httpx.Response:
        """`POST /api/v1/urls/{short_code}:undelete`."""
        return self.send("POST", f"/api/v1/urls/{short_code}:undelete", fields)

    def page(self, **fields: str | int) -> dict[str, Any]:
        """`GET /api/v1/urls`: one page of links and where the next one begins."""
        response = self.http.get("/api/v1/urls", params=fields)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        assert page.keys() == {"links", "next_page_token"}
        return page

    def pages(self, **fields: str | int) -> Iterator[list[dict[str, Any]]]:
        """The links of one page after the other, to the last one."""
        token = ""
        while True:
            page = self.page(**fields, **({"page_token": token} if token else {}))
            yield page["links"]
            token = page["next_page_token"]
            if not token:
                return

    def codes(self, **fields: str | int) -> list[str]:
        """The short codes of all links that are listed, in their order."""
        return [str(link["short_code"]) for links in self.pages(**fields) for link in links]

    def send(self, method: str, path: str, body: Mapping[str, object], **headers: str) -> httpx.Response:
        """A call with a body of JSON, the text in it as UTF-8."""
        content = json.dumps(body, ensure_ascii=False).encode()
        return self.http.request(method, path, content=content, headers={"content-type": "application/json", **headers})

    def told(self, short_code: str) -> list[str]:
        """What the outbox tells of a link: the kinds of its events, by version."""
        rows = self.sql("SELECT type FROM outbox WHERE subject = $1 ORDER BY version", short_code)
        return [str(row["type"]).removeprefix("link_") for row in rows]

    def sql(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """What a statement returns, run as the owner of the database."""
        return run(self._sql(statement, arguments))

    async def _sql(self, statement: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.mesh.owner_dsn(), timeout=10)
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        finally:
            await connection.close()
        return found

    def raw(self, data: bytes) -> bytes:
        """Sends bytes to Envoy on a connection of their own; everything that comes back until it is closed."""
        return sent_raw(self.mesh, data)

    def redirect(self, target: str) -> tuple[int, bytes | None]:
        """Status and Location, byte for byte, of `GET` with this target as it stands."""
        head, _, _ = self.raw(b"GET %s HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % target.encode()).partition(
            b"\r\n\r\n"
        )
        first, *lines = head.split(b"\r\n")
        fields = [line.split(b": ", 1) for line in lines]
        found = [value for name, value in fields if name.lower() == b"location"]
        assert len(found) <= 1
        return int(first.split()[1]), found[0] if found else None


def sent_raw(mesh: Mesh, data: bytes) -> bytes:
    """As `Api.raw`, where nothing else is needed."""
    received = b""
    with socket.create_connection(("127.0.0.1", mesh.ports["http"]), timeout=10) as connection:
        connection.sendall(data)
        while more := connection.recv(65_536):
            received += more
            if ends_connection(received):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
    return received


@contextmanager
def api_from(address: str, mesh: Mesh) -> Iterator[Api]:
    """As `calling_from`, with a key of its own: for what makes so many links that others would feel their limit."""
    with calling_from(address, mesh, mesh.key_blocking()) as client:
        yield Api(mesh, client)


@contextmanager
def calling_from(address: str, mesh: Mesh, key: str = "") -> Iterator[httpx.Client]:
    """An HTTP client whose connections come from another address of this machine, for example 127.0.0.2.

    Without a key it is nobody's.
    """
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(
        base_url=mesh.http_url, headers=headers_of(key), transport=transport, trust_env=False, timeout=20
    ) as client:
        yield client


@contextmanager
def channel(mesh: Mesh, port: str, key: str = "") -> Iterator[grpc.Channel]:
    """A gRPC channel to a port of the mesh, for example `gateway_control`; without a key for somebody unknown."""
    with grpc.insecure_channel(f"127.0.0.1:{mesh.ports[port]}", [("grpc.enable_http_proxy", 0)]) as plain:
        yield with_key(plain, key) if key else plain


def status_of_json(response: httpx.Response, http_status: int) -> status_pb2.Status:
    """The `google.rpc.Status` of an error in JSON; asserts that it is one, complete, as every error is."""
    assert response.status_code == http_status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"code", "message", "details"}
    assert body["message"]
    status = ParseDict(body, status_pb2.Status())
    assert info(status).domain == "waypost"
    return status


def status_of_rpc(error: grpc.RpcError) -> status_pb2.Status:
    """The `google.rpc.Status` in the trailers of a failed call."""
    metadata: Any = error.trailing_metadata() or ()
    status = status_pb2.Status.FromString(dict(metadata)[DETAILS_KEY])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return status


def detail(status: status_pb2.Status, kind: type[Message]) -> Any:
    """The only detail of this kind."""
    name = kind.DESCRIPTOR.full_name
    (found,) = (one for one in status.details if one.TypeName() == name)
    result = KINDS[name]()
    assert found.Unpack(result)
    return result


def info(status: status_pb2.Status) -> Any:
    """Its `ErrorInfo`."""
    return detail(status, error_details_pb2.ErrorInfo)


def refused(call: Callable[[], object]) -> status_pb2.Status:
    """The `google.rpc.Status` of a call over gRPC that is refused."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return status_of_rpc(error)
    raise AssertionError(f"answered {answer}")


def bad_fields(response: httpx.Response) -> dict[str, str]:
    """What a 400 says of each field; asserts that it names each once."""
    return bad_fields_of(status_of_json(response, 400))


def bad_fields_of(status: status_pb2.Status) -> dict[str, str]:
    """As `bad_fields`, of a status that came in whatever way."""
    assert (status.code, info(status).reason) == (3, "ERROR_REASON_INVALID_FIELD")
    violations = detail(status, error_details_pb2.BadRequest).field_violations
    found = {violation.field: violation.description for violation in violations}
    assert len(found) == len(violations)
    assert all(found.values())
    return found
