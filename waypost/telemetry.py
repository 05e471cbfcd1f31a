"""What a process tells about itself: JSON log lines and Prometheus metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import sys
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from itertools import accumulate
from typing import Any, BinaryIO, cast

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

import waypost
from waypost.log_writer import LogWriter
from waypost.masking import masked

# Seconds. Finer at the low end than OpenTelemetry's advice (5 ms and up): a cached redirect takes well under one.
LATENCY_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def bucket_names(bounds: Iterable[float]) -> list[str]:
    """The buckets of a histogram with these upper bounds, as Prometheus writes them, and that of all."""
    return [*map(floatToGoString, bounds), "+Inf"]


_BUCKETS = bucket_names(LATENCY_BUCKETS)

CORRELATION_ID: ContextVar[str] = ContextVar("waypost_correlation_id", default="")
"""In the log lines of whatever runs for one call."""


def configure_logging(service: str, level: str) -> None:
    """One JSON object a line on standard error; also for what libraries log. Call once, at start."""
    add_context = _Context(service)
    number = logging.getLevelNamesMapping()[level.upper()]
    # Typed as a file that has all a file has: of that nothing but `write` and `flush` is used.
    writer = LogWriter(sys.stderr.buffer)
    written = structlog.BytesLogger(cast(BinaryIO, writer))
    structlog.configure(
        processors=[
            add_context,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: written,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(writer.text())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[add_context, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=lambda *a, **k: _dump(*a, **k).decode()),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    # Else they are written as plain text.
    logging.captureWarnings(True)

    def write(event: structlog.typing.EventDict) -> None:
        if number <= logging.INFO:
            writer.soon(_dump(add_context.stamp(event, "info")) + b"\n")

    global _write_info  # noqa: PLW0603 - configured once, like structlog itself
    _write_info = write


_write_info: Callable[[structlog.typing.EventDict], None] | None = None


def info_line(event: structlog.typing.EventDict) -> None:
    """What `info` of a logger does, by a way a third as long: for the line that each call writes, with its
    `correlation_id`. It is written in this turn of the event loop."""
    if _write_info is not None and structlog.is_configured():
        _write_info(event)
    else:
        structlog.get_logger().info(**event)


class _Context:
    """Adds what every line has: the call's correlation id, the level, the time, the service.

    One processor for all of it: each call logs a line, and a chain of small ones costs more than its work.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._second_shown = (0, "")

    def __call__(self, _: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        correlation_id = CORRELATION_ID.get()
        if correlation_id:
            event.setdefault("correlation_id", correlation_id)
        return self.stamp(event, _LEVELS.get(method, method))

    def stamp(self, event: structlog.typing.EventDict, level: str) -> structlog.typing.EventDict:
        """Adds all but the correlation id."""
        event["level"] = level
        event["ts"] = self._now()
        event["service"] = self._service
        return event

    def _now(self) -> str:
        """The time in UTC, to the microsecond."""
        us = time.time_ns() // 1000
        # Read and written as one: other threads may log as well.
        second_us, shown = self._second_shown
        past = us - second_us
        if not 0 <= past < 1_000_000:
            second, past = divmod(us, 1_000_000)
            shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second_shown = (second * 1_000_000, shown)
        return f"{shown}.{past:06d}Z"


_LEVELS = {"warn": "warning", "exception": "error"}
"""Of the methods of a logger that are not called like theirs."""


def _dump(event: Any, **_: Any) -> bytes:
    try:
        line = orjson.dumps(event, default=str)
    except TypeError:
        # What orjson does not take (half of a surrogate pair in a file's name, huge numbers) must not cost the line,
        # nor the call that it tells of.
        line = json.dumps(event, default=_plain, skipkeys=True).encode()
    return masked(line)


def _plain(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


class Metrics:
    """The metrics every service has, in a registry of its own; services add theirs to `registry`."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.rpc_duration = Durations(
            "rpc_server_call_duration_seconds",
            "Time from a call's arrival to its answer.",
            ("rpc_method", "rpc_status_code"),
            self.registry,
        )
        self.rpc_in_flight = Gauge("inflight", "Calls under way.", registry=self.registry)
        self.shed = Counter(
            "load_shed_total", "Calls refused to protect the server.", ["reason"], registry=self.registry
        )
        self.loop_lag = Gauge(
            "event_loop_lag_seconds",
            "How late the event loop ran a timer, worst of the last second.",
            registry=self.registry,
        )
        self.dependency_up = Gauge(
            "dependency_up", "Whether a dependency answered its last check.", ["dependency"], registry=self.registry
        )
        Gauge(
            "build_info", "Always 1; what runs here.", ["service", "version", "python"], registry=self.registry
        ).labels(service, waypost.__version__, platform.python_version()).set(1)
        started = Gauge("process_start_time_seconds", "Start of this process, Unix time.", registry=self.registry)
        started.set_to_current_time()
        memory = Gauge("process_resident_memory_bytes", "Resident memory.", registry=self.registry)
        memory.set_function(_resident_bytes)


class Durations(Collector):
    """A histogram of `LATENCY_BUCKETS` by labels, as `prometheus_client.Histogram` is one, at a third of its price.

    That has a lock for each bucket; this is for one thread, the event loop's, which also reads it.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._children: dict[tuple[str, ...], Durations.Child] = {}
        registry.register(self)

    class Child:
        """The durations of one set of labels."""

        __slots__ = ("_counts", "seconds")

        def __init__(self) -> None:
            self._counts = [0] * (len(LATENCY_BUCKETS) + 1)
            self.seconds = 0.0

        def observe(self, seconds: float) -> None:
            """Counts one."""
            self._counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
            self.seconds += seconds

        def buckets(self) -> list[tuple[str, float]]:
            """How many took at most so long, by bound, as Prometheus writes both."""
            return list(zip(_BUCKETS, accumulate(self._counts), strict=True))

    def labels(self, *values: str) -> Child:
        """The durations of these labels, to be kept by whoever observes often; `ValueError` for too few or many."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {', '.join(self._labels)}")
            child = self._children[values] = Durations.Child()
        return child

    def describe(self) -> Iterable[Metric]:
        """Its name, for the registry."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        """The metric as it is now."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, child in self._children.items():
            family.add_metric(values, child.buckets(), sum_value=child.seconds)
        return [family]


def _resident_bytes() -> float:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - the hot one of two ways
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0


async def watch_loop_lag(
    gauge: Gauge, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep, interval: float = 0.1
) -> None:
    """Measures for ever how late the loop wakes this coroutine; sets the worst of each ten readings."""
    while True:
        worst = 0.0
        for _ in range(10):
            due = time.perf_counter() + interval
            await sleep(interval)
            worst = max(worst, time.perf_counter() - due)
        gauge.set(worst)
