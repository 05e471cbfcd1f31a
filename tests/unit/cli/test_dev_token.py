"""`waypost dev-token`: what it prints, and when there is nothing to print."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner, Result

from waypost.access.jwks import parse_jwks
from waypost.cli.root import cli
from waypost.supervisor import dev_issuer, dev_key
from waypost.supervisor.data_dir import DataDir


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    DataDir(path).prepare()
    dev_key.load_or_make(path)
    return path


def ask(data: Path, *words: str, **env: str) -> Result:
    """What becomes of `waypost dev-token`."""
    runner = CliRunner(env={"WAYPOST_DATA_DIR": str(data), **env})
    result = runner.invoke(cli, ["dev-token", *words], prog_name="waypost")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def claims(data: Path, token: str) -> dict[str, Any]:
    """What it says, checked with the public key."""
    (key,) = parse_jwks(dev_issuer.jwks_file(data).read_bytes()).keys.values()
    found: dict[str, Any] = jwt.decode(token, key.key, algorithms=["ES256"], audience="waypost", issuer="waypost-dev")
    return found


def test_a_token_is_printed_alone(data: Path) -> None:
    result = ask(data)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    said = claims(data, result.stdout.strip())
    assert said["sub"] == "dev"
    assert said["exp"] - said["iat"] == 15 * 60
    assert said.keys() == {"iss", "aud", "sub", "iat", "exp"}


def test_it_is_for_whom_and_as_long_as_one_says(data: Path) -> None:
    result = ask(data, "--subject", "ada", "--email", "ada@example.org", "--minutes", "1440", "--json")
    printed = json.loads(result.stdout)
    said = claims(data, printed["token"])
    assert (said["sub"], said["email"], said["email_verified"]) == ("ada", "ada@example.org", True)
    assert said["exp"] - said["iat"] == 86_400
    assert printed["subject"] == "ada"
    expires = datetime.fromisoformat(printed["expires_at"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--minutes", "0"], "--minutes"),
        (["--minutes", "1441"], "--minutes"),
        (["--subject", ""], "--subject must be"),
        (["--subject", " ada"], "--subject must be"),
        (["--subject", "a\nb"], "--subject must be"),
        (["--subject", "x" * 256], "--subject must be"),
        (["--email", "ada"], "--email must be"),
        (["--email", "a b@c"], "--email must be"),
    ],
)
def test_what_no_service_would_take_is_not_signed(data: Path, words: list[str], hint: str) -> None:
    result = ask(data, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert hint in result.stderr


def test_without_a_key_it_says_where_one_comes_from(tmp_path: Path) -> None:
    result = ask(tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no key to sign with" in result.stderr
    assert str(tmp_path / "nowhere") in result.stderr
    assert "WAYPOST_DATA_DIR" in result.stderr
    assert not (tmp_path / "nowhere").exists()
    assert "message" in json.loads(ask(tmp_path / "nowhere", "--json").stderr)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_is_not_ours_is_said(data: Path) -> None:
    dev_issuer.key_file(data).chmod(0)
    result = ask(data)
    assert result.exit_code == 2
    assert "not ours to read" in result.stderr


def test_a_broken_key_is_said(data: Path) -> None:
    dev_issuer.key_file(data).write_text("nonsense")
    result = ask(data)
    assert result.exit_code == 2
    assert "does not hold a key" in result.stderr


def test_it_is_no_way_around_another_issuer(data: Path) -> None:
    given = {
        "WAYPOST_JWT_ISSUER": "https://id.example",
        "WAYPOST_JWT_AUDIENCE": "links",
        "WAYPOST_JWT_JWKS_URL": "https://id.example/jwks.json",
    }
    for env, name in ((given, "WAYPOST_JWT_ISSUER"), ({"WAYPOST_DATABASE_URL": "postgresql://db"}, "WAYPOST_DATABASE")):
        result = ask(data, **env)
        assert result.exit_code == 2
        assert f"{name}" in result.stderr
