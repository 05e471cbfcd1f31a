"""What a process tells about itself: JSON log lines and Prometheus metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import waypost
from waypost.masking import masked

# Seconds. Finer at the low end than OpenTelemetry's advice (5 ms and up): a cached redirect takes well under one.
LATENCY_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CORRELATION_ID: ContextVar[str] = ContextVar("waypost_correlation_id", default="")
"""In the log lines of whatever runs for one call."""


def configure_logging(service: str, level: str) -> None:
    """One JSON object a line on standard error; also for what libraries log. Call once, at start."""
    add_context = _Context(service)
    number = logging.getLevelNamesMapping()[level.upper()]
    written = structlog.BytesLogger(sys.stderr.buffer)
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
    handler = logging.StreamHandler(sys.stderr)
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
            written.msg(_dump(add_context(None, "info", event)))

    global _write_info  # noqa: PLW0603 - configured once, like structlog itself
    _write_info = write


_write_info: Callable[[structlog.typing.EventDict], None] | None = None


def info_line(event: structlog.typing.EventDict) -> None:
    """What `info` of a logger does, by a way a third as long: for the line that each call writes."""
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
        self._now_shown = (0, "")

    def __call__(self, _: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        correlation_id = CORRELATION_ID.get()
        if correlation_id:
            event.setdefault("correlation_id", correlation_id)
        event["level"] = _LEVELS.get(method, method)
        event["ts"] = self._now()
        event["service"] = self._service
        return event

    def _now(self) -> str:
        second, us = divmod(time.time_ns() // 1000, 1_000_000)
        # Read and written as one: other threads may log as well.
        known, shown = self._now_shown
        if second != known:
            shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._now_shown = (second, shown)
        return f"{shown}.{us:06d}Z"


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
        self.rpc_duration = Histogram(
            "rpc_server_call_duration_seconds",
            "Time from a call's arrival to its answer.",
            ["rpc_method", "rpc_status_code"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
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
