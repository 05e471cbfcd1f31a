"""The end of a service: not ready, no new calls, what is in flight finishes, ports closed; and never for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.support.service import (
    GET_LINK,
    LINKS,
    NOT_SERVING,
    SERVING,
    Held,
    Links,
    Running,
    details_of,
    echo,
    raw_call,
    reason_of,
    running,
    status_of,
)
from tests.support.waiting import until
from waypost.api.v1.link_service_pb2 import CreateLinkRequest
from waypost.rpc.context import CallContext
from waypost.rpc.health import Health


async def _closed(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def _drain(service: Running) -> None:
    """Tells the service to stop and waits until it refuses new calls."""
    service.stop.set()
    await service.status("draining")

    async def refused() -> bool:
        try:
            await service.links.CreateLink(CreateLinkRequest())
        except grpc.aio.AioRpcError as error:
            return reason_of(error)[0] == "DRAINING"
        return False

    await until(refused)


class Slow(Links):
    """`GetLink` is held, `CreateLink` is not."""

    def __init__(self) -> None:
        super().__init__()
        self.held = Held()
        self.script.get_link = self.held

    async def CreateLink(self, request: Any, context: Any) -> Any:
        return await echo(request, context)


async def test_what_is_in_flight_finishes_and_new_calls_are_refused() -> None:
    links = Slow()
    async with running(links) as service:
        call = asyncio.ensure_future(service.get())
        await links.held.has(1)
        await _drain(service)
        status, body = await service.ready()
        assert (status, body["status"]) == (503, "draining")
        alive = await service.http.get("/health")
        assert (alive.status_code, alive.json()["status"]) == (200, "draining")
        assert [await service.check(name) for name in ("", LINKS)] == [NOT_SERVING] * 2
        refusal = await service.refusal()
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        assert set(details_of(status_of(refusal))) == {"ErrorInfo", "RetryInfo"}
        assert await service.sample("load_shed_total", reason="draining") >= 2
        # Also for those who come by a new connection.
        channel = await service.another_channel()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(GET_LINK)(b"")
        assert reason_of(raised.value)[0] == "DRAINING"
        links.held.go.set()
        assert (await call).short_code == "abc"
        await service.task
        assert await _closed(service.ports.control)
        assert await _closed(service.ports.metrics)
        assert (await service.refusal()).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_service_at_rest_stops_at_once() -> None:
    async with running(Links(), drain_seconds=30) as service:
        assert await service.end() < 1.5
        assert service.log.of("drained")[0]["in_flight"] == 0


async def test_open_streams_do_not_hold_the_stop() -> None:
    async with running(Links(), drain_seconds=30) as service:
        watch = service.health.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(service.channel)
        reflect = stub.ServerReflectionInfo()
        await reflect.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await reflect.read()
        assert await service.end() < 1.5
        for stream in (watch, reflect):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                while await stream.read():
                    pass
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            # Told to go, not cut off.
            assert raised.value.details() == "the server is shutting down; try again, another one will answer"


async def test_a_call_that_never_sends_its_message_does_not_hold_the_stop() -> None:
    async with running(Links(), drain_seconds=30) as service, raw_call(service.ports.control, message=None):
        await service.get()
        assert await service.end() < 3


async def test_a_method_that_takes_too_long_is_cancelled_at_the_end_of_the_drain() -> None:
    links = Slow()
    async with running(links, drain_seconds=0.2) as service:
        call = asyncio.ensure_future(service.get())
        await links.held.has(1)
        assert 0.2 <= await service.end() < 1.5
        assert links.held.cancelled == 1
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_method_that_heeds_no_cancellation_does_not_hold_the_stop() -> None:
    links, let_go = Links(), asyncio.Event()

    async def stubborn(request: object, context: CallContext) -> object:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return await echo(request, context)

    links.script.get_link = stubborn
    async with running(links, drain_seconds=0.1) as service:
        service.stack.callback(let_go.set)
        call = asyncio.ensure_future(service.get())
        await until(lambda: len(links.script.calls) == 1)
        assert await service.end() < 4
        call.cancel()
        await asyncio.wait([call])


async def test_no_drain_time_means_none() -> None:
    links = Slow()
    async with running(links, drain_seconds=0) as service:
        call = asyncio.ensure_future(service.get())
        await links.held.has(1)
        assert await service.end() < 1.5
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_many_calls_that_end_together_are_all_answered() -> None:
    """The chain is done with a call before its answer has left."""
    links = Slow()

    async def large(request: Any, context: CallContext) -> Any:
        link = await links.held(request, context)
        link.original_url = "x" * 20_000
        return link

    links.script.get_link = large
    async with running(links, log_level="warning") as service:
        calls = [asyncio.ensure_future(service.get()) for _ in range(300)]
        await links.held.has(300)
        await _drain(service)
        links.held.go.set()
        answers = await asyncio.gather(*calls)
    assert {len(answer.original_url) for answer in answers} == {20_000}


async def test_for_the_delay_it_serves_on_but_says_that_it_leaves() -> None:
    async with running(Links(), drain_delay_seconds=0.4) as service:
        watch = service.health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        service.stop.set()
        assert (await watch.read()).status == NOT_SERVING
        assert (await service.ready())[0] == 503
        assert (await service.get()).short_code == "abc"
        assert not service.task.done()
        assert 0.1 < await service.end() < 2


async def test_what_watches_hears_of_the_end_before_it_is_cut_off() -> None:
    async with running(Links()) as service:
        watches = [service.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        service.stop.set()
        assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}


class Web:
    """A web application with a page that is held."""

    def __init__(self) -> None:
        self.held, self.waiting = asyncio.Event(), asyncio.Event()

    def app(self, health: Health) -> ASGIApp:
        async def slow(_: Request) -> Response:
            self.waiting.set()
            await self.held.wait()
            return PlainTextResponse("done")

        async def readyz(_: Request) -> Response:
            return PlainTextResponse(health.status)

        return Starlette(routes=[Route("/slow", slow), Route("/readyz", readyz)])


async def test_a_page_in_flight_finishes_and_the_web_port_takes_no_more() -> None:
    web = Web()
    async with running(Links(), web=web.app, drain_seconds=5) as service:
        url = f"http://127.0.0.1:{service.ports.web}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/readyz")).text == "ok"
            page = asyncio.ensure_future(client.get("/slow"))
            await web.waiting.wait()
            service.stop.set()
            await until(lambda: _closed(service.ports.web))
            # The control port, which waits for nobody here, is closed and stays so.
            await until(lambda: _closed(service.ports.control))
            await asyncio.sleep(0.1)
            assert await _closed(service.ports.control)
            # Until the last page is out, the state of the drain can be read.
            assert (await service.ready())[1]["status"] == "draining"
            web.held.set()
            assert (await page).text == "done"
        await service.task


async def test_a_page_that_takes_too_long_does_not_hold_the_stop() -> None:
    web = Web()
    async with running(Links(), web=web.app, drain_seconds=0.1) as service:
        url = f"http://127.0.0.1:{service.ports.web}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            page = asyncio.ensure_future(client.get("/slow"))
            await web.waiting.wait()
            assert await service.end() < 4
            with pytest.raises(httpx.HTTPError):
                (await page).raise_for_status()


async def test_idle_connections_do_not_hold_the_stop() -> None:
    web = Web()
    async with running(Links(), web=web.app, drain_seconds=30) as service:
        for port in (service.ports.metrics, service.ports.web):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readline()
            service.stack.callback(writer.close)
        assert await service.end() < 2
