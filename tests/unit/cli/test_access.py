"""As whom commands call: whose credentials go where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.account_server import UNKNOWN_KEY
from tests.unit.cli.conftest import Command
from waypost.cli.access import MAX_KEY_BYTES, OPERATOR_KEY, Access, access_of
from waypost.cli.options import Target
from waypost.settings import BadSettings

KEY, OTHER = "wp_mine.hunter2", "wp_other.hunter2"
ID = "6a1f0e9c-3a52-4c4e-9d0a-3f1c2b7d8e90"
LATER_ID = "7a1f0e9c-3a52-4c4e-9d0a-3f1c2b7d8e90"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory in which `waypost up` has left its key."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / OPERATOR_KEY).write_text(f"{OTHER}\n")
    return folder


def access(data: Path, server: str | None = None, workspace: str | None = None, **env: str) -> Access:
    """What the command line and the environment come to."""
    return access_of({"WAYPOST_DATA_DIR": str(data), **env}, Target(server, workspace))


def problem(data: Path, server: str | None = None, workspace: str | None = None, **env: str) -> str:
    """What is wrong with them, without a word of any secret."""
    with pytest.raises(BadSettings) as raised:
        access(data, server, workspace, **env)
    assert "hunter2" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("server", [None, "127.0.0.1:9999", "localhost:8080", "[::1]:8080", "https://127.0.0.1:8443"])
def test_on_this_machine_the_key_of_waypost_up_is_found(data: Path, server: str | None) -> None:
    found = access(data, server)
    assert found.credentials.api_key == OTHER
    assert str(data / OPERATOR_KEY) in found.hint


@pytest.mark.parametrize("server", ["go.example:8080", "https://go.example", "192.0.2.7:8080", "127.0.0.1.example:80"])
@pytest.mark.parametrize("insecure", ["false", "true"])
def test_it_goes_to_no_other_machine(data: Path, server: str, insecure: str) -> None:
    assert not access(data, server, WAYPOST_INSECURE_CREDENTIALS=insecure).credentials.secret
    assert not access(data, WAYPOST_SERVER=server, WAYPOST_INSECURE_CREDENTIALS=insecure).credentials.secret
    assert not access(data, WAYPOST_HTTP_HOST="192.0.2.7", WAYPOST_INSECURE_CREDENTIALS=insecure).credentials.secret


def test_the_environment_comes_first(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"  {KEY}\r\n")
    assert access(data, WAYPOST_API_KEY=KEY).credentials.api_key == KEY
    assert access(data, WAYPOST_API_KEY_FILE=str(file)).credentials.api_key == KEY
    by_token = access(data, WAYPOST_TOKEN="abc").credentials
    assert (by_token.api_key, by_token.token) == ("", "abc")
    # Elsewhere just as well, if nobody listens in.
    assert access(data, "https://go.example", WAYPOST_API_KEY=KEY).credentials.api_key == KEY


@pytest.mark.parametrize("names", [("API_KEY", "TOKEN"), ("API_KEY", "API_KEY_FILE"), ("API_KEY_FILE", "TOKEN")])
def test_a_call_has_one_caller(data: Path, names: tuple[str, str]) -> None:
    env = {f"WAYPOST_{name}": KEY for name in names}
    assert (
        problem(data, **env) == f"WAYPOST_{names[0]} and WAYPOST_{names[1]} exclude each other: a call has one caller"
    )


@pytest.mark.parametrize("setting", ["WAYPOST_API_KEY", "WAYPOST_TOKEN"])
def test_without_tls_they_go_to_no_other_machine(data: Path, setting: str) -> None:
    said = problem(data, "go.example:8080", **{setting: KEY})
    assert "no key or token is sent to go.example:8080 without TLS" in said
    assert "WAYPOST_INSECURE_CREDENTIALS=true" in said
    allowed = access(data, "go.example:8080", WAYPOST_INSECURE_CREDENTIALS="true", **{setting: KEY})
    assert allowed.credentials.secret
    assert repr(allowed.client()) == "<Client http://go.example:8080>"


def test_the_workspace_of_the_command_line_comes_first(data: Path) -> None:
    assert access(data).credentials.workspace == ""
    assert access(data, WAYPOST_WORKSPACE=ID).credentials.workspace == ID
    assert access(data, None, LATER_ID, WAYPOST_WORKSPACE=ID).credentials.workspace == LATER_ID
    assert access(data, None, "", WAYPOST_WORKSPACE=ID).credentials.workspace == ""
    assert problem(data, None, "mine").startswith("--workspace must be a workspace's id")
    assert problem(data, WAYPOST_WORKSPACE="mine").startswith("WAYPOST_WORKSPACE must be a workspace's id")


def test_what_can_be_no_credentials(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert problem(data, WAYPOST_API_KEY="hunter2").startswith("WAYPOST_API_KEY must be a whole key")
    assert problem(data, WAYPOST_TOKEN="Bearer hunter2").startswith("WAYPOST_TOKEN must be a whole token")
    assert problem(data, WAYPOST_API_KEY_FILE=str(file)) == (
        f"WAYPOST_API_KEY_FILE: {file} cannot be read: No such file or directory"
    )
    file.write_text("\n")
    assert problem(data, WAYPOST_API_KEY_FILE=str(file)) == f"WAYPOST_API_KEY_FILE: {file} is empty"
    file.write_bytes(b"\xff hunter2" * MAX_KEY_BYTES)
    assert problem(data, WAYPOST_API_KEY_FILE=str(file)).startswith("WAYPOST_API_KEY_FILE must be a whole key")


@pytest.mark.parametrize("state", ["missing", "folder", "nonsense", "locked"])
def test_without_a_usable_key_of_waypost_up_a_command_calls_as_nobody(data: Path, state: str) -> None:
    path = data / OPERATOR_KEY
    if state == "locked":
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        path.chmod(0)
    else:
        path.unlink()
    if state == "folder":
        path.mkdir()
    elif state == "nonsense":
        path.write_text("hunter2 is no key")
    found = access(data)
    assert not found.credentials.secret
    assert "WAYPOST_API_KEY" in found.hint
    assert (str(path) in found.hint) is (state != "missing")
    assert "hunter2" not in found.hint


def test_commands_send_them(waypost: Command, data: Path) -> None:
    assert waypost.json("whoami", WAYPOST_API_KEY=KEY)["principal"] == "key:mine"
    assert waypost.json("whoami", WAYPOST_TOKEN="ann")["principal"] == "user:ann"
    assert waypost.json("whoami", "--workspace", ID, WAYPOST_API_KEY=KEY)["workspace_id"] == ID
    assert waypost.json("whoami", WAYPOST_DATA_DIR=str(data))["principal"] == "key:other"
    assert waypost.json("whoami")["principal"] == "anonymous"


def test_who_is_not_known_is_told_which_credentials_those_were(waypost: Command, tmp_path: Path) -> None:
    assert waypost.refused("whoami", WAYPOST_API_KEY=UNKNOWN_KEY) == (
        "the API key is not known (the credentials are those of WAYPOST_API_KEY)"
    )
    # Programs are told what the server says, and nothing else.
    result = waypost("whoami", "--json", WAYPOST_API_KEY=UNKNOWN_KEY)
    assert (result.exit_code, '"message": "the API key is not known",' in result.stderr) == (1, True)
    (tmp_path / OPERATOR_KEY).write_text(UNKNOWN_KEY)
    said = waypost.refused("whoami", WAYPOST_DATA_DIR=str(tmp_path))
    assert said.endswith(f"(the credentials are those of {tmp_path / OPERATOR_KEY})")


def test_wrong_credentials_are_wrong_settings(waypost: Command) -> None:
    said = waypost.refused("links", "list", code=2, WAYPOST_API_KEY="hunter2")
    assert said.startswith("WAYPOST_API_KEY must be a whole key")
    assert "hunter2" not in said
