"""Certificates that are exchanged under load: nobody loses a request, and whoever comes anew sees the new one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from cryptography import x509

from tests.integration.envoy import edge as edges
from tests.integration.envoy.edge import Edge
from tests.integration.envoy.upstreams import control_port, web_port
from tests.support.certificates import Authority, Pair
from tests.support.ports import free_port
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.supervisor import certificate_watch, certificates
from waypost.supervisor.certificate_watch import CertificateWatch
from waypost.supervisor.certificates import CertificateFiles
from waypost.supervisor.edge import serves
from waypost.supervisor.envoy import EnvoyConfig
from waypost.supervisor.envoy_tls import Tls, sds_document

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEEN_SECONDS = 20.0
"""By when a new handshake must show a new certificate. It takes a second; under load on a busy machine, several."""
HOST = "localhost"
AUTHORITY = Authority()


def trusting() -> ssl.SSLContext:
    """Trusts the tests' authority and nobody else."""
    return ssl.create_default_context(cadata=AUTHORITY.root)


@dataclass
class Rotating:
    """An edge with TLS whose files are watched."""

    edge: Edge
    files: CertificateFiles
    said: list[tuple[str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, event: str, text: str, level: str) -> None:
        """What the watch calls."""
        self.said.append((event, text))
        self.news.set()

    @property
    def port(self) -> int:
        assert self.edge.config.tls is not None
        return self.edge.config.tls.port

    async def handshake(self) -> int:
        """The serial number that a new connection is shown."""
        reader, writer = await asyncio.open_connection(HOST, self.port, ssl=trusting())
        writer.write(b"GET /abc HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def until_shown(self, serial: int) -> None:
        """Waits until new connections are shown this certificate."""
        began = time.monotonic()
        while await self.handshake() != serial:
            assert time.monotonic() - began < SEEN_SECONDS

    async def until_said(self, event: str, count: int = 1) -> str:
        """Waits for a word on the console; the sentence."""
        async with asyncio.timeout(10):
            while len(found := [text for name, text in self.said if name == event]) < count:
                self.news.clear()
                await self.news.wait()
        return found[-1]


@dataclass
class Load:
    """Calls on connections that last and on new ones; what came of each."""

    rotating: Rotating
    served: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    over: bool = False

    async def lasting(self, name: str, *, http2: bool) -> None:
        client = httpx.AsyncClient(verify=trusting(), http1=not http2, http2=http2, trust_env=False, timeout=10)
        async with client:

            async def get() -> None:
                response = await client.get(f"https://{HOST}:{self.rotating.port}/abc")
                assert response.status_code == 200, response.text

            async def create() -> None:
                url = f"https://{HOST}:{self.rotating.port}/api/v1/shorten"
                response = await client.post(url, json={"url": "https://example.com/"})
                assert response.status_code == 200, response.text

            while not self.over:
                await self._count(name, get)
                await self._count(name, create)

    async def by_grpc(self) -> None:
        credentials = grpc.ssl_channel_credentials(AUTHORITY.root.encode())
        async with grpc.aio.secure_channel(f"{HOST}:{self.rotating.port}", credentials) as channel:
            stub = links_grpc.LinkServiceStub(channel)
            while not self.over:
                await self._count("grpc", lambda: stub.GetLink(links_pb.GetLinkRequest(short_code="a"), timeout=10))

    async def anew(self) -> None:
        while not self.over:
            await self._count("anew", self.rotating.handshake)

    async def _count(self, name: str, call: Callable[[], object]) -> None:
        try:
            await call()  # type: ignore[misc]
        except Exception as error:
            self.failures.append(f"{name}: {error!r}")
        else:
            self.served[name] = self.served.get(name, 0) + 1
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def load_on(rotating: Rotating) -> AsyncIterator[Load]:
    """Load for the time of the block; in the end every kind of call must have been served, and none refused."""
    load = Load(rotating)
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(load.lasting(f"http/1.1 {number}", http2=False))
        group.create_task(load.lasting("http/2", http2=True))
        group.create_task(load.by_grpc())
        group.create_task(load.anew())
        try:
            yield load
        finally:
            load.over = True
    assert not load.failures, (len(load.failures), load.failures[:5], load.served)
    assert len(load.served) == 6
    assert min(load.served.values()) > 20, load.served


@pytest_asyncio.fixture(loop_scope="module")
async def rotating(tmp_path: Path) -> AsyncIterator[Rotating]:
    edges.program()
    files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    in_place(files, AUTHORITY.issue())
    secret = tmp_path / "envoy" / "certificate.json"
    secret.parent.mkdir()
    watch = CertificateWatch(files, secret, HOST, datetime.now(UTC))
    watch.publish()
    async with control_port() as gateway, web_port() as web:
        config = EnvoyConfig(
            descriptor_set=edges.descriptor_set(tmp_path),
            gateway=("127.0.0.1", gateway.port),
            gateway_web=("127.0.0.1", web.port),
            ratelimiter=("127.0.0.1", gateway.port),
            tls=Tls(secret, free_port()),
        )
        async with edges.running(config, tmp_path) as edge:
            found = Rotating(edge, files)
            watching = asyncio.create_task(watch.run(partial(serves, edge.config.admin_port), found.say))
            try:
                yield found
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


def in_place(files: CertificateFiles, pair: Pair) -> None:
    """As `cp` does it: the files stay, what they hold is exchanged."""
    files.cert.write_text(pair.chain)
    files.key.write_text(pair.key)


def by_rename(files: CertificateFiles, pair: Pair) -> None:
    """As careful programs do it."""
    for path, text in ((files.cert, pair.chain), (files.key, pair.key)):
        partial_file = path.with_suffix(".new")
        partial_file.write_text(text)
        partial_file.replace(path)


def by_link(files: CertificateFiles, pair: Pair) -> None:
    """As Kubernetes and certbot do it: the paths are links, and what they lead through is exchanged."""
    folder = files.cert.parent
    version = folder / f"..{pair.serial}"
    version.mkdir()
    (version / "cert.pem").write_text(pair.chain)
    (version / "key.pem").write_text(pair.key)
    swap = folder / "..data_tmp"
    swap.symlink_to(version.name)
    swap.replace(folder / "..data")
    for path in (files.cert, files.key):
        if not path.is_symlink():
            path.unlink()
            path.symlink_to(f"..data/{path.name}")


@pytest.mark.slow
async def test_certificates_are_exchanged_under_load_without_a_failed_request(
    rotating: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is in the middle of copying a pair while it looks: what is bad stays so, and may be said at once.
    monkeypatch.setattr(certificate_watch, "SAY_SECONDS", 0.5)
    async with load_on(rotating):
        for number, exchange in enumerate([in_place, by_rename, by_link, by_link, by_rename, in_place], 1):
            pair = AUTHORITY.issue()
            exchange(rotating.files, pair)
            await rotating.until_shown(pair.serial)
            # A bad pair in between: said, and of no effect.
            by_rename(rotating.files, Pair(pair.chain, AUTHORITY.issue().key, 0))
            sentence = await rotating.until_said("certificate_refused", number)
            assert "does not belong to the certificate" in sentence
            assert await rotating.handshake() == pair.serial
    events = [event for event, _ in rotating.said]
    assert events == ["certificate_changed", "certificate_refused"] * 6


async def test_connections_that_stand_go_on(rotating: Rotating) -> None:
    async with httpx.AsyncClient(verify=trusting(), trust_env=False) as client:
        url = f"https://{HOST}:{rotating.port}/abc"
        before = await client.get(url)
        pair = AUTHORITY.issue()
        in_place(rotating.files, pair)
        await rotating.until_shown(pair.serial)
        after = await client.get(url)
        stream = after.extensions["network_stream"].get_extra_info("ssl_object")
    shown = x509.load_der_x509_certificate(stream.getpeercert(binary_form=True))
    assert (before.status_code, after.status_code) == (200, 200)
    assert shown.serial_number != pair.serial


async def test_what_envoy_does_not_take_up_is_said_and_taken_back(
    rotating: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rotating.edge.config.tls is not None
    secret = rotating.edge.config.tls.secret_file
    shown, before = await rotating.handshake(), secret.read_text()
    monkeypatch.setattr(certificate_watch, "FOLLOW_SECONDS", 1.0)
    # What Envoy refuses and we know of is never handed over; so we must not know.
    monkeypatch.setattr(certificates, "_must_staple", lambda certificate: False)
    in_place(rotating.files, AUTHORITY.issue(must_staple=True))
    await rotating.until_said("certificate_changed")
    sentence = await rotating.until_said("certificate_not_served")
    assert "its log says why; the one before stays" in sentence
    assert "must-staple" in rotating.edge.logs()
    assert secret.read_text() == before
    assert await rotating.handshake() == shown
    # And the next one is nothing special.
    pair = AUTHORITY.issue()
    in_place(rotating.files, pair)
    await rotating.until_shown(pair.serial)


async def test_a_file_that_envoy_cannot_read_leaves_the_last_certificate(rotating: Rotating) -> None:
    shown = await rotating.handshake()
    assert rotating.edge.config.tls is not None
    secret = rotating.edge.config.tls.secret_file
    pair = AUTHORITY.issue()
    partial_file = secret.with_suffix(".bad")
    partial_file.write_text(sds_document(pair.chain, "no key"))
    partial_file.replace(secret)
    await rotating.edge.until_stat("sds.edge.update_rejected", lambda value: value == 1)
    assert await rotating.handshake() == shown
