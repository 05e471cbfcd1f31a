"""The key of `waypost dev-token`: made once, kept for our eyes, believed by the services of its own mesh only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from waypost.access.jwks import parse_jwks
from waypost.access.jwks_source import source_for
from waypost.access.settings import JwtSettings
from waypost.access.tokens import TokenVerifier
from waypost.errors import Unauthenticated
from waypost.supervisor import dev_issuer, dev_key, environment
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.mesh import mesh_of
from waypost.supervisor.settings import SupervisorSettings

GIVEN = {
    "WAYPOST_JWT_ISSUER": "https://id.example",
    "WAYPOST_JWT_AUDIENCE": "links",
    "WAYPOST_JWT_JWKS_URL": "https://id.example/jwks.json",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    DataDir(tmp_path / "data").prepare()
    return tmp_path / "data"


def claims(subject: str = "ada") -> dict[str, object]:
    now = int(time.time())
    return {"sub": subject, "iat": now, "exp": now + 900}


async def verified(data: Path, token: str) -> str:
    """Whom a service of this data directory takes the caller for."""
    settings = JwtSettings.from_env(dev_issuer.settings(data))
    source = source_for(settings)
    assert source is not None
    return (await TokenVerifier(source, settings.claim_rules()).verify(token)).subject


async def test_a_token_is_believed_by_its_own_mesh_alone(data: Path, tmp_path: Path) -> None:
    dev_key.load_or_make(data)
    token = dev_key.sign(data, claims("grace"))
    assert await verified(data, token) == "grace"
    other = tmp_path / "other"
    DataDir(other).prepare()
    dev_key.load_or_make(other)
    with pytest.raises(Unauthenticated):
        await verified(other, token)


async def test_the_key_is_made_once(data: Path) -> None:
    dev_key.load_or_make(data)
    token, before = dev_key.sign(data, claims()), dev_issuer.key_file(data).read_bytes()
    dev_issuer.jwks_file(data).unlink()
    dev_key.load_or_make(data)
    assert dev_issuer.key_file(data).read_bytes() == before
    assert await verified(data, token) == "ada"


def test_it_is_for_our_eyes_only(data: Path) -> None:
    old = os.umask(0)
    try:
        dev_key.load_or_make(data)
    finally:
        os.umask(old)
    assert dev_issuer.key_file(data).stat().st_mode & 0o777 == 0o600
    assert DataDir(data).jwt.stat().st_mode & 0o777 == 0o700
    # What is published has nothing of the private half.
    assert parse_jwks(dev_issuer.jwks_file(data).read_bytes()).ignored == ()


def test_what_is_no_key_is_said_and_left_alone(data: Path) -> None:
    dev_key.load_or_make(data)
    path = dev_issuer.key_file(data)
    for text in ("", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        path.write_text(text)
        with pytest.raises(CannotStart, match=r"dev-key\.pem does not hold a key for ES256"):
            dev_key.load_or_make(data)
        assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_said(data: Path) -> None:
    DataDir(data).jwt.write_text("in the way")
    with pytest.raises(CannotStart, match="dev-token"):
        dev_key.load_or_make(data)


def test_services_are_told_of_it_when_nobody_else_is_named() -> None:
    names = environment.names_of("gateway")
    for env, issuer in (
        ({}, "waypost-dev"),
        (GIVEN, "https://id.example"),
        ({"WAYPOST_DATABASE_URL": "postgresql://db"}, None),
        ({"WAYPOST_JWT_SUBJECT_CLAIM": "email"}, "waypost-dev"),
    ):
        settings = SupervisorSettings.from_env(env)
        seen = environment.for_service("gateway", names, env, settings, Path("/data"), {}, "pepper")
        assert seen.get("WAYPOST_JWT_ISSUER") == issuer
        if issuer == "waypost-dev":
            assert seen["WAYPOST_JWT_JWKS_FILE"] == "/data/jwt/jwks.json"
        for name in GIVEN.keys() & env.keys():
            assert seen[name] == env[name]


def test_a_mesh_makes_it_only_if_it_is_used(data: Path) -> None:
    external = {"WAYPOST_DATABASE_URL": "postgresql://me:secret@db/waypost"}
    for env in (external, external | GIVEN):
        mesh_of(SupervisorSettings.from_env(env), env, DataDir(data)).programs()
        assert not DataDir(data).jwt.exists()
        assert "config_discovery" not in (DataDir(data).envoy / "envoy.yaml").read_text()
