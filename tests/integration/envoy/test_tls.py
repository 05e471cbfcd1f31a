"""HTTPS at the edge: what is spoken, what browsers are told, and where those go who come without."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import h2.events
import httpx
import pytest
import pytest_asyncio

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.edge import Edge
from tests.integration.envoy.test_hardening import RawH2
from tests.integration.envoy.upstreams import ServicePort, Web, control_port, web_port
from tests.support.certificates import Authority
from tests.support.ports import free_port
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.supervisor import envoy
from waypost.supervisor.envoy import EnvoyConfig
from waypost.supervisor.envoy_tls import Tls, sds_document

pytestmark = pytest.mark.asyncio(loop_scope="module")

HSTS = "strict-transport-security"
AUTHORITY = Authority()
PUBLIC_PORT = 8444


def trusting() -> ssl.SSLContext:
    """Trusts the tests' authority and nobody else."""
    return ssl.create_default_context(cadata=AUTHORITY.root)


@dataclass(frozen=True)
class Secure:
    """An edge with TLS and what stands behind it."""

    edge: Edge
    gateway: ServicePort
    web: Web

    @property
    def port(self) -> int:
        assert self.edge.config.tls is not None
        return self.edge.config.tls.port

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, *, http2: bool = False) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, verify=trusting(), http2=http2, trust_env=False, timeout=20)

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(f"localhost:{self.port}", grpc.ssl_channel_credentials(AUTHORITY.root.encode()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secure]:
    edges.program()
    folder = tmp_path_factory.mktemp("secure")
    pair = AUTHORITY.issue()
    secret = folder / "certificate.json"
    secret.write_text(sds_document(pair.chain, pair.key))
    async with control_port() as gateway, web_port() as web:
        config = EnvoyConfig(
            descriptor_set=edges.descriptor_set(folder),
            gateway=("127.0.0.1", gateway.port),
            gateway_web=("127.0.0.1", web.port),
            ratelimiter=("127.0.0.1", gateway.port),
            tls=Tls(secret, free_port(), PUBLIC_PORT),
        )
        async with edges.running(config, folder) as edge:
            yield Secure(edge, gateway, web)


@pytest.fixture
def secure(running_secure: Secure) -> Secure:
    running_secure.gateway.script.reset()
    running_secure.web.reset()
    return running_secure


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
async def test_pages_and_the_api_are_served_by_both_versions_of_http(secure: Secure, http2: bool, version: str) -> None:
    async with secure.client(http2=http2) as client:
        page = await client.get("/abc?x=%zz")
        link = await client.post("/api/v1/shorten", json={"url": "https://example.com/"})
    assert (page.http_version, page.status_code, page.json()["target"]) == (version, 200, "/abc?x=%zz")
    assert (link.http_version, link.status_code, link.json()["short_code"]) == (version, 200, "abc")


async def test_grpc_is_served(secure: Secure) -> None:
    async with secure.channel() as channel:
        stub = links_grpc.LinkServiceStub(channel)
        link = await stub.GetLink(links_pb.GetLinkRequest(short_code="over-tls"))
    assert link.short_code == "over-tls"


@pytest.mark.parametrize(
    ("version", "served"),
    [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)],
)
async def test_old_versions_of_tls_are_refused(secure: Secure, version: str, served: bool) -> None:
    context = trusting()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is old is what is asked for
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    try:
        async with asyncio.timeout(10):
            _, writer = await asyncio.open_connection("localhost", secure.port, ssl=context)
    except ssl.SSLError as error:
        assert not served
        assert "ALERT_PROTOCOL_VERSION" in str(error)
    else:
        assert served
        writer.close()


async def test_the_chain_is_sent_with_the_certificate(secure: Secure) -> None:
    # Who trusts the root alone needs the one between.
    _, writer = await asyncio.open_connection("localhost", secure.port, ssl=trusting())
    writer.close()


async def test_plain_http_on_the_port_of_https_is_not_answered(secure: Secure) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://localhost:{secure.port}/abc")
    assert not secure.web.requests


