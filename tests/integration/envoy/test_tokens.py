"""The edge's check of tokens: what is refused before any service, what passes, and keys that change under load."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import jwt
import pytest
import pytest_asyncio

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.upstreams import control_port, web_port
from tests.support import tokens as made
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.tokens import Issuer, part, public_jwk
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.rpc.problem import PROBLEM_TYPE
from waypost.supervisor import envoy_jwt
from waypost.supervisor.envoy import EnvoyConfig
from waypost.supervisor.envoy_tls import Tls, sds_document
from waypost.supervisor.jwks_watch import JwksWatch

pytestmark = pytest.mark.asyncio(loop_scope="module")

REASON = "ERROR_REASON_UNAUTHENTICATED"
LINK = "/api/v1/urls/abc"
ISSUER = Issuer()


@dataclass
class Guarded:
    """An edge that checks tokens, and the file with the keys that it believes."""

    mesh: Mesh
    jwks: Path
    watch: JwksWatch

    async def publish(self, document: bytes) -> None:
        """Has the edge hear of other keys."""
        self.jwks.write_bytes(document)
        await self.watch.look()

    async def ask(self, token: str | None, path: str = LINK, **headers: str) -> httpx.Response:
        """One JSON call."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        async with self.mesh.edge.client() as client:
            return await client.get(path, headers=headers)

    async def until(self, token: str, answered: int) -> None:
        """Waits until calls with this token are answered so."""

        async def so() -> bool:
            return (await self.ask(token)).status_code == answered

        await until(so, seconds=5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    edges.program()
    folder = tmp_path_factory.mktemp("guarded")
    jwks = folder / "jwks.json"
    jwks.write_bytes(ISSUER.jwks())
    watch = JwksWatch(made.ISSUER, (made.AUDIENCE, "second"), jwks, folder / "jwt.json")
    watch.publish()
    async with control_port() as gateway, control_port() as ratelimiter, web_port() as web:
        config = EnvoyConfig(
            descriptor_set=edges.descriptor_set(folder),
            gateway=("127.0.0.1", gateway.port),
            gateway_web=("127.0.0.1", web.port),
            ratelimiter=("127.0.0.1", ratelimiter.port),
            jwt=watch.jwt,
        )
        async with edges.running(config, folder) as edge:
            yield Guarded(Mesh(edge, gateway, ratelimiter, web), jwks, watch)


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(running_guarded: Guarded) -> Guarded:
    for script in (running_guarded.mesh.links, running_guarded.mesh.limits, running_guarded.mesh.web):
        script.reset()
    await running_guarded.publish(ISSUER.jwks())
    await running_guarded.until(ISSUER.token(), 200)
    running_guarded.mesh.links.reset()
    return running_guarded


async def test_a_good_token_goes_on_to_the_service(guarded: Guarded) -> None:
    token = ISSUER.token(aud=["other", "second"])
    assert (await guarded.ask(token)).status_code == 200
    async with guarded.mesh.edge.channel() as channel:
        call = links_grpc.LinkServiceStub(channel).GetLink
        await call(links_pb.GetLinkRequest(short_code="abc"), metadata=(("authorization", f"Bearer {token}"),))
    assert [seen.metadata["authorization"] for seen in guarded.mesh.links.calls] == [f"Bearer {token}"] * 2
    # Nothing of ours is added to what the service is told.
    assert not [name for name in guarded.mesh.links.calls[0].metadata if "jwt" in name]


@pytest.mark.parametrize(("algorithm", "kind"), made.ALGORITHMS.items())
async def test_every_algorithm_is_known_to_both(guarded: Guarded, algorithm: str, kind: str) -> None:
    issuer = Issuer(kind, algorithm)
    for entry in (public_jwk(kind, issuer.kid), public_jwk(kind, issuer.kid, alg=algorithm)):
        await guarded.publish(made.jwks(entry))
        await guarded.until(issuer.token(), 200)
        assert (await guarded.ask(issuer.token(which=1))).status_code == 401


async def test_calls_without_a_token_go_on(guarded: Guarded) -> None:
    assert (await guarded.ask(None)).status_code == 200
    for value in ("", "Basic dXNlcjpwYXNz"):
        async with guarded.mesh.edge.client() as client:
            assert (await client.get(LINK, headers={"authorization": value})).status_code == 200
    assert (await guarded.ask(None, **{"x-api-key": "wp_a.b"})).status_code == 200


def bad_tokens() -> dict[str, str]:
    """Tokens that no server should believe."""
    now = int(ISSUER.now)
    head, claims = part({"alg": "none", "typ": "JWT", "kid": ISSUER.kid}), part(ISSUER.claims())
    return {
        "another key": ISSUER.token(which=1),
        "a bit turned": made.turned(ISSUER.token(), 77),
        "no algorithm": f"{head}.{claims}.",
        "no algorithm, signed": f"{head}.{claims}.{ISSUER.token().rpartition('.')[2]}",
        "unknown key": ISSUER.token(headers={"kid": "key-9"}),
        "expired": ISSUER.token(iat=now - 900, nbf=None, exp=now - 90),
        "not yet": ISSUER.token(nbf=now + 1800, exp=now + 3600),
        "never expires": ISSUER.token(exp=None),
        "other issuer": ISSUER.token(iss="https://evil.example"),
        "no issuer": ISSUER.token(iss=None),
        "other audience": ISSUER.token(aud="other"),
        "no audience": ISSUER.token(aud=None),
        "brings its key": ISSUER.token(headers={"jwk": public_jwk("P-256", ISSUER.kid, 1)}, which=1),
        "garbage": "garbage",
        "three parts of garbage": "a.b.c",
        "empty parts": "..",
    }


@pytest.mark.parametrize("name", bad_tokens())
@pytest.mark.parametrize("accept", ["*/*", PROBLEM_TYPE])
async def test_a_bad_token_ends_at_the_edge(guarded: Guarded, name: str, accept: str) -> None:
    token = bad_tokens()[name]
    check = status.check_problem if accept == PROBLEM_TYPE else status.check_json
    for path in (LINK, "/api/v1/urls", "/api/nowhere", "/api"):
        response = await guarded.ask(token, path, accept=accept)
        answer = check(response, 401, 16, REASON)
        assert answer["message"].startswith("the token in the authorization header is not valid here: ")
        assert "Jw" in answer["message"]
        assert response.headers["www-authenticate"].startswith("Bearer ")
        assert response.headers["x-correlation-id"]
        assert all(len(piece) < 9 or piece not in response.text for piece in token.split("."))
    assert not guarded.mesh.links.calls


async def test_grpc_callers_are_told_in_trailers(guarded: Guarded) -> None:
    async with guarded.mesh.edge.channel() as channel:
        for token in bad_tokens().values():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await links_grpc.LinkServiceStub(channel).GetLink(
                    links_pb.GetLinkRequest(short_code="abc"), metadata=(("authorization", f"Bearer {token}"),)
                )
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            found, info = status.from_error(caught.value)
            assert info.reason == REASON
            assert found.message == caught.value.details()
            headers = dict(caught.value.initial_metadata() or ()) | dict(caught.value.trailing_metadata() or ())
            assert str(headers["www-authenticate"]).startswith("Bearer ")
    assert not guarded.mesh.links.calls


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "a"}, {"authorization": "Basic a"}, {"authorization": "Bearer"}])
async def test_what_the_edge_answers_by_itself_is_not_about_tokens(guarded: Guarded, headers: dict[str, str]) -> None:
    """Where no token came, also if other credentials did."""
    async with guarded.mesh.edge.client() as client:
        shorten, text = "/api/v1/shorten", {"content-type": "text/plain"}
        site = {"sec-fetch-site": "cross-site"}
        status.check_json(await client.get("/api/v1/nothing", headers=headers), 404, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
        refused = await client.post(shorten, content=b"x", headers={**headers, **text})
        status.check_json(refused, 415, 3, "ERROR_REASON_MALFORMED_REQUEST")
        refused = await client.post(shorten, content=b" " * 70_000, headers=headers)
        status.check_json(refused, 413, 8, "ERROR_REASON_REQUEST_TOO_LARGE")
        refused = await client.post(shorten, json={}, headers={**headers, **site})
        status.check_json(refused, 403, 7, "ERROR_REASON_CROSS_SITE")


async def test_a_service_that_is_away_is_not_taken_for_a_bad_token(guarded: Guarded, tmp_path: Path) -> None:
    nobody = free_port()
    config = EnvoyConfig(
        descriptor_set=edges.descriptor_set(tmp_path),
        gateway=("127.0.0.1", nobody),
        gateway_web=("127.0.0.1", nobody),
        ratelimiter=("127.0.0.1", nobody),
        jwt=guarded.watch.jwt,
    )
    async with edges.running(config, tmp_path, brisk=True) as edge, edge.client() as client, edge.channel() as channel:
        for headers in ({"x-api-key": "a"}, {"authorization": f"Bearer {ISSUER.token()}"}):
            away = await client.get(LINK, headers=headers)
            status.check_json(away, 503, 14, "ERROR_REASON_DEPENDENCY_UNAVAILABLE")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await links_grpc.LinkServiceStub(channel).GetLink(
                    links_pb.GetLinkRequest(short_code="abc"), metadata=tuple(headers.items())
                )
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await client.get(LINK, headers={"authorization": "Bearer a.b.c"})).status_code == 401


