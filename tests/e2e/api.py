"""A client of a mesh as its users see it: JSON and redirects through Envoy, gRPC on any port, SQL behind its back."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import httpx
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.support.mesh import Mesh
from tests.support.postgres import run

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
        body = json.dumps({"url": url, **fields}, ensure_ascii=False)
        return self.http.post("/api/v1/shorten", content=body.encode(), headers={"content-type": "application/json"})

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
        with socket.create_connection(("127.0.0.1", self.mesh.ports["http"]), timeout=10) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

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


@contextmanager
def calling_from(address: str, mesh: Mesh) -> Iterator[httpx.Client]:
    """An HTTP client whose connections come from another address of this machine, for example 127.0.0.2."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=mesh.http_url, transport=transport, trust_env=False, timeout=20) as client:
        yield client


def channel(mesh: Mesh, port: str) -> grpc.Channel:
    """A gRPC channel to a port of the mesh, for example `gateway_control`."""
    return grpc.insecure_channel(f"127.0.0.1:{mesh.ports[port]}", [("grpc.enable_http_proxy", 0)])


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


def bad_fields(response: httpx.Response) -> dict[str, str]:
    """What a 400 says of each field; asserts that it names each once."""
    status = status_of_json(response, 400)
    assert (status.code, info(status).reason) == (3, "ERROR_REASON_INVALID_FIELD")
    violations = detail(status, error_details_pb2.BadRequest).field_violations
    found = {violation.field: violation.description for violation in violations}
    assert len(found) == len(violations)
    assert all(found.values())
    return found
