"""Who calls: what is sent with each call, to whom, and that nobody else learns of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import pytest

from tests.support.account_server import HERE, UNKNOWN_KEY, AccountServer
from tests.support.link_server import LinkServer, serving, serving_all
from waypost import Client, errors
from waypost.client import Role
from waypost.client.channel import Server
from waypost.client.credentials import Credentials

KEY = "wp_0123456789abcdef.hunter2hunter2"
TOKEN = "eyJhbGciOi.hunter2.hunter2"
WORKSPACE = "6a1f0e9c-3a52-4c4e-9d0a-3f1c2b7d8e90"


def sent(metadata: dict[str, str]) -> dict[str, str]:
    """What of a call's metadata says who calls."""
    return {name: value for name, value in metadata.items() if name in ("x-api-key", "authorization", "x-workspace")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"api_key": "", "token": "", "workspace": ""}, {}),
        ({"api_key": KEY}, {"x-api-key": KEY}),
        ({"token": TOKEN}, {"authorization": f"Bearer {TOKEN}"}),
        (
            {"api_key": KEY, "workspace": WORKSPACE.upper()},
            {"x-api-key": KEY, "x-workspace": WORKSPACE},
        ),
        (
            {"token": TOKEN, "workspace": UUID(WORKSPACE)},
            {"authorization": f"Bearer {TOKEN}", "x-workspace": WORKSPACE},
        ),
    ],
    ids=str,
)
async def test_every_call_brings_them(given: dict[str, Any], expected: dict[str, str]) -> None:
    links, accounts = LinkServer(), AccountServer()
    async with serving_all([links, accounts]) as port, Client(f"127.0.0.1:{port}", **given) as client:
        await client.create("https://example.com/")
        await client.list_page()
        await client.workspaces.whoami()
        await client.members.list_page()
        await client.keys.list_page()
        await client.audit.list_page()
        await client.abuse.reports_page()
    assert [sent(call.metadata) for call in links.calls + accounts.calls] == [expected] * 7


async def test_a_token_may_be_looked_up_anew_for_each_call(accounts: AccountServer) -> None:
    tokens = iter(["first", "second"])
    async with serving(accounts) as port, Client(f"127.0.0.1:{port}", token=lambda: next(tokens)) as client:
        assert (await client.workspaces.whoami()).principal == "user:first"
        assert (await client.workspaces.whoami()).principal == "user:second"


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak"])
async def test_what_is_looked_up_must_be_a_token(accounts: AccountServer, token: str) -> None:
    async with serving(accounts) as port, Client(f"127.0.0.1:{port}", token=lambda: token) as client:
        with pytest.raises(ValueError, match="token must be"):
            await client.workspaces.whoami()
    assert accounts.calls == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"api_key": KEY, "token": TOKEN}, "api_key and token exclude each other"),
        ({"api_key": TOKEN}, "api_key must be a whole key"),
        ({"api_key": f"{KEY}\n"}, "api_key must be a whole key"),
        ({"api_key": f"{KEY}é"}, "api_key must be a whole key"),
        ({"token": f"Bearer {TOKEN}"}, "token must be a whole token"),
        ({"token": f"{TOKEN}\r\nx-admin: yes"}, "token must be a whole token"),
        ({"api_key": KEY + "x" * 8192}, "api_key must be at most 8,192 bytes"),
        ({"token": TOKEN + "x" * 8192}, "token must be at most 8,192 bytes"),
        ({"workspace": "mine"}, "workspace must be a workspace's id, which is a UUID, not 'mine'"),
    ],
    ids=str,
)
def test_what_can_be_none_is_refused_without_a_word_of_it(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Client(**given)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "secret", [{"api_key": KEY}, {"token": TOKEN}, {"token": lambda: TOKEN}], ids=["key", "token", "f"]
)
@pytest.mark.parametrize(
    ("server", "safe"),
    [
        ("https://go.example", True),
        ("127.0.0.1:8080", True),
        ("127.8.9.10:8080", True),
        ("http://localhost:8080", True),
        ("LOCALHOST:8080", True),
        ("[::1]:8080", True),
        ("https://127.0.0.1:8443", True),
        ("go.example:8080", False),
        ("http://go.example", False),
        ("192.0.2.7:8080", False),
        ("10.0.0.1:8080", False),
        ("[2001:db8::1]:8080", False),
        ("[::ffff:192.0.2.7]:8080", False),
        ("0.0.0.0:8080", False),
        # Names that only look like this machine's.
        ("127.example:8080", False),
        ("127.0.0.1.example:8080", False),
        ("localhost.example:8080", False),
    ],
)
def test_they_go_to_other_machines_by_tls_only(server: str, safe: bool, secret: dict[str, Any]) -> None:
    if safe:
        Client(server, **secret)
        return
    with pytest.raises(ValueError, match=r"without TLS.*https://….*insecure_credentials=True") as raised:
        Client(server, **secret)
    assert "hunter2" not in str(raised.value)
    # Whoever knows better may say so, and whoever has none has nothing to lose.
    Client(server, insecure_credentials=True, **secret)
    Client(server, workspace=WORKSPACE)


