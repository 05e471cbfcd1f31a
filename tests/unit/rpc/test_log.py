"""The log: one JSON object a line, one line a call, and nobody can write into it but us."""

from __future__ import annotations

import asyncio
import logging
import warnings

import grpc
import pytest
import structlog

from tests.support.service import GET_LINK, LINKS, Links, captured_log, echo, fail, raw_call, running
from waypost import errors
from waypost.rpc.context import CallContext

FORGED = 'x\n{"event":"forged","level":"info"}\r\x1b[31m\x00\u2028\x85'


async def test_a_call_is_one_line() -> None:
    async with running(Links()) as service:
        await service.get("abc", metadata=(("x-correlation-id", "one-line"),))
        line = await service.log.rpc()
    assert line.keys() >= {"ts", "duration_ms"}
    assert {key: line[key] for key in line if key not in ("ts", "duration_ms", "peer")} == {
        "event": "rpc",
        "level": "info",
        "service": "test",
        "rpc": GET_LINK,
        "code": "OK",
        "request_bytes": 5,
        "response_bytes": 5,
        "principal": "user:ada",
        "correlation_id": "one-line",
    }
    assert 0 < line["duration_ms"] < 10_000
    assert line["ts"].endswith("Z")


async def test_many_calls_at_once_are_as_many_lines() -> None:
    links = Links()

    async def slowly(request: object, context: CallContext) -> object:
        await asyncio.sleep(0.01)
        return await echo(request, context)

    links.script.get_link = slowly
    async with running(links) as service:
        await asyncio.gather(*[service.get(metadata=(("x-correlation-id", f"c{n}"),)) for n in range(50)])
        await service.log.rpc(50)
        assert {line["correlation_id"] for line in service.log.of("rpc")} == {f"c{n}" for n in range(50)}


async def test_good_health_is_no_news() -> None:
    async with running(Links()) as service:
        await service.check()
        await service.check(LINKS)
        assert not service.log.of("rpc")
        with pytest.raises(grpc.aio.AioRpcError):
            await service.check("nobody")
        assert (await service.log.rpc())["code"] == "NOT_FOUND"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_the_level_is_the_least_severe_that_is_written(level: str) -> None:
    links = Links()
    async with running(links, log_level=level) as service:
        await service.get()
        links.script.get_link = fail(RuntimeError())
        await service.refusal()
        await service.log.rpc(2 if level in ("debug", "info") else 1)
        order = ["debug", "info", "warning", "error"]
        assert {line["level"] for line in service.log.lines} <= set(order[order.index(level) :])


async def test_texts_of_callers_cannot_forge_lines() -> None:
    links = Links()
    async with running(links) as service:
        for error in (RuntimeError(FORGED), errors.LinkNotFound(FORGED), errors.UnknownMethod(FORGED)):
            links.script.get_link = fail(error)
            await service.refusal(FORGED.replace("\x00", ""))
        await service.log.rpc(3)
        links.script.get_link = echo
        for key in ("x-correlation-id", "x-request-id", "user-agent", "x-forwarded-for"):
            for byte in (b"\n", b"\r\n", b"\x00", b"\x1b", b"\x85"):
                value = b"x" + byte + b'{"event":"forged"}'
                async with raw_call(service.ports.control, headers={key.encode(): value}):
                    await service.get()
        assert not service.log.of("forged")
        assert "\x1b" not in service.log.text
        assert "\r" not in service.log.text


async def test_the_life_of_a_service_is_in_its_log() -> None:
    async with running(Links()) as service:
        await service.end()
        events = [line["event"] for line in service.log.lines]
        (line,) = service.log.of("serving")
    assert events == ["serving", "ready", "draining", "drained"]
    assert (line["control"], line["metrics"]) == (service.ports.control, service.ports.metrics)
    assert line["rpc_services"] == [LINKS]


def test_what_libraries_say_is_json_too() -> None:
    with captured_log() as log:
        logging.getLogger("some.library").warning("a warning of %s\nin two lines", "theirs")
        try:
            raise ValueError("theirs")
        except ValueError:
            logging.getLogger("some.library").exception("failed")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a Python warning", RuntimeWarning, stacklevel=1)
        logging.getLogger("some.library").info("of no interest")
    first, second, third = log.lines
    assert (first["event"], first["logger"], first["level"]) == (
        "a warning of theirs\nin two lines",
        "some.library",
        "warning",
    )
    assert "ValueError: theirs" in second["exception"]
    assert "a Python warning" in third["event"]
    assert {line["service"] for line in log.lines} == {"test"}


@pytest.mark.parametrize(
    "value",
    ["\udc80", 2**80, float("nan"), {1: "one"}, object(), b"\xff", {"deep": ["\ud800", {2**70: "x"}]}, {"s"}],
    ids=lambda value: type(value).__name__,
)
def test_no_value_costs_the_line(value: object) -> None:
    with captured_log() as log:
        structlog.get_logger().info("odd", value=value)
        logging.getLogger("library").warning("odd %r", value)
    assert [line["event"].split()[0] for line in log.lines] == ["odd", "odd"]


def test_not_even_one_that_cannot_be_told() -> None:
    class Mute:
        def __str__(self) -> str:
            raise ValueError("no words")

        __repr__ = __str__

    with captured_log() as log:
        structlog.get_logger().info("odd", value=Mute())
    assert log.lines[0]["value"] == "<Mute>"


async def test_a_listener_that_fails_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    links = Links()
    links.script.get_link = fail(errors.LinkNotFound("abc"))
    async with running(links) as service:

        def fail_to_count(*labels: str) -> None:
            raise RuntimeError("no more memory for labels")

        monkeypatch.setattr(service.metrics.rpc_duration, "labels", fail_to_count)
        assert (await service.refusal()).code() is grpc.StatusCode.NOT_FOUND
        await service.log.rpc()
        (line,) = service.log.of("listener failed")
    assert "no more memory for labels" in line["exception"]
