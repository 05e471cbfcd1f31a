"""JWKS documents: which keys of them are used, and why the others are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import tokens as made
from tests.support.tokens import jwks, public_jwk
from waypost.access.jwks import ALGORITHMS, MAX_DOCUMENT_BYTES, MAX_KEYS, BadJwks, KeySet, parse_jwks

RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def ignored(*entries: Any) -> str:
    """Why the document's last entry is passed over; a good one beside it is used all the same."""
    found = parse_jwks(jwks(public_jwk("Ed25519", "good"), *entries))
    assert set(found.keys) == {"good"}
    (why,) = found.ignored
    assert why.isprintable()
    return why


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA-2048", RSA_ALGORITHMS),
        ("RSA-3072", RSA_ALGORITHMS),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA"}),
    ],
)
def test_a_key_is_for_the_algorithms_of_its_kind(kind: str, algorithms: set[str]) -> None:
    assert parse_jwks(jwks(public_jwk(kind, "k"))).keys["k"].algorithms == algorithms
    for algorithm in ALGORITHMS:
        found = parse_jwks(jwks(public_jwk(kind, "k", alg=algorithm)))
        if algorithm in algorithms:
            assert found.keys["k"].algorithms == {algorithm}
        else:
            assert not found.keys
            assert "(alg)" in found.ignored[0]


def test_what_else_an_entry_says_does_not_matter() -> None:
    entry = public_jwk("P-256", "k", use="sig", key_ops=["verify"], x5c=["AAAA"], x5t="B", exp=1, note={"a": [1]})
    found = parse_jwks(jwks(entry))
    assert set(found.keys) == {"k"}
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ({"kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256"}, "kind (kty)"),
        ({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}, "kind (kty)"),
        ({"kty": "AKP", "kid": "k"}, "kind (kty)"),
        ({"kid": "k"}, "kind (kty)"),
        ({"kty": ["RSA"], "kid": "k"}, "kind (kty)"),
        (public_jwk("RSA-2048", "k", use="enc"), "(use)"),
        (public_jwk("P-256", "k", use="enc"), "(use)"),
        (public_jwk("P-256", "k", use=None), "(use)"),
        (public_jwk("P-256", "k", key_ops=["sign"]), "(key_ops)"),
        (public_jwk("P-256", "k", key_ops=["deriveKey"]), "(key_ops)"),
        (public_jwk("P-256", "k", key_ops="verify"), "(key_ops)"),
        (public_jwk("P-256", None), "no kid"),
        (public_jwk("P-256", ""), "no kid"),
        (public_jwk("P-256", "k" * 257), "no kid"),
        (public_jwk("P-256", "k") | {"kid": 7}, "no kid"),
        (public_jwk("RSA-1024", "k"), "1,024 bits"),
        (public_jwk("RSA-2048", "k", n="_" * 3000), "more than 8,192 bits"),
        (public_jwk("RSA-2048", "k", n="_" * 1370), "8,216 bits"),
        (public_jwk("RSA-2048", "k", e="AQ"), "cannot be read"),
        (public_jwk("RSA-2048", "k", e="Ag"), "cannot be read"),
        (public_jwk("RSA-2048", "k", e="AQAAAAE"), "exponent"),
        (public_jwk("RSA-2048", "k", e=65537), "cannot be read"),
        (public_jwk("RSA-2048", "k", n=""), "cannot be read"),
        ({"kty": "RSA", "kid": "k"}, "cannot be read"),
        (public_jwk("secp256k1", "k"), "(crv)"),
        (public_jwk("Ed448", "k"), "(crv)"),
        (public_jwk("P-256", "k", crv="P-384"), "cannot be read"),
        (public_jwk("P-256", "k", x=public_jwk("P-256", "k", 1)["x"]), "cannot be read"),
        (public_jwk("P-256", "k", y="é"), "cannot be read"),
        (public_jwk("Ed25519", "k", x="AAAA"), "cannot be read"),
        ({"kty": "OKP", "crv": "X25519", "kid": "k", "x": "A" * 43}, "cannot be read"),
        (public_jwk("P-256", "k", d="AAAA"), "private"),
        (public_jwk("P-256", "k", alg="HS256"), "(alg)"),
        (public_jwk("RSA-2048", "k", alg="none"), "(alg)"),
        (public_jwk("RSA-2048", "k", alg="RSA-OAEP"), "(alg)"),
        (public_jwk("RSA-2048", "k", alg=None), "(alg)"),
        (public_jwk("RSA-2048", "k", alg=["RS256"]), "(alg)"),
        ("RSA", "no JSON object"),
        (None, "no JSON object"),
    ],
)
def test_an_entry_that_is_not_fit_is_passed_over(entry: Any, hint: str) -> None:
    assert hint in ignored(entry)


def test_all_keys_of_one_kid_are_passed_over() -> None:
    twins = (public_jwk("P-256", "twin"), public_jwk("RSA-2048", "twin"))
    assert "2 keys with the kid 'twin'" in ignored(*twins)
    assert "2 keys" in ignored(twins[0], twins[0])
    # One that could not be used anyway takes the name from nobody.
    found = parse_jwks(jwks(twins[0], public_jwk("RSA-2048", "twin", use="enc")))
    assert set(found.keys) == {"twin"}


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b"-----BEGIN PUBLIC KEY-----", "not JSON"),
        (b"[]", "no list"),
        (b"null", "no list"),
        (b"{}", "no list"),
        (b'{"keys": {}}', "no list"),
        (json.dumps(public_jwk("P-256", "k")).encode(), "no list"),
        (b'{"keys": []}' + b" " * MAX_DOCUMENT_BYTES, "larger than 262,144 bytes"),
        (json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(), "more than 100 keys"),
    ],
)
def test_what_is_no_jwks_is_refused(document: bytes, hint: str) -> None:
    with pytest.raises(BadJwks, match=hint):
        parse_jwks(document)


def test_a_document_without_keys_is_one() -> None:
    assert parse_jwks(b'{"keys": []}') == KeySet({})


def test_the_keys_alone_are_handed_on() -> None:
    kinds = ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"]
    entries = [public_jwk(kind, f"../{kind}") for kind in kinds]
    found = parse_jwks(jwks(*entries, {"kty": "oct", "kid": "o", "k": "c2VjcmV0"}, public_jwk("RSA-1024", "small")))
    assert len(found.ignored) == 2
    again = parse_jwks(found.document().encode())
    assert again.ignored == ()
    assert again.keys.keys() == found.keys.keys()
    for kid, key in found.keys.items():
        assert again.keys[kid].algorithms == key.algorithms
        assert again.keys[kid].key == key.key
    narrow = parse_jwks(jwks(public_jwk("RSA-2048", "k", alg="PS384")))
    assert parse_jwks(narrow.document().encode()).keys["k"].algorithms == {"PS384"}


_MEMBERS = st.sampled_from(["kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "k", "d", "key_ops"])
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=40)
    | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "AQAB", made.part({"a": 1})])
    | st.lists(st.text(max_size=5), max_size=3)
)


@settings(max_examples=500, deadline=None)
@given(changes=st.dictionaries(_MEMBERS, _VALUES), kind=st.sampled_from(["RSA-2048", "P-256", "Ed25519"]))
def test_whatever_stands_in_an_entry_it_is_used_or_passed_over(changes: dict[str, Any], kind: str) -> None:
    for entry in (changes, public_jwk(kind, "k") | changes):
        found = parse_jwks(json.dumps({"keys": [entry]}).encode())
        assert len(found.keys) + len(found.ignored) == 1
        assert all(key.algorithms and key.algorithms <= ALGORITHMS for key in found.keys.values())