@pytest.mark.parametrize(("address", "loopback"), [("127.0.0.1:1", True), ("[::1]:1", True), ("[::]:1", False)])
def test_loopback(address: str, loopback: bool) -> None:
    assert Server(address).loopback is loopback


def test_they_are_shown_nowhere() -> None:
    for credentials in (Credentials(KEY, workspace=WORKSPACE), Credentials(token=TOKEN)):
        assert "hunter2" not in repr(credentials) + str(credentials)
    client = Client("https://go.example", api_key=KEY)
    assert repr(client) == "<Client https://go.example:443>"
    assert "hunter2" not in repr(vars(client))


async def test_no_error_tells_of_them() -> None:
    links, accounts = LinkServer(), AccountServer()
    said = []

    async def tried(call: Callable[[], Coroutine[Any, Any, object]], kind: type[Exception]) -> None:
        with pytest.raises(kind) as raised:
            await call()
        said.extend(traceback.format_exception(raised.value))
        error: BaseException | None = raised.value
        while error is not None:
            said.append(repr(error) + repr(vars(error)))
            error = error.__cause__ or error.__context__

    async with serving_all([links, accounts]) as port:
        for key, token in ((KEY, ""), ("", TOKEN)):
            async with Client(f"127.0.0.1:{port}", api_key=key, token=token) as client:
                await tried(lambda: client.get("nobody"), errors.LinkNotFound)
                await tried(lambda: client.keys.get("none"), errors.ResourceNotFound)
                await tried(lambda: client.create(""), errors.InvalidFields)
            await tried(lambda: client.get("nobody"), errors.WaypostError)
    async with Client(f"127.0.0.1:{port}", api_key=KEY, timeout=0.5) as client:
        await tried(lambda: client.get("nobody"), errors.WaypostError)
    assert len(said) > 20
    assert "hunter2" not in "".join(said)


async def test_a_key_that_counts_for_nothing(accounts: AccountServer) -> None:
    async with serving(accounts) as port, Client(f"127.0.0.1:{port}", api_key=UNKNOWN_KEY) as client:
        with pytest.raises(errors.Unauthenticated, match="the API key is not known") as raised:
            await client.workspaces.whoami()
    assert raised.value.why == "the API key is not known"


async def test_whoami(member: Client) -> None:
    caller = await member.workspaces.whoami()
    assert (caller.principal, caller.workspace_id, caller.role) == ("key:me", HERE, Role.VIEWER)
    assert caller.scopes == ("links:read", "workspace:read")


async def test_nobody_in_particular(accounts: AccountServer) -> None:
    async with serving(accounts) as port, Client(f"127.0.0.1:{port}") as client:
        caller = await client.workspaces.whoami()
    assert (caller.principal, caller.workspace_id, caller.role, caller.scopes) == ("anonymous", "", None, ())
