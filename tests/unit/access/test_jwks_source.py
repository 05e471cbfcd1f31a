"""Where keys come from: files that change, servers that misbehave, and what is in force meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from tests.support import tokens as made
from tests.support.tokens import Issuer, public_jwk
from tests.support.waiting import until
from tests.support.web_server import WebServer, web_server, whole
from waypost.access.jwks import MAX_DOCUMENT_BYTES
from waypost.access.jwks_fetch import CannotRead, FileReader, Reader, UrlReader
from waypost.access.jwks_source import FILE_PACE, URL_PACE, JwksSource, Pace, source_for
from waypost.access.jwks_url import check_url
from waypost.access.settings import JwtSettings
from waypost.access.tokens import TokenVerifier
from waypost.backoff import Backoff
from waypost.errors import Unauthenticated

BRISK = Pace(every=0.02, soonest=0.0, retry=Backoff(base=0.02, cap=0.02, floor=0.02))
LAZY = Pace(every=3600, soonest=3600, retry=Backoff(base=3600, cap=3600, floor=3600))
FIRST, SECOND = made.jwks(public_jwk("P-256", "first")), made.jwks(public_jwk("P-256", "second"))
BOTH = made.jwks(public_jwk("P-256", "first"), public_jwk("P-256", "second"))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        server.says(FIRST)
        yield server


@contextlib.asynccontextmanager
async def running(source: JwksSource) -> AsyncIterator[JwksSource]:
    """Its background task, for the time of the block."""
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def kids(source: JwksSource) -> set[str]:
    return set(source.keys.keys) if source.keys else set()


class TestFile:
    @pytest.mark.parametrize("how", ["renamed", "written over", "link moved"])
    async def test_that_changes_is_read_again(self, tmp_path: Path, how: str) -> None:
        path, other = tmp_path / "jwks.json", tmp_path / "other.json"
        if how == "link moved":
            (tmp_path / "one.json").write_bytes(FIRST)
            path.symlink_to("one.json")
        else:
            path.write_bytes(FIRST)
        async with running(JwksSource(FileReader(path), BRISK)) as source:
            await until(lambda: kids(source) == {"first"})
            other.write_bytes(SECOND)
            if how == "renamed":
                other.replace(path)
            elif how == "written over":
                path.write_bytes(SECOND)
            else:
                (tmp_path / "link").symlink_to("other.json")
                (tmp_path / "link").replace(path)
            await until(lambda: kids(source) == {"second"})

    async def test_that_stays_leaves_the_keys_the_same_object(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(FIRST)
        source = JwksSource(FileReader(path), BRISK)
        await source.refresh()
        before = source.keys
        path.write_bytes(FIRST)
        await source.refresh()
        assert before is not None
        assert source.keys is before

    @pytest.mark.parametrize("bad", [b"", b"{", b"[]", FIRST[:-5], b"x" * (MAX_DOCUMENT_BYTES + 1), None])
    async def test_that_is_bad_leaves_the_keys_in_force(self, tmp_path: Path, bad: bytes | None) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(FIRST)
        source = JwksSource(FileReader(path), BRISK)
        await source.refresh()
        await source.check()
        with capture_logs() as logs:
            if bad is None:
                path.unlink()
            else:
                path.write_bytes(bad)
            for _ in range(3):
                await source.refresh()
            assert kids(source) == {"first"}
            with pytest.raises(ConnectionError):
                await source.check()
            path.write_bytes(SECOND)
            await source.refresh()
        assert kids(source) == {"second"}
        await source.check()
        # Said once, not at every look.
        events = [line["event"] for line in logs]
        assert events == ["jwks_unreadable", "jwks_loaded", "jwks_read_again"]
        assert logs[0]["kept"] is True

    async def test_that_names_no_keys_leaves_none(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(FIRST)
        source = JwksSource(FileReader(path), BRISK)
        await source.refresh()
        path.write_bytes(b'{"keys": []}')
        await source.refresh()
        assert source.keys is not None
        assert kids(source) == set()

    async def test_says_which_entries_it_passes_over(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(made.jwks({"kty": "oct", "kid": "o", "k": "c2VjcmV0"}, public_jwk("RSA-1024", "small")))
        with capture_logs() as logs:
            await JwksSource(FileReader(path), BRISK).refresh()
        said = [line["why"] for line in logs if line["event"] == "jwks_key_ignored"]
        assert len(said) == 2
        assert "c2VjcmV0" not in str(logs)

    async def test_that_is_no_file_is_not_waited_for(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        for path in (pipe, tmp_path, tmp_path / "absent", Path("/dev/null"), tmp_path / "a\0b"):
            source = JwksSource(FileReader(path), BRISK)
            await source.refresh()
            assert source.keys is None
            with pytest.raises(ConnectionError, match="cannot be read"):
                await source.check()


class TestAddress:
    async def test_is_asked_in_a_plain_way(self, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
        # Nobody serves there: who asked the proxy would get nothing.
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert await UrlReader(f"{server.url}?tenant=a%20b").read() == FIRST
        (request,) = server.requests
        first, *headers = request.rstrip().split("\r\n")
        assert first == "GET /jwks.json?tenant=a%20b HTTP/1.1"
        names = {header.partition(":")[0].lower() for header in headers}
        assert names == {"host", "accept", "accept-encoding", "user-agent"}

    async def test_may_answer_in_chunks(self, server: WebServer) -> None:
        size = f"{len(FIRST):x}".encode()
        server.sends(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + size + b"\r\n" + FIRST + b"\r\n0\r\n\r\n"
        )
        assert await UrlReader(server.url).read() == FIRST

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            (whole(b"", "302 Found", "location: /elsewhere"), "302"),
            (whole(FIRST, "301 Moved Permanently", "location: https://evil.example/"), "301"),
            (whole(b"", "307 Temporary Redirect", "location: /jwks.json"), "look elsewhere"),
            (whole(FIRST, "404 Not Found"), "404"),
            (whole(FIRST, "500 Internal Server Error"), "500"),
            (whole(b"", "204 No Content"), "204"),
            (whole(FIRST, "206 Partial Content"), "206"),
            (b"220 mail.example ESMTP\r\n", "HTTP"),
            (b"", "HTTP|closed|RemoteDisconnected"),
            (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n", "HTTP"),
            (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "HTTP"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "HTTP"),
        ],
    )
    async def test_that_answers_otherwise_gives_nothing(self, server: WebServer, answer: bytes, hint: str) -> None:
        server.sends(answer)
        with pytest.raises(CannotRead, match=hint):
            await UrlReader(server.url).read()
        # Nobody went where the answer pointed.
        assert len(server.requests) == 1

    async def test_that_breaks_off_gives_no_keys(self, server: WebServer) -> None:
        server.sends(whole(FIRST)[:-10])
        source = JwksSource(UrlReader(server.url), BRISK)
        await source.refresh()
        assert source.keys is None
        with pytest.raises(ConnectionError):
            await source.check()

    @pytest.mark.parametrize("framed", [True, False], ids=["with a length", "without"])
    async def test_that_sends_without_end_is_cut_off(self, server: WebServer, framed: bool) -> None:
        async def flood(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"content-length: 99999999999\r\n" if framed else b"") + b"\r\n")
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()

        server.answer = flood
        document = await UrlReader(server.url).read()
        assert len(document) == MAX_DOCUMENT_BYTES + 1
        await asyncio.wait_for(server.gone.wait(), 10)

    @pytest.mark.parametrize(
        "before", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["all", "head", "body"]
    )
    @pytest.mark.parametrize("drip", [b"", b"x"], ids=["silent", "dripping"])
    async def test_that_takes_long_is_given_up(self, server: WebServer, before: bytes, drip: bytes) -> None:
        async def dawdle(writer: asyncio.StreamWriter) -> None:
            writer.write(before)
            while True:
                writer.write(drip)
                await writer.drain()
                await asyncio.sleep(0.01)

        server.answer = dawdle
        threads = threading.active_count()
        # The time for the whole: a single silence would be given up after 5 s only, and in other words; drips never.
        with pytest.raises(CannotRead, match=r"no whole answer within 0\.3 s"):
            await asyncio.wait_for(UrlReader(server.url, seconds=0.3).read(), 30)
        # The thread that waited has ended too, or waits for work: none is left behind with a connection.
        if drip:
            await asyncio.wait_for(server.gone.wait(), 10)
        assert threading.active_count() <= threads + 1

    async def test_that_nobody_serves_is_said(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(CannotRead, match="refused"):
                await UrlReader(f"http://127.0.0.1:{taken.getsockname()[1]}/").read()

    async def test_must_have_a_certificate_that_is_believed(self, tmp_path: Path) -> None:
        serving = certificate(tmp_path)
        async with web_server(serving) as server:
            server.says(FIRST)
            with pytest.raises(CannotRead, match="certificate"):
                await UrlReader(server.url).read()
            trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            assert await UrlReader(server.url, tls=trusting).read() == FIRST
            # The right issuer, the wrong name.
            with pytest.raises(CannotRead, match="certificate"):
                await UrlReader(server.url.replace("127.0.0.1", "localhost"), tls=trusting).read()
        assert len(server.requests) == 1

    async def test_of_another_protocol_is_said(self, server: WebServer) -> None:
        with pytest.raises(CannotRead):
            await UrlReader(server.url.replace("http:", "https:"), seconds=0.3).read()

    @pytest.mark.parametrize(
        "url",
        [
            "https://id.example.com/.well-known/jwks.json",
            "https://id.example.com:8443/keys?p=1",
            "http://127.0.0.1:8080/jwks",
            "http://127.9.9.9/jwks",
            "http://[::1]:8080/jwks",
            "http://localhost/jwks",
        ],
    )
    def test_may_be_one_of_these(self, url: str) -> None:
        check_url(url)

    @pytest.mark.parametrize(
        "url",
        [
            "http://id.example.com/jwks",
            "http://10.0.0.1/jwks",
            "http://localhost.example.com/jwks",
            "http://127.0.0.1.example.com/",
            "file:///etc/passwd",
            "ftp://id.example.com/jwks",
            "https://",
            "id.example.com/jwks",
            "https://user:pass@id.example.com/",
            "https://id.example.com/#keys",
            "https://id.example.com:99999/",
            "https://id.example.com:x/",
            "https://id.example.com/a b",
            "https://id.example.com/a\r\nx: y",
            "https://idé.example.com/",
        ],
    )
    def test_may_be_none_of_these(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"must|has a port"):
            check_url(url)
        with pytest.raises(ValueError, match=r"must|has a port"):
            UrlReader(url)

    def test_is_logged_without_its_query(self) -> None:
        assert UrlReader("https://id.example.com/jwks?token=secret").name == "https://id.example.com/jwks"


class TestPace:
    async def test_the_keys_are_fetched_at_the_start_and_then_now_and_again(self, server: WebServer) -> None:
        async with running(JwksSource(UrlReader(server.url), BRISK)) as source:
            await until(lambda: kids(source) == {"first"})
            server.says(SECOND)
            await until(lambda: kids(source) == {"second"})
            server.says(b"", "503 Service Unavailable")
            seen = len(server.requests)
            await until(lambda: len(server.requests) > seen + 2)
            assert kids(source) == {"second"}
            server.says(FIRST)
            await until(lambda: kids(source) == {"first"})

    async def test_strangers_cannot_have_them_fetched_at_will(self, server: WebServer) -> None:
        source = JwksSource(UrlReader(server.url), LAZY)
        async with running(source):
            await until(lambda: kids(source) == {"first"})
            verifier = TokenVerifier(source, Issuer().rules)
            for number in range(200):
                with pytest.raises(Unauthenticated):
                    await verifier.verify(Issuer(kid=f"made-up-{number}").token())
        # One at the start, one for the first of the unknown keys.
        assert len(server.requests) == 2

    async def test_those_who_come_at_once_share_one_fetch(self, server: WebServer) -> None:
        release = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.write(whole(FIRST))

        server.answer = answer
        issuer = Issuer(kid="first")
        source = JwksSource(UrlReader(server.url), LAZY)
        verifier = TokenVerifier(source, issuer.rules)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(verifier.verify(issuer.token())) for _ in range(50)]
            await until(lambda: bool(server.requests))
            # Who gives up takes nothing from the others.
            calls.pop().cancel()
            release.set()
        assert {call.result().subject for call in calls} == {"ada"}
        assert len(server.requests) == 1

    async def test_nobody_waits_long_for_a_slow_server(
        self, server: WebServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("waypost.access.jwks_source.WAIT_SECONDS", 0.1)

        async def never(_: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        server.answer = never
        async with running(JwksSource(UrlReader(server.url), LAZY)) as source:
            await until(lambda: bool(server.requests))
            # The fetch itself would be given up only after the 5 s that any silence may take.
            async with asyncio.timeout(4):
                await asyncio.gather(*(source.refresh() for _ in range(20)))
            assert source.keys is None

    async def test_a_rotation_costs_no_token(self, server: WebServer) -> None:
        old, new = Issuer(kid="first"), Issuer(kid="second")
        async with running(JwksSource(UrlReader(server.url), LAZY)) as source:
            await until(lambda: kids(source) == {"first"})
            verifier = TokenVerifier(source, old.rules)
            assert await verifier.verify(old.token())
            # The issuer signs with a key at the very moment in which it publishes it.
            server.says(BOTH)
            assert await verifier.verify(new.token())
            assert await verifier.verify(old.token())

    async def test_a_read_that_asked_too_early_is_not_the_last_word(self, server: WebServer) -> None:
        old, new = Issuer(kid="first"), Issuer(kid="second")
        release = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            asked = len(server.requests)
            if asked == 2:
                await release.wait()
            # What the issuer published when it was asked, however late it arrives.
            writer.write(whole(FIRST if asked <= 2 else BOTH))

        server.answer = answer
        async with running(JwksSource(UrlReader(server.url), Pace(every=0.01, soonest=60, retry=LAZY.retry))) as source:
            await until(lambda: len(server.requests) == 2)
            verifier = TokenVerifier(source, old.rules)
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(verifier.verify(new.token())) for _ in range(50)]
                await asyncio.sleep(0)
                release.set()
            assert {call.result().subject for call in calls} == {"ada"}

    async def test_the_end_of_the_task_ends_the_fetch(self, server: WebServer) -> None:
        async def dawdle(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

        server.answer = dawdle
        async with running(JwksSource(UrlReader(server.url), LAZY)):
            await until(lambda: bool(server.requests))
        await asyncio.wait_for(server.gone.wait(), 20)

    def test_is_bounded_both_ways(self) -> None:
        # A key that is withdrawn works on for as long as this, and what is kept of tokens.
        assert URL_PACE.every <= 300
        assert URL_PACE.soonest >= 10
        assert FILE_PACE.every <= 5


class TestSettings:
    def test_say_which_source_it_is(self, tmp_path: Path) -> None:
        common = {"WAYPOST_JWT_ISSUER": made.ISSUER, "WAYPOST_JWT_AUDIENCE": "a"}
        assert source_for(JwtSettings.from_env({})) is None
        file = source_for(JwtSettings.from_env(common | {"WAYPOST_JWT_JWKS_FILE": str(tmp_path / "k.json")}))
        url = source_for(JwtSettings.from_env(common | {"WAYPOST_JWT_JWKS_URL": "https://id.example/k"}))
        assert isinstance(_reader(file), FileReader)
        assert isinstance(_reader(url), UrlReader)
        assert (_reader(file).name, _reader(url).name) == (str(tmp_path / "k.json"), "https://id.example/k")


def _reader(source: JwksSource | None) -> Reader:
    assert source is not None
    return source._reader


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for 127.0.0.1 that it has signed itself (`cert.pem`)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made_of = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made_of.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
