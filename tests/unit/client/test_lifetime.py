"""Time, trouble and the end: deadlines, attempts, their budget, closing, many calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest
import uvloop

from tests.support.account_server import AccountServer
from tests.support.answering import Call, Ended
from tests.support.link_server import LinkServer, serving
from tests.support.ports import free_port
from tests.support.waiting import until
from waypost import Client, errors
from waypost.api.v1 import (
    abuse_service_pb2,
    audit_service_pb2,
    key_service_pb2,
    member_service_pb2,
    workspace_service_pb2,
)
from waypost.client import ClientClosed, NewLink, RemoteError, Unreachable
from waypost.client.channel import MAX_ATTEMPTS

URL = "https://example.com/"
AWAY = Ended(grpc.StatusCode.UNAVAILABLE, "away")


def failing(times: int, error: Exception) -> Callable[[Call], Coroutine[Any, Any, None]]:
    """A hook that fails the first calls."""
    left = times

    async def hook(call: Call) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error

    return hook


@pytest.mark.parametrize("error", [AWAY, errors.DependencyUnavailable("postgres"), errors.Draining()], ids=repr)
async def test_who_does_not_answer_is_asked_again(client: Client, server: LinkServer, error: Exception) -> None:
    server.before = failing(MAX_ATTEMPTS - 1, error)
    await client.create(URL, alias="talk")
    assert len(server.calls) == MAX_ATTEMPTS
    # As the same change, not as another one.
    assert len({call.request.request_id for call in server.calls}) == 1
    attempts = [int(call.metadata.get("grpc-previous-rpc-attempts", "0")) for call in server.calls]
    assert attempts == list(range(MAX_ATTEMPTS))


async def test_every_method_is_tried_again(client: Client, server: LinkServer) -> None:
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: client.create(URL, alias="talk"),
        lambda: client.batch_create([NewLink(url=URL)]),
        lambda: client.get("talk"),
        client.list_page,
        lambda: client.update("talk", title="x"),
        lambda: client.delete("talk"),
        lambda: client.undelete("talk"),
        lambda: client.resolve("talk"),
    ]
    for call in calls:
        server.before = failing(1, AWAY)
        await call()
    methods = [call.method for call in server.calls]
    assert len(methods) == 2 * len(calls)
    assert methods[::2] == methods[1::2]


async def test_what_does_twice_what_it_is_asked_twice_is_tried_once(member: Client, accounts: AccountServer) -> None:
    await member.members.add("ann", "owner")
    key_id = (await member.keys.create("k")).key.key_id
    report_id = await member.abuse.report("bad")
    repeated: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "ListWorkspaces": member.workspaces.list_page,
        "GetWorkspace": member.workspaces.get,
        "UpdateWorkspace": lambda: member.workspaces.rename("x"),
        "GetCaller": member.workspaces.whoami,
        "ListMembers": member.members.list_page,
        "UpdateMember": lambda: member.members.update("ann", name="x"),
        "ListKeys": member.keys.list_page,
        "GetKey": lambda: member.keys.get(key_id),
        "RevokeKey": lambda: member.keys.revoke(key_id),
        "ListAuditEvents": member.audit.list_page,
        "ListReports": member.abuse.reports_page,
        "CloseReport": lambda: member.abuse.close(report_id),
        "BlockLink": lambda: member.abuse.block("bad", "x"),
        "UnblockLink": lambda: member.abuse.unblock("bad", "x"),
        "ListBlockedLinks": member.abuse.blocked_page,
    }
    once: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "CreateWorkspace": lambda: member.workspaces.create("x"),
        "AddMember": lambda: member.members.add("bob", "viewer"),
        "RemoveMember": lambda: member.members.remove("ann"),
        "CreateKey": lambda: member.keys.create("x"),
        "ReportLink": lambda: member.abuse.report("bad"),
    }
    services = [
        module.DESCRIPTOR.services_by_name.values()
        for module in (workspace_service_pb2, member_service_pb2, key_service_pb2, audit_service_pb2, abuse_service_pb2)
    ]
    assert repeated.keys() | once.keys() == {
        method.name for found in services for service in found for method in service.methods
    }
    for method, call in repeated.items():
        accounts.calls.clear()
        accounts.before = failing(1, AWAY)
        await call()
        assert [one.method for one in accounts.calls] == [method, method]
    for method, call in once.items():
        accounts.calls.clear()
        accounts.before = failing(1, AWAY)
        with pytest.raises(Unreachable):
            await call()
        assert [one.method for one in accounts.calls] == [method]


async def test_a_change_whose_answer_was_lost_is_made_once(client: Client, server: LinkServer) -> None:
    server.after = failing(1, AWAY)
    link = await client.create(URL)
    assert len(server.calls) == 2
    assert list(server.links) == [link.short_code]


async def test_a_batch_as_large_as_they_come_is_tried_again(client: Client, server: LinkServer) -> None:
    server.after = failing(1, AWAY)
    outcomes = await client.batch_create([NewLink(url=URL + "x" * 3000)] * 1000, timeout=60)
    assert len(server.calls) == 2
    assert len(server.links) == len(outcomes) == 1000


async def test_attempts_have_an_end(client: Client, server: LinkServer) -> None:
    server.before = failing(99, errors.DependencyUnavailable("postgres", 2.0))
    with pytest.raises(errors.DependencyUnavailable) as raised:
        await client.get("talk")
    assert (raised.value.dependency, raised.value.retry_after) == ("postgres", 2.0)
    assert len(server.calls) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    "error", [errors.RateLimited("create", 60.0), errors.AliasTaken("talk"), ZeroDivisionError("a defect")], ids=repr
)
async def test_what_another_attempt_does_not_mend_is_tried_once(
    client: Client, server: LinkServer, error: Exception
) -> None:
    server.before = failing(99, error)
    with pytest.raises(errors.WaypostError) as raised:
        await client.create(URL)
    assert isinstance(raised.value, RemoteError if isinstance(error, ZeroDivisionError) else type(error))
    assert len(server.calls) == 1


async def test_an_outage_is_not_met_with_many_times_the_load(client: Client, server: LinkServer) -> None:
    server.before = failing(10**6, AWAY)
    callers = 150
    outcomes = await asyncio.gather(*(client.get("talk") for _ in range(callers)), return_exceptions=True)
    assert all(isinstance(one, Unreachable) for one in outcomes)
    # The budget is half of 200 tokens, and each failure takes one: while it lasts, failures earn another attempt.
    assert callers <= len(server.calls) <= callers + 100
    server.calls.clear()
    with pytest.raises(Unreachable):
        await client.get("talk")
    assert len(server.calls) == 1
    # Successes fill it again: each adds a fifth of a token.
    server.before = None
    await client.create(URL, alias="talk")
    for _ in range(12):
        await asyncio.gather(*(client.get("talk") for _ in range(100)))
    server.before = failing(1, AWAY)
    await client.get("talk")


async def test_a_change_still_under_way_is_waited_for(client: Client, server: LinkServer) -> None:
    server.before = failing(2, errors.IdempotencyKeyInUse("k", 0.05))
    link = await client.create(URL, request_id="k")
    assert [call.request.request_id for call in server.calls] == ["k"] * 3
    assert list(server.links) == [link.short_code]


async def test_but_not_longer_than_the_call_has(client: Client, server: LinkServer) -> None:
    server.before = failing(99, errors.IdempotencyKeyInUse("k", 0.2))
    with pytest.raises(errors.IdempotencyKeyInUse):
        await client.create(URL, request_id="k", timeout=0.3)
    assert 1 <= len(server.calls) <= 2


async def test_a_call_has_its_time(server: LinkServer) -> None:
    async with serving(server) as port, Client(f"127.0.0.1:{port}", timeout=300.0) as client:
        await client.create(URL)
        await client.create(URL, timeout=700.0)
    first, second = server.calls
    # The server's clock begins a little before the client's call does; on a busy machine, a good while after.
    assert 200 < first.seconds < 301
    assert 600 < second.seconds < 701


async def test_a_call_that_takes_too_long(client: Client, server: LinkServer) -> None:
    go = asyncio.Event()

    async def hold(call: Call) -> None:
        await go.wait()

    server.before = hold
    with pytest.raises(errors.DeadlineExceeded) as raised:
        await client.get("talk", timeout=0.1)
    assert raised.value.timeout == 0.1


async def test_nobody_there() -> None:
    port = free_port()
    # It ends with its attempts and their pauses, and not with the time that the call has.
    async with asyncio.timeout(60), Client(f"127.0.0.1:{port}", timeout=3600) as client:
        with pytest.raises(Unreachable, match=f"no Waypost answers at 127.0.0.1:{port}: .*refused") as raised:
            await client.get("talk")
    assert raised.value.address == f"127.0.0.1:{port}"


async def test_a_server_that_comes_back_is_found(server: LinkServer) -> None:
    async with serving(server) as port:
        pass
    async with Client(f"127.0.0.1:{port}") as client:
        asked = asyncio.create_task(client.create(URL))
        async with serving(server, port):
            await asked
        with pytest.raises(Unreachable):
            await client.get("talk")


async def test_closing_ends_what_is_under_way(server: LinkServer) -> None:
    held = asyncio.Event()
    server.before = lambda call: _wait(held)
    async with serving(server) as port:
        client = Client(f"127.0.0.1:{port}", channels=2)
        async with client:
            calls = [asyncio.create_task(client.get("talk")) for _ in range(4)]
            await until(lambda: len(server.calls) == 4)
        for call in calls:
            with pytest.raises(ClientClosed):
                await call
        with pytest.raises(ClientClosed):
            await client.get("talk")
        await client.close()
        # It may be opened again.
        server.before = None
        async with client:
            await client.create(URL)


async def test_a_caller_who_is_cancelled_is_just_that(client: Client, server: LinkServer) -> None:
    held = asyncio.Event()
    server.before = lambda call: _wait(held)
    call = asyncio.create_task(client.get("talk"))
    await until(lambda: len(server.calls) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.get("talk")


async def test_a_caller_who_is_cancelled_while_the_client_closes(server: LinkServer) -> None:
    held = asyncio.Event()
    server.before = lambda call: _wait(held)
    async with serving(server) as port:
        async with Client(f"127.0.0.1:{port}") as client:
            call = asyncio.create_task(client.get("talk"))
            await until(lambda: len(server.calls) == 1)
            call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_it_is_used_within_its_block() -> None:
    client = Client()
    with pytest.raises(ClientClosed):
        await client.get("talk")
    async with client:
        with pytest.raises(RuntimeError):
            await client.__aenter__()


@pytest.mark.parametrize("channels", [1, 3])
async def test_a_hundred_calls_at_once(server: LinkServer, channels: int) -> None:
    held = asyncio.Event()
    server.before = lambda call: _wait(held)
    peers = set()

    async with serving(server) as port, Client(f"127.0.0.1:{port}", channels=channels) as client:
        calls = [asyncio.create_task(client.create(URL, alias=f"link-{n}")) for n in range(100)]
        await until(lambda: len(server.calls) == 100)
        peers = {call.peer for call in server.calls}
        held.set()
        links = await asyncio.gather(*calls)
    assert [link.short_code for link in links] == [f"link-{n}" for n in range(100)]
    assert len(peers) == channels


def test_uvloop_serves_as_well() -> None:
    async def main() -> str:
        async with serving(LinkServer()) as port, Client(f"127.0.0.1:{port}") as client:
            await client.create(URL, alias="talk")
            links = await asyncio.gather(*(client.get("talk") for _ in range(20)))
            return links[0].short_code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "talk"


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf"), 86_401.0])
async def test_time_must_be_a_number_of_seconds(client: Client, server: LinkServer, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Client(timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        await client.get("talk", timeout=timeout)
    assert server.calls == []


def test_there_must_be_a_channel() -> None:
    with pytest.raises(ValueError, match="channels"):
        Client(channels=0)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
