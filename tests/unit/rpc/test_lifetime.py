"""A service's start and its failures: ports that are taken, tasks that end, and nothing left behind."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from tests.support.ports import free_port
from tests.support.service import NOT_SERVING, Dependency, Held, Links, captured_log, running
from tests.support.waiting import until
from waypost.rpc import process, server
from waypost.rpc.health import Health
from waypost.rpc.http import HttpServer
from waypost.rpc.methods import endpoint, method_table
from waypost.rpc.ports import PortInUse, listen
from waypost.rpc.process import Ports, Service, serve
from waypost.rpc.server import RpcServer, RpcServerOptions
from waypost.settings import ServiceSettings
from waypost.telemetry import Metrics


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another process listens."""
    with listen("127.0.0.1", 0) as sock:
        yield sock.getsockname()[1]


def web(health: Health) -> ASGIApp:
    return Starlette()


@pytest.mark.parametrize("which", ["control_port", "metrics_port", "web_port"])
async def test_a_taken_port_is_said_and_nothing_is_left_open(which: str, taken: int) -> None:
    ports = {name: free_port() for name in ("control_port", "metrics_port", "web_port")} | {which: taken}
    before = asyncio.all_tasks()
    with captured_log() as log, pytest.raises(PortInUse) as raised:
        await serve(
            Service(
                name="test",
                settings=ServiceSettings(),
                servicers=[Links()],
                metrics=Metrics("test"),
                web=web,
                **ports,  # type: ignore[arg-type]
            )
        )
    assert str(raised.value) == f"127.0.0.1:{taken} is in use by another process, or may not be used here"
    assert not log.text
    assert asyncio.all_tasks() == before
    for name, port in ports.items():
        if name != which:
            listen("127.0.0.1", port).close()


async def test_the_ports_of_a_running_service_are_taken() -> None:
    async with running(Links(), web=web) as service:
        for port in (service.ports.control, service.ports.metrics, service.ports.web):
            with pytest.raises(PortInUse):
                listen("127.0.0.1", port)
            with pytest.raises(PortInUse):
                await serve(
                    Service(
                        name="second",
                        settings=ServiceSettings(),
                        control_port=port,
                        metrics_port=0,
                        servicers=[Links()],
                        metrics=Metrics("second"),
                    )
                )
        assert (await service.get()).short_code == "abc"


async def test_grpcio_itself_shares_no_port_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "listen", lambda host, port: socket.socket())
    table = method_table([Links()])
    async with running(Links()) as service:
        second = RpcServer(table, endpoint(table), RpcServerOptions(port=service.ports.control))
        with pytest.raises(PortInUse):
            await second.start()