async def test_the_services_are_told_that_it_was_https(secure: Secure) -> None:
    async with secure.client() as client:
        page = await client.get("/abc", headers={"x-forwarded-proto": "http", "x-forwarded-for": "192.0.2.1"})
        await client.get("/api/v1/urls/abc", headers={"x-forwarded-proto": "http"})
    seen = dict(page.json()["headers"])
    assert (seen["x-forwarded-proto"], seen["x-forwarded-for"]) == ("https", "127.0.0.1")
    assert secure.gateway.script.calls[0].metadata["x-forwarded-proto"] == "https"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/abc", 200),
        ("HEAD", "/abc", 200),
        ("GET", "/api/v1/urls/abc", 200),
        ("POST", "/abc", 405),
        ("GET", "/api/nowhere", 404),
        ("POST", "/api/v1/shorten", 415),
        ("GET", "/a%2fb", 400),
        ("GET", "/a%00b", 400),
        ("GET", "/waypost.api.v1.LinkService/GetLink", 200),
    ],
)
async def test_every_answer_tells_browsers_to_stay(secure: Secure, method: str, path: str, code: int) -> None:
    headers = {"content-type": "text/plain"} if code == 415 else {}
    async with secure.client() as client:
        response = await client.request(method, path, headers=headers)
    assert (response.status_code, response.headers.get_list(HSTS)) == (code, ["max-age=31536000"])


async def test_redirects_of_links_tell_it_too_and_have_the_last_word(secure: Secure) -> None:
    secure.web.answer = (
        b"HTTP/1.1 302 Found\r\nlocation: https://example.com/\r\n"
        b"strict-transport-security: max-age=0\r\ncontent-length: 0\r\n\r\n"
    )
    async with secure.client() as client:
        response = await client.get("/abc")
    assert (response.status_code, response.headers.get_list(HSTS)) == (302, ["max-age=31536000"])


async def test_answers_to_what_is_no_request_tell_it_too(secure: Secure) -> None:
    reader, writer = await asyncio.open_connection("localhost", secure.port, ssl=trusting())
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"strict-transport-security: max-age=31536000\r\n") == 1


async def test_grpc_errors_of_the_edge_are_as_they_were(secure: Secure) -> None:
    async with secure.channel() as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/waypost.api.v1.Nothing/Get")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    _, info = status.from_error(caught.value)
    assert info.reason == "ERROR_REASON_UNKNOWN_METHOD"


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/abc?x=%20y&z=a//b&empty="),
        ("HEAD", "/abc"),
        ("GET", "/"),
        ("POST", "/api/v1/shorten"),
        ("DELETE", "/api/v1/urls/abc"),
        ("POST", "/healthz"),
        ("GET", "/healthz/more"),
        ("GET", "/abc+?a"),
    ],
)
async def test_who_comes_without_is_sent_to_https(secure: Secure, http2: bool, method: str, path: str) -> None:
    async with secure.edge.client(http2=http2) as client:
        response = await client.request(method, path, json={"url": "https://e.com"} if method == "POST" else None)
    assert response.status_code == 308
    assert response.headers["location"] == f"https://127.0.0.1:{PUBLIC_PORT}{path}"
    assert response.headers["cache-control"] == "no-store"
    assert HSTS not in response.headers  # RFC 6797, 7.2: not where anybody could have said it
    assert (response.content, response.headers["x-content-type-options"]) == (b"", "nosniff")
    assert not secure.web.requests
    assert not secure.gateway.script.calls


