"""Tokens that are believed, and every way in which one is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import tokens as made
from tests.support.tokens import Issuer, Keys, part
from waypost.access.authentication import Presented
from waypost.access.tokens import CACHE_ENTRIES, MAX_TOKEN_BYTES, TokenVerifier
from waypost.errors import DependencyUnavailable, Unauthenticated

NOW = 1_900_000_000.0


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(now=NOW)


@pytest.fixture
def keys(issuer: Issuer) -> Keys:
    return Keys(issuer.jwks())


@pytest.fixture
def verifier(issuer: Issuer, keys: Keys) -> TokenVerifier:
    return TokenVerifier(keys, issuer.rules, now=lambda: NOW)


async def refused(verifier: TokenVerifier, token: str) -> str:
    """Why a token is refused: a sentence that holds nothing of the token, in one line of modest length."""
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    why = caught.value.why
    assert str(caught.value) == why
    assert why.isprintable()
    assert len(why) < 200
    for piece in token.split("."):
        assert len(piece) < 9 or piece not in why
    # Neither a chain of causes that a log would print with the token in it.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return why


class TestGoodTokens:
    async def test_say_who_it_is(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        claims = await verifier.verify(issuer.token(sub="auth0|5f7c", name="Ada Lovelace"))
        assert (claims.subject, claims.name, claims.email) == ("auth0|5f7c", "Ada Lovelace", "")
        assert claims.expires_at.timestamp() == NOW + 900
        assert claims.expires_at.utcoffset() is not None

    @pytest.mark.parametrize(("algorithm", "kind"), made.ALGORITHMS.items())
    @pytest.mark.parametrize("named", [True, False], ids=["key names its alg", "key names none"])
    async def test_of_every_algorithm(self, algorithm: str, kind: str, named: bool) -> None:
        issuer = Issuer(kind, algorithm, now=NOW)
        entry = made.public_jwk(kind, issuer.kid) | ({"alg": algorithm} if named else {})
        verifier = TokenVerifier(Keys(made.jwks(entry)), issuer.rules, now=lambda: NOW)
        token = issuer.token()
        assert (await verifier.verify(token)).subject == "ada"
        size = len(base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")) * 8
        for bit in (0, 7, size // 2, size - 1):
            assert "signature" in await refused(verifier, made.turned(token, bit))

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": ["other", made.AUDIENCE]},
            {"nbf": None},
            {"exp": NOW - 59, "iat": NOW - 900},
            {"nbf": NOW + 60},
            {"iat": NOW + 60},
            {"exp": NOW + 86_400},
            {"exp": NOW + 100.5, "iat": NOW - 0.5},
            {"sub": "x" * 255},
            {"sub": "CN=ada,OU=people!~"},
            {"jti": "1", "scope": "openid", "nested": {"deep": [1, {}]}},
        ],
    )
    async def test_at_the_edge_of_what_is_allowed(
        self, issuer: Issuer, verifier: TokenVerifier, changes: dict[str, Any]
    ) -> None:
        assert (await verifier.verify(issuer.token(**changes))).subject

    @pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
    async def test_of_every_type_that_is_one(self, issuer: Issuer, verifier: TokenVerifier, kind: str | None) -> None:
        assert await verifier.verify(issuer.token(headers={"typ": kind}))

    @pytest.mark.parametrize("kid", ["../../etc/passwd", "'; DROP TABLE keys; --", "a/b?c#d", "кид", "\u202e", " "])
    async def test_under_a_kid_of_any_characters(self, kid: str) -> None:
        issuer = Issuer(kid=kid, now=NOW)
        verifier = TokenVerifier(Keys(issuer.jwks()), issuer.rules, now=lambda: NOW)
        assert await verifier.verify(issuer.token())


class TestSignatures:
    async def test_none_is_no_algorithm(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        for name in ("none", "None", "NONE", "nOnE", ""):
            head = part({"alg": name, "typ": "JWT", "kid": issuer.kid})
            for signature in ("", "AA", issuer.token().rpartition(".")[2]):
                await refused(verifier, f"{head}.{part(issuer.claims())}.{signature}")
            await refused(verifier, f"{head}.{part(issuer.claims())}")

    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    @pytest.mark.parametrize("kind", ["RSA-2048", "P-256"])
    async def test_a_public_key_is_no_shared_secret(self, kind: str, algorithm: str) -> None:
        issuer = Issuer(kind, "RS256" if kind == "RSA-2048" else "ES256", now=NOW)
        entry = made.public_jwk(kind, issuer.kid)
        verifier = TokenVerifier(Keys(made.jwks(entry)), issuer.rules, now=lambda: NOW)
        secrets = [
            made.public_pem(kind),
            made.public_pem(kind).rstrip(),
            made.public_der(kind),
            json.dumps(entry).encode(),
            made.jwks(entry),
            b"",
        ]
        hashed = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
        for claimed in (algorithm, issuer.algorithm):
            signed = f"{part({'alg': claimed, 'typ': 'JWT', 'kid': issuer.kid})}.{part(issuer.claims())}"
            for secret in secrets:
                await refused(verifier, f"{signed}.{made.encoded(hmac.digest(secret, signed.encode(), hashed().name))}")

    async def test_every_single_bit_counts(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        token = issuer.token()
        for bit in range(0, 64 * 8, 5):
            assert "signature" in await refused(verifier, made.turned(token, bit))

    async def test_every_character_of_what_is_signed_counts(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        token = issuer.token()
        for place, letter in enumerate(token):
            if letter != ".":
                await refused(verifier, f"{token[:place]}{'A' if letter != 'A' else 'B'}{token[place + 1 :]}")

    async def test_another_form_of_a_good_signature_is_none(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        token = issuer.token()
        for other in (
            made.in_der(token),
            f"{token}=",
            f"{token}==",
            f"{token}AA",
            token[:-2],
            f" {token}",
            f"{token}\n",
        ):
            await refused(verifier, other)

    @pytest.mark.parametrize("r_and_s", [(0, 0), (1, 1), (0, 1), (1, 0)])
    async def test_numbers_that_fit_every_text_are_no_signature(
        self, issuer: Issuer, verifier: TokenVerifier, r_and_s: tuple[int, int]
    ) -> None:
        signature = b"".join(number.to_bytes(32) for number in r_and_s)
        await refused(verifier, f"{issuer.token().rpartition('.')[0]}.{made.encoded(signature)}")

    async def test_the_signature_of_another_key_is_not_good(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        assert "signature" in await refused(verifier, issuer.token(which=1))

    @pytest.mark.parametrize("claimed", sorted(made.ALGORITHMS))
    async def test_the_algorithm_is_that_of_the_key(self, issuer: Issuer, keys: Keys, claimed: str) -> None:
        for kind, algorithm in (("RSA-2048", "RS256"), ("P-256", "ES256"), ("Ed25519", "EdDSA")):
            issuer = Issuer(kind, algorithm, now=NOW)
            verifier = TokenVerifier(Keys(issuer.jwks()), issuer.rules, now=lambda: NOW)
            if claimed != algorithm:
                assert "(alg)" in await refused(verifier, issuer.token(headers={"alg": claimed}))
                # Also when it is really signed so, as a key for RS256 can sign for PS256.
                if made.ALGORITHMS[claimed] == kind:
                    assert "(alg)" in await refused(verifier, Issuer(kind, claimed, now=NOW).token())

    @pytest.mark.parametrize("algorithm", [None, 7, ["ES256"], {"ES256": 1}, "es256", "ES256 ", "ES256K", "RSA-OAEP"])
    async def test_the_algorithm_is_one_of_few(self, issuer: Issuer, verifier: TokenVerifier, algorithm: Any) -> None:
        assert "(alg)" in await refused(verifier, issuer.token(headers={"alg": algorithm}))


class TestHeaders:
    @pytest.mark.parametrize("kid", [None, "", 7, ["key-1"], "x" * 257])
    async def test_a_token_names_its_key(self, issuer: Issuer, keys: Keys, verifier: TokenVerifier, kid: Any) -> None:
        assert "(kid)" in await refused(verifier, issuer.token(headers={"kid": kid}))
        assert not keys.refreshed

    @pytest.mark.parametrize("kid", ["key-2", "KEY-1", "key-1 ", "../key-1", "' OR 1=1 --", "key-1\x00", "%s", "ключ"])
    async def test_an_unknown_key_is_looked_for_and_refused(
        self, issuer: Issuer, keys: Keys, verifier: TokenVerifier, kid: str
    ) -> None:
        why = await refused(verifier, issuer.token(headers={"kid": kid}))
        assert "does not publish" in why
        assert kid not in why
        assert keys.refreshed == 1

    @pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c", "x5t"])
    async def test_a_token_does_not_bring_its_own_key(
        self, issuer: Issuer, verifier: TokenVerifier, header: str
    ) -> None:
        brought = {
            "jku": "http://127.0.0.1:9/jwks.json",
            "x5u": "http://127.0.0.1:9/cert.pem",
            "jwk": made.public_jwk("P-256", issuer.kid, which=1),
            "x5c": [base64.b64encode(made.public_der("P-256")).decode()],
            "x5t": "AAAA",
        }[header]
        assert "signature" in await refused(verifier, issuer.token(headers={header: brought}, which=1))
        stranger = issuer.token(headers={header: brought, "kid": "theirs"}, which=1)
        assert "does not publish" in await refused(verifier, stranger)

    @pytest.mark.parametrize(
        "headers",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": []},
            {"crit": None, "b64": True},
            {"crit": ["b64"], "b64": True},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
            {"crit": "x"},
        ],
    )
    async def test_extensions_are_not_passed_over(
        self, issuer: Issuer, verifier: TokenVerifier, headers: dict[str, Any]
    ) -> None:
        assert "crit" in await refused(verifier, issuer.token(headers=headers))

    @pytest.mark.parametrize("kind", ["JWE", "logout+jwt", "secevent+jwt", "dpop+jwt", "", 7, ["JWT"]])
    async def test_a_token_for_something_else_is_none(self, issuer: Issuer, verifier: TokenVerifier, kind: Any) -> None:
        assert "(typ)" in await refused(verifier, issuer.token(headers={"typ": kind}))


class TestClaims:
    @pytest.mark.parametrize("claim", ["iss", "aud", "sub", "iat", "exp"])
    async def test_what_a_token_must_say(self, issuer: Issuer, verifier: TokenVerifier, claim: str) -> None:
        assert claim in await refused(verifier, issuer.sign(issuer.claims(**{claim: None})))

    @pytest.mark.parametrize(
        ("changes", "hint"),
        [
            ({"iss": "https://id.example/realms/people/"}, "issuer"),
            ({"iss": "https://evil.example"}, "issuer"),
            ({"iss": made.ISSUER.upper()}, "issuer"),
            ({"iss": [made.ISSUER]}, "issuer"),
            ({"iss": 7}, "issuer"),
            ({"aud": "other"}, "audience"),
            ({"aud": "way"}, "audience"),
            ({"aud": ["other", "Waypost"]}, "audience"),
            ({"aud": []}, "audience"),
            ({"aud": ""}, "audience"),
            ({"aud": {made.AUDIENCE: 1}}, "audience"),
            ({"aud": [made.AUDIENCE, 7]}, "audience"),
            ({"exp": NOW - 60, "iat": NOW - 900}, "expired"),
            ({"exp": NOW - 86_400, "iat": NOW - 90_000}, "expired"),
            ({"exp": 0, "iat": -1}, "expired"),
            ({"nbf": NOW + 61}, "not valid yet"),
            ({"iat": NOW + 61}, "issued in the future"),
            ({"exp": NOW + 10, "iat": NOW + 10}, "before it was issued"),
            ({"exp": NOW + 86_401}, "made for longer"),
            ({"exp": 1e300}, "made for longer"),
            ({"exp": 10**30}, "made for longer"),
            ({"exp": str(NOW + 900)}, "no time"),
            ({"exp": True}, "no time"),
            ({"exp": [NOW + 900]}, "no time"),
            ({"iat": "now"}, "no time"),
            ({"iat": -1e300}, "made for longer"),
            ({"nbf": {}}, "no time"),
            ({"sub": ""}, "subject"),
            ({"sub": " "}, "subject"),
            ({"sub": "ada "}, "subject"),
            ({"sub": "x" * 256}, "subject"),
            ({"sub": "a\nb"}, "subject"),
            ({"sub": "a\x00b"}, "subject"),
            ({"sub": "\u202eada"}, "subject"),
            ({"sub": "Ада"}, "subject"),
            ({"sub": "ada lovelace"}, "subject"),
            ({"sub": 7}, "subject"),
            ({"sub": ["ada"]}, "subject"),
        ],
    )
    async def test_what_is_wrong_is_said(
        self, issuer: Issuer, verifier: TokenVerifier, changes: dict[str, Any], hint: str
    ) -> None:
        assert hint in await refused(verifier, issuer.token(**changes))

    @pytest.mark.parametrize("payload", [b"[]", b'"ada"', b"null", b"", b"{", b"\xff\xfe", b'{"exp":NaN}', b"\x00"])
    async def test_claims_are_a_json_object(self, issuer: Issuer, verifier: TokenVerifier, payload: bytes) -> None:
        head = part({"alg": "ES256", "kid": issuer.kid})
        await refused(verifier, issuer.seal(f"{head}.{made.encoded(payload)}"))

    @pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "01"])
    async def test_times_are_numbers_of_json(self, issuer: Issuer, verifier: TokenVerifier, constant: str) -> None:
        text = json.dumps(issuer.claims(exp=0)).replace('"exp": 0', f'"exp": {constant}')
        await refused(verifier, issuer.seal(f"{part({'alg': 'ES256', 'kid': 'key-1'})}.{made.encoded(text.encode())}"))

    async def test_the_leeway_is_a_minute_and_no_more(self, issuer: Issuer, keys: Keys) -> None:
        now = NOW
        verifier = TokenVerifier(keys, issuer.rules, now=lambda: now)
        token = issuer.token()
        now = NOW + 959.9
        assert await verifier.verify(token)
        now = NOW + 960
        assert "expired" in await refused(verifier, token)


class TestEmail:
    async def test_is_told_if_it_is_verified(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        for verified, email in (
            (True, "ada@example.org"),
            ("true", "ada@example.org"),
            (False, ""),
            (None, ""),
            (1, ""),
        ):
            claims = await verifier.verify(issuer.token(email="Ada@Example.org", email_verified=verified))
            assert claims.email == email

    async def test_may_be_what_names_people(self, issuer: Issuer, keys: Keys) -> None:
        rules = type(issuer.rules)(made.ISSUER, frozenset({made.AUDIENCE}), 86_400, subject_claim="email")
        verifier = TokenVerifier(keys, rules, now=lambda: NOW)
        claims = await verifier.verify(issuer.token(email="Ada@Example.org", email_verified=True))
        assert claims.subject == "ada@example.org"
        for changes in (
            {"email": "ada@example.org"},
            {"email": "ada@example.org", "email_verified": False},
            {"email": "ada@example.org", "email_verified": "false"},
            {"email": "ada@example.org", "email_verified": "True"},
            {"email": "ada@example.org", "email_verified": 1},
            {"email": "ada", "email_verified": True},
            {"email": "ada@example.org\n", "email_verified": True},
            {"email": "a b@example.org", "email_verified": True},
            {"email": ["ada@example.org"], "email_verified": True},
            {"email": "аda@example.org", "email_verified": True},  # its first letter is Cyrillic
            {"email_verified": True},
        ):
            assert "email" in await refused(verifier, issuer.token(**changes))


class TestShapes:
    @pytest.mark.parametrize(
        "token",
        [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c",
            "a..c",
            "a.b.c.d",
            "a.b.c.d.e",
            "....",
            "é.é.é",
            "a.b.c\n",
            "\ud800.a.b",
            "e30.e30.e30",
            "W10.W10.W10",
            "bnVsbA.bnVsbA.bnVsbA",
            "\x00.\x00.\x00",
            "Bearer a.b.c",
            "A.A.A",
            "AAAAA.AAAAA.AAAAA",
            "-_-_.-_-_.-_-_",
        ],
    )
    async def test_garbage_is_refused(self, verifier: TokenVerifier, token: str) -> None:
        await refused(verifier, token)

    async def test_a_token_within_a_token_is_none(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        inner = issuer.token()
        head = part({"alg": "ES256", "kid": issuer.kid, "cty": "JWT"})
        await refused(verifier, issuer.seal(f"{head}.{made.encoded(inner.encode())}"))
        await refused(verifier, f"{inner}.{inner}")
        await refused(verifier, f"{inner},{inner}")

    async def test_deep_json_is_refused(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        for deep in (b"[" * 5000, b'{"a":' * 1000, b"[" * 2000 + b"]" * 2000):
            await refused(verifier, issuer.seal(f"{made.encoded(deep)}.{part(issuer.claims())}"))
            await refused(verifier, issuer.seal(f"{part({'alg': 'ES256', 'kid': issuer.kid})}.{made.encoded(deep)}"))

    async def test_a_large_token_is_refused_unread(self, issuer: Issuer, keys: Keys, verifier: TokenVerifier) -> None:
        room = MAX_TOKEN_BYTES - len(issuer.token(name=""))
        largest = max(
            (issuer.token(name="x" * size) for size in range(room * 3 // 4 - 3, room * 3 // 4 + 4)),
            key=lambda token: (len(token) <= MAX_TOKEN_BYTES, len(token)),
        )
        assert MAX_TOKEN_BYTES - 2 <= len(largest) <= MAX_TOKEN_BYTES
        assert (await verifier.verify(largest)).name == ""
        assert "8,192" in await refused(verifier, issuer.token(name="x" * room))
        assert "8,192" in await refused(verifier, "é" * (MAX_TOKEN_BYTES + 1))

    @settings(max_examples=300, deadline=None)
    @given(token=st.one_of(st.text(max_size=300), st.binary(max_size=300).map(lambda raw: raw.decode("latin-1"))))
    async def test_any_text_is_refused_and_nothing_else_happens(self, token: str) -> None:
        issuer = Issuer(now=NOW)
        await refused(TokenVerifier(Keys(issuer.jwks()), issuer.rules, now=lambda: NOW), token)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "email", "email_verified", "name", "jti"]), _JSON
)
_HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "cty", "jwk", "jku", "x5c"]), _JSON)


class TestFuzz:
    """Whatever is in a token, also one that is signed well: it is believed, or refused in a sentence."""

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(claims=st.one_of(_CLAIMS, _JSON), headers=_HEADERS)
    async def test_any_json_in_a_signed_token(self, claims: Any, headers: dict[str, Any]) -> None:
        issuer = Issuer(now=NOW)
        verifier = TokenVerifier(Keys(issuer.jwks()), issuer.rules, now=lambda: NOW)
        merged = issuer.claims() | claims if isinstance(claims, dict) else claims
        try:
            assert (await verifier.verify(issuer.sign(merged, headers=headers))).subject
        except Unauthenticated as error:
            assert error.why

    @settings(max_examples=300, deadline=None)
    @given(header=st.binary(max_size=60), payload=st.binary(max_size=60), signature=st.binary(max_size=70))
    async def test_any_bytes_in_three_parts(self, header: bytes, payload: bytes, signature: bytes) -> None:
        issuer = Issuer(now=NOW)
        verifier = TokenVerifier(Keys(issuer.jwks()), issuer.rules, now=lambda: NOW)
        head = part({"alg": "ES256", "kid": issuer.kid})
        for token in (
            f"{made.encoded(header)}.{made.encoded(payload)}.{made.encoded(signature)}",
            f"{head}.{made.encoded(payload)}.{made.encoded(signature)}",
            issuer.seal(f"{head}.{made.encoded(payload)}"),
            issuer.seal(f"{made.encoded(header)}.{part(issuer.claims())}"),
        ):
            await refused(verifier, token)


class TestKeptTokens:
    async def test_are_not_checked_again_for_a_minute(self, issuer: Issuer, keys: Keys) -> None:
        now = NOW
        verifier = TokenVerifier(keys, issuer.rules, now=lambda: now)
        token = issuer.token()
        first = await verifier.verify(token)
        now = NOW + 59.9
        assert await verifier.verify(token) is first
        now = NOW + 60
        again = await verifier.verify(token)
        assert again == first
        assert again is not first

    async def test_are_not_kept_beyond_their_end(self, issuer: Issuer, keys: Keys) -> None:
        now = NOW
        verifier = TokenVerifier(keys, issuer.rules, now=lambda: now)
        token = issuer.token(exp=NOW + 10)
        first = await verifier.verify(token)
        now = NOW + 10
        # Within the leeway: good, but looked at each time.
        assert await verifier.verify(token) is not first
        now = NOW + 70
        assert "expired" in await refused(verifier, token)

    async def test_are_looked_at_again_when_the_clock_was_set_back(self, issuer: Issuer, keys: Keys) -> None:
        now = NOW
        verifier = TokenVerifier(keys, issuer.rules, now=lambda: now)
        token = issuer.token()
        await verifier.verify(token)
        now = NOW - 61
        assert "future" in await refused(verifier, token)

    async def test_are_forgotten_when_the_keys_change(
        self, issuer: Issuer, keys: Keys, verifier: TokenVerifier
    ) -> None:
        token = issuer.token()
        await verifier.verify(token)
        # The same kid, another key: as after a theft.
        keys.next = issuer.jwks(which=1)
        await keys.refresh()
        assert "signature" in await refused(verifier, token)
        assert await verifier.verify(issuer.token(which=1))

    async def test_refusals_are_not_kept(self, issuer: Issuer, keys: Keys, verifier: TokenVerifier) -> None:
        rotated = Issuer(kid="key-2", now=NOW)
        await refused(verifier, rotated.token())
        keys.next = rotated.jwks()
        assert await verifier.verify(rotated.token())

    async def test_are_of_a_bounded_number(self, issuer: Issuer, keys: Keys, verifier: TokenVerifier) -> None:
        issuer = Issuer("Ed25519", "EdDSA", now=NOW)
        keys.next = issuer.jwks()
        await keys.refresh()
        tokens = [issuer.token(jti=str(number)) for number in range(CACHE_ENTRIES + 1)]
        claims = [await verifier.verify(token) for token in tokens]
        # The last but the first that came are there still; the very first has gone.
        assert await verifier.verify(tokens[1]) is claims[1]
        assert await verifier.verify(tokens[0]) is not claims[0]
        assert await verifier.verify(tokens[1]) is claims[1]
        assert await verifier.verify(tokens[2]) is not claims[2]


class TestKeys:
    async def test_that_are_new_are_found_with_the_first_token(
        self, issuer: Issuer, keys: Keys, verifier: TokenVerifier
    ) -> None:
        keys.next = made.jwks(made.public_jwk("P-256", "key-1"), made.public_jwk("Ed25519", "key-2"))
        assert await verifier.verify(Issuer("Ed25519", "EdDSA", "key-2", now=NOW).token())
        assert await verifier.verify(issuer.token())
        assert keys.refreshed == 1

    async def test_that_were_never_read_are_no_reason_to_call_a_token_bad(self, issuer: Issuer) -> None:
        keys = Keys(None)
        verifier = TokenVerifier(keys, issuer.rules, now=lambda: NOW)
        with pytest.raises(DependencyUnavailable):
            await verifier.verify(issuer.token())
        assert "JWT" in await refused(verifier, "garbage")
        keys.next = issuer.jwks()
        assert await verifier.verify(issuer.token())

    async def test_an_empty_document_leaves_nobody_in(self, issuer: Issuer) -> None:
        verifier = TokenVerifier(Keys(made.jwks()), issuer.rules, now=lambda: NOW)
        assert "does not publish" in await refused(verifier, issuer.token())


class TestAuthorizationHeader:
    @pytest.mark.parametrize("value", ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "])
    def test_holds_a_token(self, value: str) -> None:
        assert Presented.of([("authorization", value)]).token == "a.b.c"

    @pytest.mark.parametrize(
        "values",
        [
            ["Bearer"],
            ["Bearer "],
            ["a.b.c"],
            ["Basic dXNlcjpwYXNz"],
            ["Bearera.b.c"],
            ["Bearer\ta.b.c"],
            ["Bearer a.b.c", "Bearer a.b.d"],
            ["Bearer a.b.c", ""],
            ["", "Bearer a.b.c"],
            ["Basic x", "Bearer a.b.c"],
        ],
    )
    def test_holds_nothing_else_and_says_one_thing(self, values: list[str]) -> None:
        with pytest.raises(Unauthenticated, match="authorization"):
            Presented.of([("authorization", value) for value in values])

    async def test_two_tokens_in_one_are_none(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        for between in (",", ", ", " ", ";", ", Bearer "):
            value = f"Bearer {issuer.token()}{between}{issuer.token(which=1)}"
            token = Presented.of([("authorization", value)]).token
            assert "no signed JWT" in await refused(verifier, token)