async def test_a_port_can_be_used_again_at_once() -> None:
    async with running(Links()) as service:
        await service.get()
        await service.ready()
        ports = service.ports
        await service.end()
    for port in (ports.control, ports.metrics):
        listen("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_the_host_may_be_a_name_or_of_either_family(host: str) -> None:
    got: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    service = Service(
        name="test",
        settings=ServiceSettings(host=host),
        control_port=free_port(),
        metrics_port=0,
        servicers=[Links()],
        metrics=Metrics("test"),
        on_ports=got.set_result,
        stop=stop,
    )
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with captured_log():
        task = asyncio.create_task(serve(service))
        ports = await asyncio.wait_for(got, 5)
        for port in (ports.control, ports.metrics):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
        stop.set()
        await task


async def test_a_host_that_is_not_here_is_said() -> None:
    settings = ServiceSettings(host="192.0.2.1")
    service = Service("test", settings, 0, 0, [Links()], Metrics("test"))
    with pytest.raises(PortInUse, match=r"192\.0\.2\.1:0"):
        await serve(service)


async def boom() -> None:
    await asyncio.sleep(0)
    raise LookupError("what broke it")


async def ends() -> None:
    await asyncio.sleep(0)


async def cancels_itself() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(("work", "cause"), [(boom, LookupError), (ends, None), (cancels_itself, None)])
async def test_a_task_that_ends_ends_the_service_with_an_error(work: object, cause: type | None) -> None:
    with pytest.raises(RuntimeError, match=f"background task {work.__name__} ended") as raised:  # type: ignore[attr-defined]
        async with running(Links(), tasks=[work]) as service:  # type: ignore[list-item]
            await service.task
    assert type(raised.value.__cause__) is (cause or type(None))


async def test_when_a_task_ends_calls_in_flight_still_finish() -> None:
    links, held, die = Links(), Held(), asyncio.Event()
    links.script.get_link = held

    async def dies() -> None:
        await die.wait()
        raise LookupError

    async with running(links, tasks=[dies], drain_delay_seconds=30) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        die.set()
        await service.status("draining")
        held.go.set()
        assert (await call).short_code == "abc"
        with pytest.raises(RuntimeError):
            # The delay is for balancers in an orderly stop; here it would only make it longer.
            await asyncio.wait_for(service.task, 5)


async def test_a_task_may_be_any_callable() -> None:
    async def work(seen: list[int], number: int) -> None:
        seen.append(number)
        await asyncio.Event().wait()

    seen: list[int] = []
    async with running(Links(), tasks=[functools.partial(work, seen, 1)]):
        await until(lambda: seen == [1])


async def test_tasks_run_on_until_the_last_call_is_answered() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with running(links, tasks=[work]) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        service.stop.set()
        await service.status("draining")
        assert not cancelled.is_set()
        held.go.set()
        await call
        await service.task
    assert cancelled.is_set()


async def test_a_task_that_heeds_no_cancellation_does_not_hold_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_END_SECONDS", 0.2)
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with running(Links(), tasks=[stubborn]) as service:
        service.stack.callback(let_go.set)
        assert await service.end() < 2
        (line,) = service.log.of("task does not end")
    assert "stubborn" in line["task"]


async def test_a_server_that_ends_by_itself_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve_nothing(self: object, sockets: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(HttpServer, "serve", serve_nothing)
    with pytest.raises(RuntimeError, match="background task http ended"):
        async with running(Links()) as service:
            await service.task


async def test_a_service_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with running(Links(), checks=[Dependency().check()], web=web) as service:
        await service.status("ok")
        await service.get()
        assert len(asyncio.all_tasks()) > len(before)
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_service_that_is_cancelled_closes_its_ports() -> None:
    before = asyncio.all_tasks()
    async with running(Links(), web=web) as service:
        service.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await service.task
        for port in (service.ports.metrics, service.ports.web, service.ports.control):
            listen("127.0.0.1", port).close()
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_service_that_fails_to_start_closes_its_ports() -> None:
    seen: list[Ports] = []

    def fail(ports: Ports) -> None:
        seen.append(ports)
        raise LookupError("nobody wants to know")

    service = Service("test", ServiceSettings(), 0, 0, [Links()], Metrics("test"), web=web, on_ports=fail)
    with captured_log(), pytest.raises(LookupError):
        await serve(service)
    for port in (seen[0].control, seen[0].metrics, seen[0].web):
        listen("127.0.0.1", port).close()


async def test_told_to_stop_before_it_started_it_ends_well() -> None:
    stop = asyncio.Event()
    stop.set()
    service = Service("test", ServiceSettings(), 0, 0, [Links()], Metrics("test"), stop=stop)
    with captured_log() as log:
        await asyncio.wait_for(serve(service), 5)
    assert [line["event"] for line in log.lines if line["event"] != "ready"] == ["serving", "draining", "drained"]


async def test_from_its_first_moment_it_says_not_serving_until_it_is_ready() -> None:
    postgres = Dependency(up=False)
    for _ in range(5):
        async with running(Links(), checks=[postgres.check()]) as service:
            assert await service.check() == NOT_SERVING


async def test_two_services_in_one_process_share_nothing() -> None:
    async with running(Links()) as first, running(Links()) as second:
        await first.get()
        assert await first.sample("rpc_server_call_duration_seconds_count") == 1
        assert await second.sample("rpc_server_call_duration_seconds_count") == 0
        await first.end()
        assert (await second.get()).short_code == "abc"