@pytest.mark.parametrize(
    ("host", "location"),
    [
        (b"go.example", b"https://go.example:8444/x"),
        (b"go.example:80", b"https://go.example:8444/x"),
        (b"go.example:8080", b"https://go.example:8444/x"),
        (b"[::1]:8080", b"https://[::1]:8444/x"),
    ],
)
async def test_the_host_is_the_one_that_was_called(secure: Secure, host: bytes, location: bytes) -> None:
    answer = await secure.edge.raw(b"GET /x HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % host)
    assert b"\r\nlocation: %s\r\n" % location in answer


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz?verbose"])
async def test_health_is_told_in_plain(secure: Secure, path: str) -> None:
    async with secure.edge.client() as client:
        response = await client.get(path, headers={"x-forwarded-proto": "https", "x-user-id": "root"})
    assert response.status_code == 200
    assert HSTS not in response.headers
    if path != "/readyz":  # of which the upstream keeps no record
        seen = dict(response.json()["headers"])
        assert seen["x-forwarded-proto"] == "http"
        assert "x-user-id" not in seen


async def test_tls_on_the_plain_port_is_sent_on_too(secure: Secure) -> None:
    # A browser that has been told to stay keeps a port that stands in an address.
    async with httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
        response = await client.get(f"https://localhost:{secure.edge.config.http_port}/abc?d=1")
    assert response.status_code == 308
    assert response.headers["location"] == f"https://localhost:{PUBLIC_PORT}/abc?d=1"


async def test_grpc_without_tls_is_told_what_to_do(secure: Secure) -> None:
    async with secure.edge.channel() as channel:
        stub = links_grpc.LinkServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetLink(links_pb.GetLinkRequest(short_code="abc"))
    found, info = status.from_error(caught.value)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (
        found.message
        == caught.value.details()
        == f"gRPC is not served here without TLS; call port {PUBLIC_PORT} with it"
    )
    assert info.reason == "ERROR_REASON_UNKNOWN_METHOD"
    assert not secure.gateway.script.calls


@pytest.mark.parametrize(
    ("target", "extra"),
    [(b"/a%2fb", b""), (b"/x", b"x_y: 1\r\n"), (b"/x", b"a: b\r\n" * 101)],
)
async def test_the_plain_port_refuses_what_the_other_refuses(secure: Secure, target: bytes, extra: bytes) -> None:
    answer = await secure.edge.raw(b"GET %s HTTP/1.1\r\nhost: a\r\n%sconnection: close\r\n\r\n" % (target, extra))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert b"location:" not in answer


async def test_bytes_that_no_address_has_make_no_location(secure: Secure) -> None:
    connection = RawH2(secure.edge.config.http_port)
    await connection.open()
    connection.get("/abc?caf\u00e9")
    connection.flush()
    headers: dict[bytes, bytes] = {}
    while not headers:
        for event in await connection.events():
            if isinstance(event, h2.events.ResponseReceived):
                headers = dict(event.headers)
    await connection.close()
    assert headers[b":status"] == b"400"
    assert b"location" not in headers


async def test_the_key_is_in_no_dump(secure: Secure) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in ("/config_dump", "/certs"):
            assert "PRIVATE KEY" not in (await client.get(f"{secure.edge.admin}{path}")).text


async def test_the_usual_port_stands_in_no_location_and_hsts_can_be_left_out(secure: Secure, tmp_path: Path) -> None:
    assert secure.edge.config.tls is not None
    tls = replace(secure.edge.config.tls, port=free_port(), public_port=443, hsts_seconds=0)
    async with edges.running(replace(secure.edge.config, tls=tls), tmp_path) as edge:
        async with edge.client() as client:
            response = await client.get("/abc?a=b", headers={"host": "go.example:8080"})
        async with httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
            page = await client.get(f"https://localhost:{tls.port}/abc")
    assert response.headers["location"] == "https://go.example/abc?a=b"
    assert page.status_code == 200
    assert HSTS not in page.headers


@pytest.mark.parametrize(("said", "seen"), [("https", "https"), ("http", "http")])
async def test_behind_a_proxy_its_word_on_the_scheme_counts(
    secure: Secure, tmp_path: Path, said: str, seen: str
) -> None:
    assert secure.edge.config.tls is not None
    tls = replace(secure.edge.config.tls, port=free_port())
    config = replace(secure.edge.config, tls=tls, trusted_hops=1)
    async with edges.running(config, tmp_path), httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
        headers = {"x-forwarded-proto": said, "x-forwarded-for": "198.51.100.7"}
        page = await client.get(f"https://localhost:{tls.port}/abc", headers=headers)
    assert dict(page.json()["headers"])["x-forwarded-proto"] == seen
    assert dict(page.json()["headers"])["x-forwarded-for"] == "198.51.100.7"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])  # noqa: S104 - as operators set it
async def test_what_is_rendered_is_valid(tmp_path: Path, host: str) -> None:
    pair = AUTHORITY.issue()
    secret = tmp_path / "certificate.json"
    secret.write_text(sds_document(pair.chain, pair.key))
    config = EnvoyConfig(edges.descriptor_set(tmp_path), listen_host=host, tls=Tls(secret), trusted_hops=2)
    path = tmp_path / "rendered.yaml"
    path.write_text(envoy.render(envoy.template_path().read_text(), config))
    result = await asyncio.to_thread(edges.validate, path, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in (result.stdout + result.stderr).lower()