async def test_another_sites_page_is_told_so_whatever_its_token(guarded: Guarded) -> None:
    async with guarded.mesh.edge.client() as client:
        headers = {"sec-fetch-site": "cross-site", "authorization": f"Bearer {ISSUER.token()}"}
        response = await client.post("/api/v1/shorten", json={}, headers=headers)
        status.check_json(response, 403, 7, "ERROR_REASON_CROSS_SITE")
        headers["authorization"] = f"Bearer {ISSUER.token(which=1)}"
        status.check_json(await client.post("/api/v1/shorten", json={}, headers=headers), 401, 16, REASON)


async def test_bodies_of_refused_calls_are_not_read(guarded: Guarded) -> None:
    async with guarded.mesh.edge.client() as client:
        response = await client.post(
            "/api/v1/shorten",
            content=b" " * 1_000_000,
            headers={"content-type": "application/json", "authorization": f"Bearer {ISSUER.token(which=1)}"},
        )
    status.check_json(response, 401, 16, REASON)


async def test_redirects_and_pages_look_at_no_token(guarded: Guarded) -> None:
    for path in ("/abc", "/", "/healthz", "/apiary"):
        assert (await guarded.ask("garbage", path)).status_code == 200


async def test_a_token_in_the_address_is_none(guarded: Guarded) -> None:
    # Neither believed nor refused: it is not looked at.
    assert (await guarded.ask(None, f"{LINK}?access_token=garbage")).status_code == 200
    assert "authorization" not in guarded.mesh.links.calls[-1].metadata


