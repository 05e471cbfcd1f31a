"""People with tokens, through everything that `waypost up` starts: who they are, and that nobody else is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

import grpc
import httpx
import pytest

from tests.e2e.api import DETAILS_KEY, channel
from tests.e2e.shell import DONE, waypost
from tests.support import tokens as made
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh, running_mesh
from tests.support.tokens import Issuer, public_jwk
from tests.support.waiting import until
from tests.support.web_server import web_server
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc

LINKS = "/api/v1/urls"
REASON = "ERROR_REASON_UNAUTHENTICATED"
OPERATOR = "the-operator"


def dev_token(mesh: Mesh, *words: str) -> str:
    """What `waypost dev-token` prints."""
    code, out, err = waypost(mesh.env, "dev-token", *words)
    assert (code, err) == (DONE, "")
    return out.strip()


def call(mesh: Mesh, token: str, path: str = LINKS) -> httpx.Response:
    """One JSON call."""
    return httpx.get(f"{mesh.http_url}{path}", headers={"authorization": f"Bearer {token}"}, trust_env=False)


def reason(response: httpx.Response) -> str:
    """The reason that programs read of an error."""
    return str(response.json()["details"][0]["reason"])


def call_service(mesh: Mesh, port: str, token: str) -> tuple[grpc.StatusCode, str]:
    """How a service itself, without the edge before it, answers a token."""
    with channel(mesh, port) as direct:
        try:
            links_grpc.LinkServiceStub(direct).ListLinks(
                links_pb.ListLinksRequest(), metadata=(("authorization", f"Bearer {token}"),), timeout=10
            )
        except grpc.RpcError as error:
            refused = cast(grpc.Call, error)
            assert DETAILS_KEY in dict(refused.trailing_metadata() or ())
            return refused.code(), str(refused.details())
    return grpc.StatusCode.OK, ""


def test_a_person_is_known_by_their_token(mesh: Mesh) -> None:
    subject = f"ada-{time.time_ns()}"
    token = dev_token(mesh, "--subject", subject)
    stranger = call(mesh, token)
    assert (stranger.status_code, reason(stranger)) == (403, "ERROR_REASON_PERMISSION_DENIED")
    added = httpx.post(
        f"{mesh.http_url}/api/v1/members",
        json={"subject": subject, "role": "ROLE_VIEWER"},
        headers=headers_of(mesh.key_blocking()),
        trust_env=False,
    )
    assert added.status_code == 200, added.text
    # What a service knew of them counts for less than a second.
    deadline = time.monotonic() + 5
    while (answer := call(mesh, token)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    assert call_service(mesh, "gateway_control", token) == (grpc.StatusCode.OK, "")
    assert call(mesh, dev_token(mesh, "--subject", f"{subject}-other")).status_code == 403


def test_a_bad_token_is_refused_by_the_edge_and_by_the_service(mesh: Mesh) -> None:
    token = dev_token(mesh)
    turned = made.turned(token, 100)
    answer = call(mesh, turned)
    assert (answer.status_code, reason(answer)) == (401, REASON)
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert call_service(mesh, "gateway_control", turned)[0] is grpc.StatusCode.UNAUTHENTICATED
    # One that is good elsewhere: by the public key of another machine.
    elsewhere = Issuer().token(iss="waypost-dev", aud="waypost")
    assert call(mesh, elsewhere).status_code == 401
    assert "does not publish" in call_service(mesh, "gateway_control", elsewhere)[1]
    # Nothing of a token is ever written down.
    for path in (mesh.data / "logs").iterdir():
        text = path.read_text()
        for one in (token, turned, elsewhere):
            assert all(part not in text for part in one.split("."))


@pytest.mark.slow
async def test_an_issuer_of_ones_own_whose_keys_are_in_a_file(tmp_path: Path) -> None:
    old, new = Issuer(kid="old"), Issuer("Ed25519", "EdDSA", "new")
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(old.jwks())
    env = {
        "WAYPOST_JWT_ISSUER": made.ISSUER,
        "WAYPOST_JWT_AUDIENCE": made.AUDIENCE,
        "WAYPOST_JWT_JWKS_FILE": str(jwks),
        "WAYPOST_OPERATORS": OPERATOR,
    }
    async with running_mesh(env=env) as mesh:
        assert call(mesh, old.token(sub=OPERATOR)).status_code == 200
        assert call(mesh, old.token(sub=OPERATOR, aud="other")).status_code == 401
        assert call(mesh, new.token(sub=OPERATOR)).status_code == 401
        code, _, err = waypost(mesh.env, "dev-token")
        assert (code, "WAYPOST_JWT_ISSUER" in err) == (2, True)
        assert not (mesh.data / "jwt").exists()
        # First published, then used; at last the old one is withdrawn.
        jwks.write_bytes(made.jwks(public_jwk("P-256", "old"), public_jwk("Ed25519", "new")))
        await until(lambda: call(mesh, new.token(sub=OPERATOR)).status_code == 200)
        assert call(mesh, old.token(sub=OPERATOR)).status_code == 200
        jwks.write_bytes(new.jwks())
        await until(lambda: call(mesh, old.token(sub=OPERATOR)).status_code == 401)
        kept = old.token(sub=OPERATOR)
        await until(lambda: call_service(mesh, "gateway_control", kept)[0] is grpc.StatusCode.UNAUTHENTICATED)
        assert call(mesh, new.token(sub=OPERATOR)).status_code == 200
        assert any(json.dumps(event).count("jwks_changed") for event in mesh.events)


@pytest.mark.slow
async def test_an_issuer_whose_keys_are_at_an_address() -> None:
    old, new = Issuer(kid="old"), Issuer(kid="new")
    async with web_server() as server:
        server.says(old.jwks())
        env = {
            "WAYPOST_JWT_ISSUER": made.ISSUER,
            "WAYPOST_JWT_AUDIENCE": made.AUDIENCE,
            "WAYPOST_JWT_JWKS_URL": server.url,
            "WAYPOST_OPERATORS": OPERATOR,
        }
        async with running_mesh(env=env) as mesh:

            async def ask(token: str) -> httpx.Response:
                async with httpx.AsyncClient(trust_env=False) as client:
                    return await client.get(f"{mesh.http_url}{LINKS}", headers={"authorization": f"Bearer {token}"})

            assert (await ask(old.token(sub=OPERATOR))).status_code == 200
            # The key that the next token is signed with is published at this moment, and the first call finds it.
            server.says(made.jwks(public_jwk("P-256", "old"), public_jwk("P-256", "new")))
            assert (await ask(new.token(sub=OPERATOR))).status_code == 200
            assert (await ask(old.token(sub=OPERATOR))).status_code == 200
            refused = await ask(new.token(sub=OPERATOR, which=1))
            # By the gateway: the edge has no keys.
            assert (refused.status_code, reason(refused)) == (401, REASON)
            assert "signature" in refused.json()["message"]
