"""The keys that Envoy is given: the good ones of the file, for as long as nothing better is in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import tokens as made
from tests.support.tokens import public_jwk
from tests.support.waiting import until
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.jwks_watch import SAY_LOOKS, JwksWatch, watch_for
from waypost.supervisor.mesh import mesh_of
from waypost.supervisor.settings import SupervisorSettings

FIRST, SECOND = made.jwks(public_jwk("P-256", "first")), made.jwks(public_jwk("P-256", "second"))


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(FIRST)
    return path


@pytest.fixture
def watch(tmp_path: Path, jwks: Path) -> JwksWatch:
    watch = JwksWatch("https://id.example", ("a", "b"), jwks, tmp_path / "jwt.json")
    watch.publish()
    return watch


def provider(watch: JwksWatch) -> dict[str, Any]:
    """What Envoy is told of the issuer."""
    (resource,) = json.loads(watch.jwt.filter_file.read_text())["resources"]
    (found,) = resource["typed_config"]["providers"].values()
    assert isinstance(found, dict)
    return found


def kids(watch: JwksWatch) -> list[str]:
    return [key["kid"] for key in json.loads(provider(watch)["local_jwks"]["inline_string"])["keys"]]


def test_envoy_is_told_what_the_services_go_by(watch: JwksWatch) -> None:
    assert kids(watch) == ["first"]
    told = provider(watch)
    assert (told["issuer"], told["audiences"]) == ("https://id.example", ["a", "b"])
    assert told["from_headers"] == [{"name": "authorization", "value_prefix": "Bearer "}]
    assert "from_params" not in told


async def test_only_changes_are_handed_over(watch: JwksWatch, jwks: Path) -> None:
    before = watch.jwt.filter_file.stat().st_mtime_ns
    assert await watch.look() is None
    assert watch.jwt.filter_file.stat().st_mtime_ns == before
    jwks.write_bytes(SECOND)
    news = await watch.look()
    assert news is not None
    assert (news[0], news[2]) == ("jwks_changed", "info")
    assert "'second'" in news[1]
    assert kids(watch) == ["second"]
    assert await watch.look() is None


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", None])
async def test_a_file_that_stays_bad_is_said_once(watch: JwksWatch, jwks: Path, bad: bytes | None) -> None:
    if bad is None:
        jwks.unlink()
    else:
        jwks.write_bytes(bad)
    said = [await watch.look() for _ in range(3 * SAY_LOOKS)]
    (news,) = [one for one in said if one is not None]
    assert (news[0], news[2]) == ("jwks_refused", "error")
    assert str(jwks) in news[1]
    assert kids(watch) == ["first"]
    jwks.write_bytes(SECOND)
    assert await watch.look() is not None
    # As it was before is good again, too, and a later fault is said anew.
    jwks.write_bytes(b"{")
    assert [one for one in [await watch.look() for _ in range(SAY_LOOKS)] if one is not None]


async def test_a_folder_that_cannot_be_written_is_said_and_tried_again(watch: JwksWatch, jwks: Path) -> None:
    folder = watch.jwt.filter_file.parent / "later"
    watch.jwt = type(watch.jwt)(folder / "jwt.json")
    jwks.write_bytes(SECOND)
    said = [await watch.look() for _ in range(SAY_LOOKS)]
    assert "cannot be written" in str(said[-1])
    folder.mkdir()
    assert await watch.look() is not None
    assert kids(watch) == ["second"]


def test_without_a_good_file_nothing_starts(tmp_path: Path) -> None:
    for content, hint in ((None, "cannot be read: No such file"), (b"{", "is not JSON"), (b"{}", "no list")):
        path = tmp_path / "keys.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CannotStart, match=f"WAYPOST_JWT_JWKS_FILE: {path} .*{hint}"):
            JwksWatch("i", ("a",), path, tmp_path / "jwt.json").publish()


async def test_it_looks_until_it_is_cancelled(watch: JwksWatch, jwks: Path) -> None:
    said: list[str] = []
    task = asyncio.create_task(watch.run(lambda event, *_: said.append(event)))
    jwks.write_bytes(SECOND)
    await until(lambda: said == ["jwks_changed"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_settings_say_whether_the_edge_checks(tmp_path: Path, jwks: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.prepare()
    common = {
        "WAYPOST_DATABASE_URL": "postgresql://me:secret@db/waypost",
        "WAYPOST_JWT_ISSUER": "https://id.example",
        "WAYPOST_JWT_AUDIENCE": "links",
    }
    by_url = SupervisorSettings.from_env(common | {"WAYPOST_JWT_JWKS_URL": "https://id.example/jwks.json"})
    assert watch_for(by_url, data) is None
    env = common | {"WAYPOST_JWT_JWKS_FILE": str(jwks)}
    mesh = mesh_of(SupervisorSettings.from_env(env), env, data)
    assert mesh.tend is not None
    mesh.programs()
    config = (data.envoy / "envoy.yaml").read_text()
    assert str(data.envoy / "jwt.json") in config
    assert "'first'" in str(json.loads((data.envoy / "jwt.json").read_text())) or '"first"' in (
        data.envoy / "jwt.json"
    ).read_text().replace("\\", "")