async def test_a_second_token_does_not_take_the_place_of_the_first(guarded: Guarded) -> None:
    """What passes the edge with two headers reaches the service with two, which refuses that."""
    good, bad = f"Bearer {ISSUER.token()}", f"Bearer {ISSUER.token(which=1)}"
    for pair in itertools.permutations((good, bad)):
        async with guarded.mesh.edge.client() as client:
            response = await client.get(LINK, headers=[("authorization", value) for value in pair])
        if response.status_code == 200:
            seen = guarded.mesh.links.calls[-1].metadata["authorization"]
            assert seen in pair
        else:
            status.check_json(response, 401, 16, REASON)


class TestRotation:
    async def test_new_keys_are_taken_up_and_old_ones_let_go(self, guarded: Guarded) -> None:
        following = Issuer(kid="key-2")
        assert (await guarded.ask(following.token())).status_code == 401
        await guarded.publish(made.jwks(public_jwk("P-256", "key-1"), public_jwk("P-256", "key-2")))
        await guarded.until(following.token(), 200)
        assert (await guarded.ask(ISSUER.token())).status_code == 200
        await guarded.publish(following.jwks())
        await guarded.until(ISSUER.token(), 401)
        assert (await guarded.ask(following.token())).status_code == 200

    async def test_no_request_is_lost_to_it(self, guarded: Guarded) -> None:
        token = ISSUER.token()
        answers: list[int] = []
        done = asyncio.Event()

        async def call() -> None:
            async with guarded.mesh.edge.client() as client:
                while not done.is_set():
                    answer = await client.get(LINK, headers={"authorization": f"Bearer {token}"})
                    answers.append(answer.status_code)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(call())
            for number in range(15):
                kid = f"key-{number + 2}"
                await guarded.publish(made.jwks(public_jwk("P-256", "key-1"), public_jwk("P-256", kid)))
                await guarded.until(Issuer(kid=kid).token(), 200)
            done.set()
        assert len(answers) > 50
        assert set(answers) == {200}

    @pytest.mark.parametrize("document", [b"", b"{", b"[]", b'{"keys": 7}'])
    async def test_a_broken_file_changes_nothing(self, guarded: Guarded, document: bytes) -> None:
        before = guarded.watch.jwt.filter_file.read_text()
        await guarded.publish(document)
        assert guarded.watch.jwt.filter_file.read_text() == before
        assert (await guarded.ask(ISSUER.token())).status_code == 200

    async def test_an_empty_one_leaves_nobody_in(self, guarded: Guarded) -> None:
        await guarded.publish(b'{"keys": []}')
        await guarded.until(ISSUER.token(), 401)
        assert (await guarded.ask(None)).status_code == 200

    async def test_keys_that_are_not_fit_are_kept_from_envoy(self, guarded: Guarded) -> None:
        secret = {"kty": "oct", "kid": "shared", "k": made.encoded(b"secret" * 8), "alg": "HS256"}
        await guarded.publish(made.jwks(secret, public_jwk("P-256", "key-2")))
        await guarded.until(Issuer(kid="key-2").token(), 200)
        token = jwt.encode(ISSUER.claims(), b"secret" * 8, "HS256", headers={"kid": "shared"})
        assert (await guarded.ask(token)).status_code == 401
        assert secret["k"] not in guarded.watch.jwt.filter_file.read_text()


async def test_the_file_is_for_our_eyes_only_and_valid(guarded: Guarded) -> None:
    assert guarded.watch.jwt.filter_file.stat().st_mode & 0o777 == 0o600
    assert envoy_jwt.FILTER in guarded.watch.jwt.filter_file.read_text()
    assert "deprecated" not in guarded.mesh.edge.logs().lower()


async def test_https_is_no_way_around_it(guarded: Guarded, tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue(names=("localhost",))
    secret = tmp_path / "certificate.json"
    secret.write_text(sds_document(pair.chain, pair.key))
    tls = Tls(secret, free_port())
    config = replace(guarded.mesh.edge.config, tls=tls)
    trusting = ssl.create_default_context(cadata=authority.root)
    async with (
        edges.running(config, tmp_path),
        httpx.AsyncClient(base_url=f"https://localhost:{tls.port}", verify=trusting, trust_env=False) as client,
    ):
        for token, answered in ((ISSUER.token(), 200), (ISSUER.token(which=1), 401)):
            response = await client.get(LINK, headers={"authorization": f"Bearer {token}"})
            assert response.status_code == answered
