"""API keys: what is one, what the server keeps of it, and that nothing else passes for it."""

from __future__ import annotations

import ast
import hmac
import inspect
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.access import api_keys
from waypost.access.api_keys import ApiKey, KeyRecord, digest_of, matches, new_key, parse_key, scopes_of
from waypost.access.identity import ROLE_SCOPES, Role, Scope

PEPPERS = (b"p" * 32, b"q" * 32)
KEY = ApiKey("abcdefghij123456", "A" * 43)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def record_of(key: ApiKey, pepper: bytes = PEPPERS[0]) -> KeyRecord:
    return KeyRecord(
        key.key_id, UUID(int=1), Role.EDITOR, ROLE_SCOPES[Role.EDITOR], digest_of(key, pepper), expires_at=None
    )


def test_a_new_key_is_one_and_like_no_other() -> None:
    keys = [new_key() for _ in range(200)]
    for key in keys:
        assert re.fullmatch(r"wp_[A-Za-z0-9]{16}\.[A-Za-z0-9_-]{43}", key.text)
        assert parse_key(key.text) == key
    assert len({key.key_id for key in keys}) == len({key.secret for key in keys}) == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wp_",
        KEY.text[:-1],
        KEY.text + "A",
        KEY.text + "\n",
        " " + KEY.text,
        KEY.text.replace("wp_", "WP_"),
        KEY.text.replace("wp_", ""),
        KEY.text.replace(".", ":"),
        KEY.text.replace("abc", "ab-"),
        KEY.text.replace("AAA", "AA="),
        KEY.text.replace("abc", "äbc"),
        KEY.text.replace("1", "\N{FULLWIDTH DIGIT ONE}"),
        "Bearer " + KEY.text,
        "x" * 100_000,
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_key(text) is None


def test_a_key_is_known_by_its_digest() -> None:
    assert matches(KEY, record_of(KEY), PEPPERS)
    assert record_of(KEY).digest == hmac.digest(PEPPERS[0], KEY.text.encode(), "sha256")


def test_with_one_bit_turned_anywhere_it_is_another_key_or_none() -> None:
    record, text = record_of(KEY), KEY.text.encode()
    tried = 0
    for place in range(len(text)):
        for bit in range(8):
            turned = bytearray(text)
            turned[place] ^= 1 << bit
            key = parse_key(turned.decode("latin-1"))
            if key is not None:
                tried += 1
                assert not matches(key, record, PEPPERS), (place, bit)
    assert tried > 100


@given(st.from_regex(r"[A-Za-z0-9]{16}", fullmatch=True), st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_other_key_matches(key_id: str, secret: str) -> None:
    key = ApiKey(key_id, secret)
    assert parse_key(key.text) == key
    assert matches(key, record_of(KEY), PEPPERS) is (key == KEY)
    # Also a record of its own id, with a digest of another secret.
    assert matches(key, replace(record_of(KEY), key_id=key_id), PEPPERS) is (key == KEY)


@given(st.integers(0, 255))
def test_a_digest_with_one_bit_turned_matches_nothing(bit: int) -> None:
    digest = bytearray(record_of(KEY).digest)
    digest[bit // 8] ^= 1 << bit % 8
    assert not matches(KEY, replace(record_of(KEY), digest=bytes(digest)), PEPPERS)


def test_keys_of_each_pepper_count_and_of_others_do_not() -> None:
    for pepper in PEPPERS:
        assert matches(KEY, record_of(KEY, pepper), PEPPERS)
    assert not matches(KEY, record_of(KEY, b"r" * 32), PEPPERS)
    assert not matches(KEY, record_of(KEY, PEPPERS[1]), PEPPERS[:1]), "a pepper that is given up"
    assert not matches(KEY, record_of(KEY), ()), "without a pepper no key counts"


def test_digests_are_compared_in_constant_time() -> None:
    body = ast.parse(inspect.getsource(matches)).body[0]
    compared = [node for node in ast.walk(body) if isinstance(node, ast.Compare)]
    early = [node for node in ast.walk(body) if isinstance(node, ast.Break | ast.If | ast.BoolOp | ast.IfExp)]
    calls = {ast.unparse(node.func) for node in ast.walk(body) if isinstance(node, ast.Call)}
    returns = [node for node in ast.walk(body) if isinstance(node, ast.Return)]
    assert (compared, early, len(returns)) == ([], [], 1)
    assert calls == {"hmac.compare_digest", "digest_of"}
    # And nobody compares digests or secrets elsewhere.
    for other in ast.walk(ast.parse(inspect.getsource(api_keys))):
        if isinstance(other, ast.Compare):
            assert "digest" not in ast.unparse(other)
            assert "secret" not in ast.unparse(other)


def test_secrets_are_not_shown() -> None:
    key, record = new_key(), record_of(KEY)
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr(replace(key))):
        assert key.secret not in shown
        assert key.key_id in shown
    for shown in (repr(record), str(record)):
        assert repr(record.digest) not in shown
        assert "digest" not in shown


@pytest.mark.parametrize(
    ("expires", "revoked", "counts"),
    [
        (None, None, True),
        (timedelta(microseconds=1), None, True),
        (timedelta(0), None, False),
        (timedelta(days=-1), None, False),
        (None, timedelta(days=-1), False),
        (timedelta(days=1), timedelta(days=1), False),
    ],
)
def test_a_key_counts_until_it_is_revoked_or_expires(
    expires: timedelta | None, revoked: timedelta | None, counts: bool
) -> None:
    record = replace(
        record_of(KEY),
        expires_at=None if expires is None else NOW + expires,
        revoked_at=None if revoked is None else NOW + revoked,
    )
    assert record.counts(NOW) is counts


@given(st.sampled_from(Role), st.lists(st.sampled_from([*(scope.value for scope in Scope), "links:eat", ""])))
def test_a_key_never_has_more_than_its_role(role: Role, named: list[str]) -> None:
    found = scopes_of(role, named)
    assert found <= ROLE_SCOPES[role]
    assert found == (ROLE_SCOPES[role] if not named else {scope for scope in ROLE_SCOPES[role] if scope in named})
