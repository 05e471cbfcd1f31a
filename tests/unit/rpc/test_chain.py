"""The chain without a transport: what a second port gets when it calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest
import structlog

from tests.support.service import GET_LINK, Held, Links
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2
from waypost.errors import DeadlineExceeded, Draining, LinkNotFound, Overloaded
from waypost.rpc import chain
from waypost.rpc.chain import Admission, CallRecord, Errors, Handler, Observe
from waypost.rpc.context import CURRENT, CallContext
from waypost.rpc.deadlines import Deadline
from waypost.rpc.methods import endpoint, method_table
from waypost.rpc.status import RpcError
from waypost.telemetry import CORRELATION_ID, Metrics

OTHER = "/waypost.api.v1.LinkService/CreateLink"


class Chain:
    """The whole chain around a scripted servicer, and the records of its calls."""

    def __init__(self, max_in_flight: int = 2, timeout: float = 1.0, exempt: Sequence[str] = ()) -> None:
        self.links = Links()
        self.records: list[CallRecord] = []
        self.admission = Admission(max_in_flight, Metrics("test"), frozenset(exempt))
        self.call: Handler = chain.build(
            [Observe([self.records.append]), Errors(), self.admission, Deadline(timeout, 2.0)],
            endpoint(method_table([self.links])),
        )

    async def get(self, short_code: str = "abc", method: str = GET_LINK, **headers: str) -> bytes:
        context = CallContext(method, tuple(headers.items()), "test", None)
        return await self.call(context, link_service_pb2.GetLinkRequest(short_code=short_code).SerializeToString())

    async def code(self, **options: str) -> grpc.StatusCode:
        with pytest.raises(RpcError) as raised:
            await self.get(**options)
        return raised.value.status.code


def context() -> CallContext:
    return CallContext(GET_LINK, (), "test", None)


async def test_the_first_of_the_list_is_the_outermost() -> None:
    seen: list[str] = []

    class Step:
        def __init__(self, name: str) -> None:
            self._name = name

        async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
            seen.append(f"into {self._name}")
            answer = await call_next(context, request + self._name.encode())
            seen.append(f"out of {self._name}")
            return answer + self._name.encode()

    async def handler(context: CallContext, request: bytes) -> bytes:
        return request + b"|"

    call = chain.build([Step("a"), Step("b")], handler)
    assert await call(context(), b"") == b"ab|ba"
    assert seen == ["into a", "into b", "out of b", "out of a"]
    assert chain.build([], handler) is handler


async def test_a_call_goes_through_all_of_it() -> None:
    whole = Chain()
    answer = link_service_pb2.Link.FromString(await whole.get("abc", **{"x-correlation-id": "direct"}))
    assert answer.short_code == "abc"
    (record,) = whole.records
    assert (record.method, record.code, record.correlation_id, record.peer, record.error) == (
        GET_LINK,
        grpc.StatusCode.OK,
        "direct",
        "test",
        None,
    )
    assert (record.request_bytes, record.response_bytes) == (5, 5)
    assert record.seconds > 0
    (seen,) = whole.links.script.calls
    assert seen.timeout == 1.0
    assert seen.trailing_metadata() == [("x-correlation-id", "direct")]


async def test_unknown_methods_and_broken_bytes_are_refused_as_on_the_wire() -> None:
    whole = Chain()
    assert await whole.code(method="/none.Such/Method") is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(RpcError) as raised:
        await whole.call(context(), b"\xff")
    assert raised.value.status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [record.code for record in whole.records] == [
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]


async def test_the_bound_on_calls_holds_without_a_transport() -> None:
    whole, held = Chain(max_in_flight=2, exempt=[OTHER]), Held()
    whole.links.script.get_link = held
    calls = [asyncio.create_task(whole.get()) for _ in range(2)]
    await held.has(2)
    assert await whole.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(whole.records[-1].error, Overloaded)
    exempt = asyncio.create_task(whole.get(method=OTHER))
    await held.has(3)
    assert whole.admission.in_flight == 2
    held.go.set()
    await asyncio.gather(*calls, exempt)
    assert whole.admission.in_flight == 0


async def test_draining_waits_for_calls_in_flight_and_refuses_others() -> None:
    whole, held = Chain(), Held()
    whole.links.script.get_link = held
    call = asyncio.create_task(whole.get())
    await held.has(1)
    whole.admission.refuse_new()
    assert await whole.code() is grpc.StatusCode.UNAVAILABLE
    assert isinstance(whole.records[-1].error, Draining)
    assert not await whole.admission.wait_idle(0.01)
    idle = asyncio.create_task(whole.admission.wait_idle(10))
    held.go.set()
    assert await idle
    await call


async def test_waiting_for_an_idle_server_does_not_wait() -> None:
    assert await Chain().admission.wait_idle(0)


async def test_time_is_up_without_a_transport() -> None:
    whole, held = Chain(timeout=0.02), Held()
    whole.links.script.get_link = held
    assert await whole.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    error = whole.records[-1].error
    assert isinstance(error, DeadlineExceeded)
    assert error.timeout == 0.02
    assert held.cancelled == 1


async def test_a_method_may_answer_although_its_time_is_up() -> None:
    """It did the work; whoever still listens may have it. Above all it must not look like a defect."""

    async def stubborn(request: object, context: CallContext) -> link_service_pb2.Link:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return link_service_pb2.Link(short_code="late")

    whole = Chain(timeout=0.01)
    whole.links.script.get_link = stubborn
    assert link_service_pb2.Link.FromString(await whole.get()).short_code == "late"
    assert whole.records[-1].code is grpc.StatusCode.OK


async def test_a_cancelled_call_is_recorded_and_stays_cancelled() -> None:
    whole, held = Chain(), Held()
    whole.links.script.get_link = held
    call = asyncio.create_task(whole.get())
    await held.has(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert whole.records[-1].code is grpc.StatusCode.CANCELLED
    assert whole.admission.in_flight == 0


async def test_what_a_method_waits_for_may_be_cancelled_without_the_call() -> None:
    async def behave(request: object, context: CallContext) -> None:
        inner = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    whole = Chain()
    whole.links.script.get_link = behave
    assert await whole.code() is grpc.StatusCode.INTERNAL
    assert isinstance(whole.records[-1].error, asyncio.CancelledError)


async def test_a_method_may_abort_as_others_write_it() -> None:
    async def behave(request: object, context: CallContext) -> None:
        await context.abort(grpc.StatusCode.ABORTED, "try again", (("x-own", "1"),))

    whole = Chain()
    whole.links.script.get_link = behave
    with pytest.raises(RpcError) as raised:
        await whole.get()
    assert (raised.value.status.code, raised.value.status.message) == (grpc.StatusCode.ABORTED, "try again")
    assert ("x-own", "1") in whole.links.script.calls[0].trailing_metadata()


async def test_every_listener_hears_of_every_call_once() -> None:
    first: list[CallRecord] = []
    second: list[CallRecord] = []

    def broken(record: CallRecord) -> None:
        raise RuntimeError

    async def handler(context: CallContext, request: bytes) -> bytes:
        if request:
            raise LinkNotFound("abc")
        return b""

    call = chain.build([Observe([first.append, broken, second.append]), Errors()], handler)
    await call(context(), b"")
    with pytest.raises(RpcError):
        await call(context(), b"x")
    assert first == second
    assert [record.code for record in first] == [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND]


async def test_what_escapes_the_chain_is_not_recorded_as_well() -> None:
    async def handler(context: CallContext, request: bytes) -> bytes:
        raise SystemExit(3)

    records: list[CallRecord] = []
    call = chain.build([Observe([records.append]), Errors()], handler)
    with pytest.raises(SystemExit):
        await call(context(), b"")
    assert records[0].code is grpc.StatusCode.UNKNOWN


async def test_what_is_logged_in_a_call_has_its_correlation_id() -> None:
    seen: list[str] = []

    async def handler(call: CallContext, request: bytes) -> bytes:
        seen.extend([CORRELATION_ID.get(), call.correlation_id])
        return b""

    await chain.build([Observe([])], handler)(context(), b"")
    assert seen[0]
    assert seen[0] == seen[1]


async def test_a_call_leaves_nothing_behind_in_its_task() -> None:
    whole = Chain()

    async def several() -> None:
        for _ in range(3):
            await whole.get()
        await whole.code(method="/none.Such/Method")
        assert CURRENT.get(None) is None
        assert CORRELATION_ID.get() == ""

    await asyncio.create_task(several())


async def test_time_remaining_never_goes_below_zero() -> None:
    own = context()
    own.deadline = asyncio.get_running_loop().time() - 1
    assert own.time_remaining() == 0
    own.deadline += 61
    assert own.time_remaining() == pytest.approx(60, abs=1)


def test_the_first_of_several_headers_counts_and_bytes_are_no_header() -> None:
    own = CallContext(GET_LINK, (("a", "1"), ("a", "2"), ("b-bin", b"\x00")), "test", None)
    assert own.headers == {"a": "1"}


async def test_calls_do_not_hold_each_other_up() -> None:
    whole, held = Chain(max_in_flight=100), Held()
    whole.links.script.get_link = held
    calls = [asyncio.create_task(whole.get(f"code{n}")) for n in range(50)]
    await held.has(50)
    held.go.set()
    codes = [link_service_pb2.Link.FromString(answer).short_code for answer in await asyncio.gather(*calls)]
    assert codes == [f"code{n}" for n in range(50)]
    await until(lambda: whole.admission.in_flight == 0)


def call_record(method: str, code: grpc.StatusCode = grpc.StatusCode.OK) -> CallRecord:
    return CallRecord(method, code, 0.001, 1, 1, "id", "peer", None, "mesh")


def test_of_sampled_methods_the_first_and_each_so_many_are_logged_and_every_failure() -> None:
    with structlog.testing.capture_logs() as lines:
        listen = chain.log_calls(structlog.get_logger(), frozenset(), {GET_LINK: 3})
        for _ in range(7):
            listen(call_record(GET_LINK))
        listen(call_record(GET_LINK, grpc.StatusCode.NOT_FOUND))
        listen(call_record(OTHER))
    assert [(line["rpc"], line["code"]) for line in lines] == [
        *[(GET_LINK, "OK")] * 3,
        (GET_LINK, "NOT_FOUND"),
        (OTHER, "OK"),
    ]


def test_a_sample_of_one_is_every_call() -> None:
    with structlog.testing.capture_logs() as lines:
        listen = chain.log_calls(structlog.get_logger(), frozenset(), {GET_LINK: 1})
        for _ in range(3):
            listen(call_record(GET_LINK))
    assert len(lines) == 3
