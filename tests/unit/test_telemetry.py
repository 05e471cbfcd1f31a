"""Logs and metrics without a service around them."""

from __future__ import annotations

import asyncio
import builtins
import logging
import os
import time

import pytest
import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from tests.support.service import captured_log
from tests.support.waiting import until
from waypost.telemetry import CORRELATION_ID, LATENCY_BUCKETS, Durations, Metrics, watch_loop_lag


def test_two_services_have_metrics_of_their_own() -> None:
    first, second = Metrics("first"), Metrics("second")
    first.shed.labels("draining").inc()
    assert first.registry.get_sample_value("load_shed_total", {"reason": "draining"}) == 1
    assert second.registry.get_sample_value("load_shed_total", {"reason": "draining"}) is None
    assert b'service="second"' in generate_latest(second.registry)


def test_buckets_rise_and_reach_below_a_millisecond() -> None:
    assert list(LATENCY_BUCKETS) == sorted(set(LATENCY_BUCKETS))
    assert sum(bucket < 0.001 for bucket in LATENCY_BUCKETS) >= 2
    assert LATENCY_BUCKETS[-1] == 10


def test_memory_is_what_the_kernel_says() -> None:
    memory = Metrics("test").registry.get_sample_value("process_resident_memory_bytes")
    assert memory is not None
    assert memory % os.sysconf("SC_PAGE_SIZE") == 0
    assert memory > 1_000_000


def test_where_the_kernel_says_nothing_there_is_still_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics("test")

    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", refuse)
    assert metrics.registry.get_sample_value("process_resident_memory_bytes") == 0


def test_durations_are_a_histogram_like_that_of_the_library() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations("took_seconds", "How long it took.", ("method", "code"), ours)
    reference = Histogram(
        "took_seconds", "How long it took.", ["method", "code"], buckets=LATENCY_BUCKETS, registry=theirs
    )
    for labels in (("a", "OK"), ("b", 'quoted"')):
        for seconds in (0.0, *LATENCY_BUCKETS, 0.0007, 99.0):
            durations.labels(*labels).observe(seconds)
            reference.labels(*labels).observe(seconds)
    durations.labels("c", "OK")
    reference.labels("c", "OK")
    told = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == told


def test_durations_have_one_child_for_the_same_labels() -> None:
    durations = Durations("took_seconds", "How long it took.", ("method",), CollectorRegistry())
    assert durations.labels("a") is durations.labels("a")
    assert durations.labels("a") is not durations.labels("b")


def test_durations_of_too_few_or_many_labels_are_refused() -> None:
    durations = Durations("took_seconds", "How long it took.", ("method", "code"), CollectorRegistry())
    for labels in (("a",), ("a", "OK", "b")):
        with pytest.raises(ValueError, match="took_seconds has the labels method, code"):
            durations.labels(*labels)


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Durations("took_seconds", "How long it took.", (), registry)
    with pytest.raises(ValueError, match="took_seconds"):
        Durations("took_seconds", "How long it took.", (), registry)


def value(gauge: Gauge) -> float:
    (metric,) = gauge.collect()
    (sample,) = metric.samples
    return sample.value


async def test_lag_is_the_worst_of_ten_readings() -> None:
    gauge, readings = Gauge("lag", "test", registry=None), 0
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal readings
        readings += 1
        if readings == 11:
            done.set()
            await asyncio.Event().wait()
        # The loop is blocked once, in the middle.
        time.sleep(seconds + (0.05 if readings == 5 else 0))

    task = asyncio.create_task(watch_loop_lag(gauge, sleep, interval=0.001))
    await done.wait()
    task.cancel()
    assert 0.05 <= value(gauge) < 1


async def test_lag_goes_down_again() -> None:
    gauge = Gauge("lag", "test", registry=None)
    gauge.set(9)
    task = asyncio.create_task(watch_loop_lag(gauge, interval=0.001))
    await until(lambda: value(gauge) != 9)
    task.cancel()
    assert value(gauge) < 1


def test_a_line_has_time_level_service_and_its_fields() -> None:
    with captured_log("links", "debug") as log:
        structlog.get_logger().debug("something", number=1, nothing=None, text="ü")
    (line,) = log.lines
    assert line.pop("ts").endswith("Z")
    assert line == {
        "event": "something",
        "level": "debug",
        "service": "links",
        "number": 1,
        "nothing": None,
        "text": "ü",
    }


def test_a_line_names_the_call_it_was_written_for() -> None:
    with captured_log() as log:
        token = CORRELATION_ID.set("of-a-call")
        structlog.get_logger().info("ours")
        logging.getLogger("a.library").warning("theirs")
        structlog.get_logger().info("of another", correlation_id="another")
        CORRELATION_ID.reset(token)
        structlog.get_logger().info("of none")
    assert [line.get("correlation_id") for line in log.lines] == ["of-a-call", "of-a-call", "another", None]


def test_lines_below_the_level_are_not_written() -> None:
    with captured_log("links", "warning") as log:
        structlog.get_logger().info("of no interest")
        structlog.get_logger().warning("of interest")
    assert [line["event"] for line in log.lines] == ["of interest"]


def test_an_exception_is_in_its_line() -> None:
    with captured_log() as log:
        try:
            raise ValueError("of a test")
        except ValueError:
            structlog.get_logger().exception("failed")
    (line,) = log.lines
    assert line["exception"].endswith("ValueError: of a test")
