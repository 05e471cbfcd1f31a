"""Both load generators call as they are told and report the same things."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.service.ratelimit.v3 import rls_pb2 as pb
from envoy.service.ratelimit.v3 import rls_pb2_grpc as pb_grpc

from bench import programs
from bench.calls import Load, Method
from bench.results import ROOT
from tests.support.missing import missing

Answer = Callable[[pb.RateLimitRequest], Awaitable[pb.RateLimitResponse]]

OK = pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OK)


class _Servicer(pb_grpc.RateLimitServiceServicer):  # type: ignore[misc]  # its package has no types
    """Answers with a function; keeps the values that it was asked about."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.values: list[str] = []

    async def ShouldRateLimit(self, request: pb.RateLimitRequest, context: Any) -> pb.RateLimitResponse:
        ((entry,),) = (descriptor.entries for descriptor in request.descriptors)
        assert (request.domain, entry.key) == ("bench", "client")
        self.values.append(entry.value)
        return await self._answer(request)


@pytest.fixture(params=["go", "grpcio"], scope="module")
def generator(request: pytest.FixtureRequest) -> list[str]:
    """The command of a generator."""
    if request.param == "grpcio":
        return [sys.executable, "-m", "bench.grpc_calls"]
    try:
        return [str(programs.generator())]
    except programs.NoProgram as error:
        missing(str(error))


@asynccontextmanager
async def _serving(answer: Answer) -> AsyncIterator[tuple[str, _Servicer]]:
    server = grpc.aio.server()
    servicer = _Servicer(answer)
    pb_grpc.add_RateLimitServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", servicer
    finally:
        await server.stop(0)


async def _run(generator: list[str], load: Load, address: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *generator, *load.arguments(address, seed=1), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(output)
    return told


async def _admit(_: pb.RateLimitRequest) -> pb.RateLimitResponse:
    return OK


async def test_an_open_loop_makes_the_calls_that_are_due(generator: list[str]) -> None:
    async with _serving(_admit) as (address, servicer):
        told = await _run(generator, Load(rate=100, seconds=0.5, warmup=0.2, keys=3), address)
    assert told["answers"] == 50
    assert told["codes"] == {"OK": 50}
    assert told["errors"] == {}
    assert told["degraded"] == 0
    assert told["calls"] == len(servicer.values) > 50
    assert set(servicer.values) == {f"value-{number:06d}" for number in range(3)}
    assert 0 < told["latency_us"]["p50"] <= told["latency_us"]["p99"] <= told["latency_us"]["max"]


async def test_an_open_loop_charges_a_stall_with_all_who_waited(generator: list[str]) -> None:
    """The server answers nobody before the twentieth call has come; the first was due 190 ms before that one."""
    arrived = 0
    last = asyncio.Event()

    async def answer(_: pb.RateLimitRequest) -> pb.RateLimitResponse:
        nonlocal arrived
        arrived += 1
        # The Go generator's connections each begin with a call that it does not count.
        if arrived >= 24:
            last.set()
        await last.wait()
        return OK

    async with _serving(answer) as (address, _):
        told = await _run(generator, Load(rate=100, seconds=0.3, warmup=0, connections=4), address)
    assert told["answers"] == 30
    assert told["latency_us"]["max"] >= 190_000


async def test_a_closed_loop_calls_again_when_it_is_answered(generator: list[str]) -> None:
    most = under_way = 0

    async def answer(_: pb.RateLimitRequest) -> pb.RateLimitResponse:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return OK

    async with _serving(answer) as (address, servicer):
        told = await _run(generator, Load(seconds=0.3, warmup=0.1, connections=2, streams=3), address)
    assert told["answers"] > 6
    assert told["calls"] == len(servicer.values)
    assert most <= 2 * (3 + 1)


async def test_refusals_failures_and_answers_without_redis_are_counted(generator: list[str]) -> None:
    async def answer(request: pb.RateLimitRequest) -> pb.RateLimitResponse:
        match request.descriptors[0].entries[0].value:
            case "value-000000":
                return OK
            case "value-000001":
                return pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OVER_LIMIT)
            case "value-000002":
                header = HeaderValue(key="x-waypost-degraded", value="true")
                return pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OK, response_headers_to_add=[header])
            case _:
                raise NotImplementedError

    async with _serving(answer) as (address, _):
        told = await _run(generator, Load(rate=200, seconds=0.5, warmup=0.1, keys=4), address)
    # Which key a call draws is chance, but of a seed.
    assert set(told["codes"]) == {"OK", "OVER_LIMIT"}
    assert set(told["errors"]) == {"status 2"}
    assert 0 < told["degraded"] < told["codes"]["OK"]
    assert sum(told["codes"].values()) == told["answers"] == 100 - told["errors"]["status 2"]


async def test_another_method_is_called_with_its_message_and_headers(generator: list[str]) -> None:
    seen = []

    class Methods(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            headers = dict(handler_call_details.invocation_metadata)

            async def call(message: bytes, _: Any) -> bytes:
                seen.append((handler_call_details.method, message, headers["x-one"], headers["x-two"]))
                return b""

            return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    method = Method("/any.Service/Method", b"\x00\xff", (("x-one", "1"), ("x-two", "a:b")))
    try:
        told = await _run(generator, Load(rate=100, seconds=0.3, warmup=0, method=method), f"127.0.0.1:{port}")
    finally:
        await server.stop(0)
    assert set(seen) == {("/any.Service/Method", b"\x00\xff", "1", "a:b")}
    assert (told["answers"], told["codes"], told["errors"]) == (30, {"OK": 30}, {})


async def test_requests_have_as_many_descriptors_as_wanted(generator: list[str]) -> None:
    seen = []

    class Servicer(pb_grpc.RateLimitServiceServicer):  # type: ignore[misc]  # its package has no types
        async def ShouldRateLimit(self, request: pb.RateLimitRequest, context: Any) -> pb.RateLimitResponse:
            seen.append([(entry.key, entry.value) for each in request.descriptors for entry in each.entries])
            return OK

    server = grpc.aio.server()
    pb_grpc.add_RateLimitServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        told = await _run(generator, Load(rate=100, seconds=0.2, warmup=0, descriptors=2), f"127.0.0.1:{port}")
    finally:
        await server.stop(0)
    assert told["answers"] == 20
    assert all(entries == [("client", "value-000000"), ("client-2", "value-000000")] for entries in seen)
