"""Tokens that are not good, by every way into a mesh: each is refused, and nothing of it is told or written down."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.attacks import (
    CHECK,
    DENIED,
    GET_CALLER,
    GET_WORKSPACE,
    LIST_JOBS,
    Answer,
    Headers,
    Way,
    address_of,
    assert_unauthenticated,
    edge_client,
    grpc_way,
    json_way,
    own_channel,
    request_of,
    ways_into,
)
from tests.e2e.conftest import OPERATOR
from tests.e2e.shell import DONE, waypost
from tests.e2e.storms import Storm, eventually
from tests.support.mesh import Mesh
from tests.support.tokens import Issuer, encoded, part, private_key, public_jwk
from tests.support.web_server import web_server
from waypost.api.v1.role_pb2 import ROLE_EDITOR, ROLE_OWNER, ROLE_VIEWER
from waypost.supervisor.dev_issuer import AUDIENCE, ISSUER, jwks_file, key_file

ADD, UPDATE, REMOVE = (f"/waypost.api.v1.MemberService/{name}Member" for name in ("Add", "Update", "Remove"))
CREATE = "/waypost.api.v1.LinkService/CreateLink"
HOUR = 3600
LEEWAY = 60

Forged = dict[str, str]


class DevIssuer(Issuer):
    """The issuer that the mesh itself believes, with its very key, to be told what it would never say."""

    def __init__(self, mesh: Mesh) -> None:
        (self.entry,) = json.loads(jwks_file(mesh.data).read_text())["keys"]
        super().__init__(kid=self.entry["kid"])
        key = serialization.load_pem_private_key(key_file(mesh.data).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key

    def claims(self, **changes: Any) -> dict[str, Any]:
        self.now = time.time()
        return super().claims(**{"iss": ISSUER, "aud": AUDIENCE, "sub": OPERATOR, **changes})

    def seal(self, signed: str, which: int = 0) -> str:
        return f"{signed}.{encoded(jwt.PyJWS().get_algorithm_by_name('ES256').sign(signed.encode(), self.key))}"

    def public(self, form: serialization.Encoding) -> bytes:
        """The public key as everybody may have it."""
        return self.key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def issuer(besieged: Mesh) -> DevIssuer:
    return DevIssuer(besieged)


@pytest.fixture(scope="module")
def ways(besieged: Mesh) -> Iterator[dict[str, Way]]:
    with ways_into(besieged) as ways:
        yield ways


@pytest.fixture(scope="module")
def other_services(besieged: Mesh) -> Iterator[Callable[[Headers], list[Answer]]]:
    """Calls the rate limiter and the workers on their own ports, as somebody from outside."""
    with (
        own_channel(address_of(besieged, "ratelimiter_control")) as limiter,
        own_channel(address_of(besieged, "workers_control")) as workers,
    ):
        check = request_of(CHECK, domain="shop", descriptors=[{"entries": [{"key": "probe", "value": "x"}]}])

        def call(headers: Headers) -> list[Answer]:
            return [
                grpc_way(limiter)(CHECK, check, [*headers, ("x-waypost-edge", "1")]),
                grpc_way(workers)(LIST_JOBS, request_of(LIST_JOBS), headers),
            ]

        yield call


def bearer(token: str) -> Headers:
    return [("authorization", f"Bearer {token}")]


def ask(way: Way, headers: Headers) -> Answer:
    return way(GET_WORKSPACE, request_of(GET_WORKSPACE), headers)


def by_hmac(issuer: DevIssuer, algorithm: str, secret: bytes) -> str:
    """A token for which the public key is taken as the secret of another algorithm."""
    signed = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': issuer.kid})}.{part(issuer.claims())}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha' + algorithm[2:]))}"


def without_signature(issuer: DevIssuer) -> Forged:
    found: Forged = {}
    for alg in ("none", "None", "NONE", "nOnE", "none ", "", "null", None, False, 0, ["none"], {"alg": "none"}):
        head, claims = part({"alg": alg, "typ": "JWT", "kid": issuer.kid}), part(issuer.claims())
        signature = issuer.token().rpartition(".")[2]
        found |= {
            f"alg {alg!r}": f"{head}.{claims}.",
            f"alg {alg!r} without a dot": f"{head}.{claims}",
            f"alg {alg!r} with a signature": f"{head}.{claims}.{signature}",
        }
    head = part({"typ": "JWT", "kid": issuer.kid})
    return found | {"no alg": f"{head}.{claims}.{signature}", "signature cut off": issuer.token().rpartition(".")[0]}


def with_public_key_as_secret(issuer: DevIssuer) -> Forged:
    pem, der = (issuer.public(form) for form in (serialization.Encoding.PEM, serialization.Encoding.DER))
    texts = {
        "PEM": pem,
        "PEM without its last line end": pem.rstrip(),
        "DER": der,
        "DER in base64": base64.b64encode(der),
        "JWK": json.dumps(issuer.entry).encode(),
        "JWK without spaces": json.dumps(issuer.entry, separators=(",", ":")).encode(),
        "x": issuer.entry["x"].encode(),
        "nothing": b"",
    }
    return {
        f"{algorithm} with {name}": by_hmac(issuer, algorithm, text)
        for algorithm in ("HS256", "HS384", "HS512")
        for name, text in texts.items()
    }


def with_wrong_claims(issuer: DevIssuer) -> Forged:
    now = int(time.time())
    changes: dict[str, dict[str, Any]] = {
        "another audience": {"aud": "elsewhere"},
        "no audience": {"aud": None},
        "an empty audience": {"aud": ""},
        "no audience of many": {"aud": ["a", "b"]},
        "an audience in capitals": {"aud": AUDIENCE.upper()},
        "an audience that begins alike": {"aud": AUDIENCE + "x"},
        "another issuer": {"iss": "https://id.example"},
        "no issuer": {"iss": None},
        "an issuer in capitals": {"iss": ISSUER.upper()},
        "an issuer with a slash": {"iss": ISSUER + "/"},
        "an issuer of many": {"iss": [ISSUER]},
        "expired": {"iat": now - HOUR, "nbf": now - HOUR, "exp": now - LEEWAY - 1},
        "expired long ago": {"iat": 1, "nbf": 1, "exp": 2},
        "no end": {"exp": None},
        "an end in words": {"exp": "tomorrow"},
        "an end without end": {"exp": 1e300},
        "ten years": {"exp": now + 10 * 365 * 24 * HOUR},
        "not yet": {"nbf": now + 2 * LEEWAY},
        "issued in the future": {"iat": now + 2 * LEEWAY, "exp": now + HOUR},
        "no time of issue": {"iat": None},
        "no subject": {"sub": None},
        "an empty subject": {"sub": ""},
        "a subject of many": {"sub": [OPERATOR]},
        "a subject with a space": {"sub": f" {OPERATOR}"},
        "a subject with a line end": {"sub": f"{OPERATOR}\n"},
    }
    return {name: issuer.token(**change) for name, change in changes.items()}


def with_wrong_keys(issuer: DevIssuer) -> Forged:
    """Signed well, by somebody else; and with a header that says something else of the key."""
    elsewhere = Issuer(kid=issuer.kid)
    claims = issuer.claims()
    odd: dict[str, dict[str, Any]] = {
        "kid unknown": {"kid": "other"},
        "kid absent": {"kid": None},
        "kid empty": {"kid": ""},
        "kid a path": {"kid": "../../../../dev/null"},
        "kid SQL": {"kid": "' OR '1'='1"},
        "kid a number": {"kid": 1},
        "kid long": {"kid": "k" * 5000},
        "alg of another curve": {"alg": "ES384"},
        "alg RSA": {"alg": "RS256"},
        "alg a list": {"alg": ["ES256"]},
        "crit": {"crit": ["exp"]},
        "b64": {"b64": False, "crit": ["b64"]},
        "typ of another purpose": {"typ": "secevent+jwt"},
    }
    return {
        "another's key under our kid": elsewhere.sign(claims),
        "another's key under its own kid": Issuer(kid="key-1").sign(claims),
        "RSA under our kid": Issuer("RSA-2048", "RS256", issuer.kid).sign(claims),
        "Ed25519 under our kid": Issuer("Ed25519", "EdDSA", issuer.kid).sign(claims),
        **{name: issuer.token(headers=headers) for name, headers in odd.items()},
        # CVE-2022-21449: a signature of zeros is good for everything where nobody looks.
        "zeros": f"{issuer.token().rpartition('.')[0]}.{encoded(bytes(64))}",
        "the signature of another": f"{issuer.token(sub='someone').rpartition('.')[0]}."
        + issuer.token().rpartition(".")[2],
        "five parts": f"{issuer.token()}.a.b",
        "JSON": json.dumps({"payload": part(claims), "signatures": [{"protected": part({"alg": "none"})}]}),
        "nothing": "x",
        "dots": "..",
        "padded": issuer.token() + "=",
        "in quotes": f'"{issuer.token()}"',
        "with a comma": f"{issuer.token()},{issuer.token()}",
    }


@pytest.mark.parametrize("forge", [without_signature, with_public_key_as_secret, with_wrong_claims, with_wrong_keys])
def test_a_forged_token_is_nobodys(
    besieged: Mesh,
    issuer: DevIssuer,
    ways: dict[str, Way],
    other_services: Callable[[Headers], list[Answer]],
    forge: Callable[[DevIssuer], Forged],
) -> None:
    good = issuer.token()
    besieged.secrets.add(good)
    for name, token in forge(issuer).items():
        besieged.secrets.add(token)
        for way, call in ways.items():
            answer = ask(call, bearer(token))
            assert answer.code == 16, (name, way, answer)
            assert_unauthenticated(answer, token)
            # Not even where nothing is asked of callers.
            assert call(GET_CALLER, request_of(GET_CALLER), bearer(token)).code == 16, (name, way)
        for answer in other_services(bearer(token)):
            assert_unauthenticated(answer, token)
    assert all(ask(call, bearer(good)).well for call in ways.values())
    assert all(answer.well for answer in other_services(bearer(good)))


def test_a_token_of_which_one_bit_was_changed_is_nobodys(
    besieged: Mesh, issuer: DevIssuer, ways: dict[str, Way]
) -> None:
    """Every bit of the signature; those of the other parts in steps."""
    token = issuer.token()
    besieged.secrets.add(token)
    parts = [base64.urlsafe_b64decode(text + "==") for text in token.split(".")]
    changes = [(2, bit) for bit in range(8 * len(parts[2]))]
    changes += [(which, bit) for which in (0, 1) for bit in range(0, 8 * len(parts[which]), 7)]
    for number, (which, bit) in enumerate(changes):
        raw = bytearray(parts[which])
        raw[bit // 8] ^= 1 << bit % 8
        forged = ".".join(
            encoded(bytes(raw)) if place == which else text for place, text in enumerate(token.split("."))
        )
        # Every one where no edge helps, and some by each other way.
        for way in ("the gateway's port", *(list(ways)[number % 3 :][:1] if number % 5 == 0 else ())):
            assert_unauthenticated(ask(ways[way], bearer(forged)))
    assert all(ask(call, bearer(token)).well for call in ways.values())


async def test_where_a_token_says_its_key_lies_nobody_looks(
    besieged: Mesh, issuer: DevIssuer, ways: dict[str, Way]
) -> None:
    attacker = Issuer(kid="attacker")
    own = public_jwk("P-256", "attacker", alg="ES256", use="sig")
    pem = (
        private_key("P-256")
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    async with web_server() as server:
        server.says(attacker.jwks())
        base = server.url.rpartition("/")[0]
        headers: list[dict[str, Any]] = [
            {"jku": server.url},
            {"jku": f"{base}/{issuer.kid}"},
            {"x5u": f"{base}/chain.pem"},
            {"jwk": own},
            {"x5c": [base64.b64encode(pem).decode()]},
            {"x5t": "x", "x5t#S256": "y", "jku": server.url, "jwk": own},
            {"kid": server.url},
            {"iss": server.url},
        ]
        for extra in headers:
            for kid in (issuer.kid, "attacker"):
                for iss in (ISSUER, base):
                    token = attacker.sign(issuer.claims(iss=iss), headers={"kid": kid, **extra})
                    besieged.secrets.add(token)
                    for call in ways.values():
                        assert_unauthenticated(await asyncio.to_thread(ask, call, bearer(token)), token)
        assert server.requests == []
        # It could have been called.
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(server.url)).status_code == 200


def test_a_token_counts_in_its_header_alone(besieged: Mesh, issuer: DevIssuer) -> None:
    """Addresses stand in logs and histories, and cookies go along with whatever page of whomever."""
    token = issuer.token()
    besieged.secrets.add(token)
    with edge_client(besieged) as client:
        for name in ("access_token", "token", "jwt", "authorization", "id_token", "bearer", "x-api-key", "api_key"):
            for value in (token, f"Bearer {token}", besieged.operator_key):
                for given in (
                    {"params": {name: value}},
                    {"headers": {"cookie": f"{name}={value}"}},
                    {"headers": {f"x-{name}": value}},
                ):
                    if given == {"headers": {"x-x-api-key": value}} or "_" in str(given.get("headers", "")):
                        continue
                    response = client.get("/api/v1/workspace", **given)  # type: ignore[arg-type]
                    assert response.status_code == 401, (given, response.text)
        posted = client.post("/api/v1/keys", json={"name": "x", "access_token": token}, headers={"cookie": "a=b"})
        assert posted.status_code == 401


def test_credentials_that_come_twice_or_both_ways_count_for_nothing(
    besieged: Mesh, issuer: DevIssuer, ways: dict[str, Way]
) -> None:
    token, other, key = issuer.token(), issuer.token(sub="someone"), besieged.operator_key
    besieged.secrets |= {token, other}
    bad = Issuer().token()
    for headers in (
        [*bearer(token), *bearer(other)],
        [*bearer(token), *bearer(bad)],
        [*bearer(bad), *bearer(token)],
        [*bearer(token), ("authorization", "Basic YTpi")],
        [*bearer(token), ("x-api-key", key)],
        [("x-api-key", key), *bearer(bad)],
        [("x-api-key", key), ("x-api-key", besieged.key_blocking())],
        [("authorization", f"Bearer {token} {other}")],
        [("authorization", f"Bearer Bearer {token}")],
        [("authorization", token)],
        [("authorization", f"Token {token}")],
        [("authorization", f"bearer:{token}")],
        [("authorization", f"Bearer{token}")],
        [("authorization", f"Bearer {key}")],
        [("authorization", key)],
        [("authorization", "Basic " + base64.b64encode(f":{key}".encode()).decode())],
        [("authorization", "Bearer")],
        [("x-api-key", token)],
        [("x-api-key", f"Bearer {token}")],
        [("proxy-authorization", f"Bearer {token}")],
    ):
        for way, call in ways.items():
            answer = ask(call, headers)
            assert answer.code == 16, (headers, way, answer)
            assert_unauthenticated(answer, token, other, key)


def dev_token(mesh: Mesh, subject: str) -> str:
    """What `waypost dev-token` prints."""
    code, out, err = waypost(mesh.env, "dev-token", "--subject", subject)
    assert (code, err) == (DONE, "")
    mesh.secrets.add(out.strip())
    return out.strip()


@pytest.fixture
def person(besieged: Mesh) -> tuple[str, str]:
    """The subject of somebody new, and a token of theirs."""
    subject = f"person-{secrets.token_hex(4)}"
    return subject, dev_token(besieged, subject)


def as_owner(mesh: Mesh, method: str, **fields: Any) -> Answer:
    """A call of an operator about members of the default workspace."""
    with edge_client(mesh) as client:
        answer = json_way(client)(method, request_of(method, **fields), [("x-api-key", mesh.operator_key)])
    assert answer.well, answer
    return answer


def test_a_person_is_what_the_workspace_says(besieged: Mesh, ways: dict[str, Way], person: tuple[str, str]) -> None:
    subject, token = person
    for call in ways.values():
        answer = ask(call, bearer(token))
        assert (answer.code, answer.reason) == (7, DENIED)
        assert "member of no workspace" in answer.message
        caller = call(GET_CALLER, request_of(GET_CALLER), bearer(token))
        assert caller.well
    as_owner(besieged, ADD, subject=subject, role=ROLE_EDITOR)
    eventually(lambda: all(ask(call, bearer(token)).well for call in ways.values()))
    for call in ways.values():
        assert call(CREATE, request_of(CREATE, url="https://example.com/"), bearer(token)).well
        answer = call(ADD, request_of(ADD, subject="friend", role=ROLE_VIEWER), bearer(token))
        assert (answer.code, answer.reason) == (7, DENIED)


def test_an_operator_is_who_the_setting_names_letter_by_letter(
    besieged: Mesh, issuer: DevIssuer, ways: dict[str, Way]
) -> None:
    listing = "/waypost.api.v1.AbuseService/ListReports"
    for call in ways.values():
        assert call(listing, request_of(listing), bearer(issuer.token())).well
        for subject in (OPERATOR.upper(), OPERATOR + "x", f"someone,{OPERATOR}", f"user:{OPERATOR}", OPERATOR[:-1]):
            answer = call(listing, request_of(listing), bearer(issuer.token(sub=subject)))
            assert (answer.code, answer.reason) == (7, DENIED), subject
        # Nor by whatever else the token says.
        more: dict[str, Any] = {
            "role": "operator",
            "roles": ["operator"],
            "scope": "abuse:manage",
            "scopes": ["mesh:read"],
            "admin": 1,
        }
        answer = call(listing, request_of(listing), bearer(issuer.token(sub="nobody", email=OPERATOR, **more)))
        assert (answer.code, answer.reason) == (7, DENIED)


def storm_of(ways: dict[str, Way], method: str, token: str, **fields: Any) -> Storm:
    """Somebody who calls by every way, without a pause."""
    request = request_of(method, **fields)
    return Storm([partial(call, method, request, bearer(token)) for call in ways.values()])


@pytest.mark.parametrize("change", ["removed", "made a viewer"])
def test_who_is_no_longer_a_member_is_out_within_a_second(
    besieged: Mesh, ways: dict[str, Way], person: tuple[str, str], change: str
) -> None:
    """Whoever asks all the time is known by heart everywhere; then not."""
    subject, token = person
    as_owner(besieged, ADD, subject=subject, role=ROLE_EDITOR)
    with storm_of(ways, CREATE, token, url="https://example.com/") as storm:
        storm.until_all(0)
        if change == "removed":
            as_owner(besieged, REMOVE, subject=subject)
        else:
            as_owner(besieged, UPDATE, subject=subject, role=ROLE_VIEWER)
        changed = time.monotonic()
        storm.goes_on(changed, 2.5)
    storm.assert_all_since(changed + 1.0, 7)


def test_who_becomes_an_owner_is_one_within_a_second(
    besieged: Mesh, ways: dict[str, Way], person: tuple[str, str]
) -> None:
    subject, token = person
    as_owner(besieged, ADD, subject=subject, role=ROLE_VIEWER)
    with storm_of(ways, "/waypost.api.v1.KeyService/ListKeys", token) as storm:
        storm.until_all(7)
        as_owner(besieged, UPDATE, subject=subject, role=ROLE_OWNER)
        changed = time.monotonic()
        storm.goes_on(changed, 2.0)
    storm.assert_all_since(changed + 1.0, 0)
