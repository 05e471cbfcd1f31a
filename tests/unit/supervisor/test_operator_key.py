"""The pepper and the file of the first operator key, as far as they go without a database."""

import stat
from pathlib import Path

import pytest

from waypost.access.api_keys import new_key
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.operator_key import PEPPER_SETTING, first_operator_key, pepper_of

PEPPER = "p" * 32
NOWHERE = "postgresql://127.0.0.1:1/waypost"


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path / "data")
    data.prepare()
    return data


def test_a_pepper_is_made_once_and_for_us_alone(data: DataDir) -> None:
    pepper = pepper_of(data, {})
    assert len(pepper) == 64
    assert stat.S_IMODE(data.key_pepper.stat().st_mode) == 0o600
    assert pepper_of(data, {}) == pepper
    data.key_pepper.unlink()
    assert pepper_of(data, {}) != pepper


def test_where_the_user_sets_one_none_is_made(data: DataDir) -> None:
    assert pepper_of(data, {PEPPER_SETTING: f" {PEPPER} "}) == PEPPER
    assert not data.key_pepper.exists()
    # An empty setting is none.
    assert pepper_of(data, {PEPPER_SETTING: " "}) == data.key_pepper.read_text().strip()


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"p" * 31 + b"\n", b"\xff" * 40])
def test_a_pepper_file_with_something_else_in_it_is_told_and_kept(data: DataDir, content: bytes) -> None:
    data.key_pepper.write_bytes(content)
    with pytest.raises(CannotStart, match="key-pepper") as caught:
        pepper_of(data, {})
    assert caught.value.exit_code == 2
    assert data.key_pepper.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"wp_", b"a\xffb", b"wp_0123456789abcdef.short", f"{new_key().text} {new_key().text}".encode()],
)
async def test_a_key_file_with_something_else_in_it_is_told_and_kept(data: DataDir, content: bytes) -> None:
    """Before the database is asked for anything."""
    data.operator_key.write_bytes(content)
    with pytest.raises(CannotStart, match="operator-key") as caught:
        await first_operator_key(NOWHERE, data, PEPPER, pytest.fail)
    assert caught.value.exit_code == 2
    # What is nearly a key may be somebody's.
    assert not content.strip() or content.decode("latin-1").strip() not in str(caught.value)
    assert data.operator_key.read_bytes() == content


async def test_a_folder_in_its_place_is_told(data: DataDir) -> None:
    data.operator_key.mkdir()
    with pytest.raises(CannotStart, match="cannot read the operator key"):
        await first_operator_key(NOWHERE, data, PEPPER, pytest.fail)


async def test_without_a_database_nothing_is_made(data: DataDir) -> None:
    with pytest.raises(ConnectionRefusedError):
        await first_operator_key(NOWHERE, data, PEPPER, pytest.fail)
    assert not data.operator_key.exists()
