"""What looks like a secret is made unreadable, and nothing else."""

from __future__ import annotations

import orjson
import pytest

from tests.support.service import captured_log
from tests.support.tokens import Issuer
from waypost.access.api_keys import new_key
from waypost.masking import masked


def test_a_key_keeps_its_id_and_loses_its_secret() -> None:
    key = new_key()
    line = masked(b'{"error":"no key \'%s\' here, nor %s"}' % (key.text.encode(), key.text.encode()))
    assert line == b'{"error":"no key \'wp_%s.***\' here, nor wp_%s.***"}' % ((key.key_id.encode(),) * 2)


@pytest.mark.parametrize("around", ["{}", "Bearer {}", "x={}&y", '"{}"', "{}\\n", "a{}b"])
def test_a_token_is_not_readable(around: str) -> None:
    token = Issuer().token()
    line = masked(around.format(token).encode())
    assert all(part.encode() not in line for part in token.split("."))
    assert b"***" in line


@pytest.mark.parametrize(
    "text",
    [
        "wp_",
        "wp_short.x",
        "key:Ab3",
        "eyJ",
        "eyJhbGciOiJub25lIn0",
        "a.b.c",
        "wp_0123456789abcdef",
        "swp_x.y",
        "",
        "eyJ.eyJ.x",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text.encode()) == text.encode()


def test_a_line_stays_one_json_object() -> None:
    key, token = new_key().text, Issuer().token()
    with captured_log() as log:
        import logging

        import structlog

        structlog.get_logger().info("told", key=key, nested={"token": [token]}, text=f'"{key}"\n{token}')
        logging.getLogger("library").warning("told %s", key)
        lines = log.lines
    assert len(lines) == 2
    written = orjson.dumps(lines).decode()
    assert key.split(".")[1] not in written
    assert token.split(".")[1] not in written
