"""A service as a process: what it does with its settings, with signals and with its own failure; what it exits with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import native
from tests.support.hot_port import need_hot_port
from tests.support.process import Process, run, started
from waypost.rpc.ports import listen

FREE = {
    "WAYPOST_RATELIMITER_CONTROL_PORT": "0",
    "WAYPOST_RATELIMITER_METRICS_PORT": "0",
    "WAYPOST_RATELIMITER_HOT_PORT": "0",
}

# A service that consists of one task, which does what stands in `{work}`.
PROGRAM = """
import asyncio, sys, time, threading
from waypost.rpc import main as entry
from waypost.rpc import process
from waypost.rpc.main import main
from waypost.rpc.process import Service, serve
from waypost.settings import ServiceSettings
from waypost.telemetry import Metrics

{before}

async def work():
{work}

async def run(settings):
    await serve(Service("test", settings, 0, 0, [], Metrics("test"), tasks=[work]))

sys.exit(main("test", ServiceSettings, run))
"""


def program(work: str, before: str = "") -> tuple[str, str]:
    indented = "\n".join(f"    {line}" for line in work.splitlines())
    return "-c", PROGRAM.format(work=indented, before=before)


@pytest.fixture
def limiter() -> Iterator[Process]:
    with started("-m", "ratelimiter", **FREE) as process:
        yield process


def refused(**settings: str) -> str:
    """What the rate limiter says on its one line when it does not start."""
    done = run("-m", "ratelimiter", **settings)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ratelimiter: ")
    assert "Traceback" not in line
    return line.removeprefix("ratelimiter: ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"WAYPOST_RATELIMITER_CONTROL_PORT": "many"},
            "WAYPOST_RATELIMITER_CONTROL_PORT should be a valid integer, unable to parse string as an integer",
        ),
        (
            {"WAYPOST_RATELIMITER_METRICS_PORT": "70000"},
            "WAYPOST_RATELIMITER_METRICS_PORT should be less than or equal to 65535",
        ),
        (
            {"WAYPOST_MAX_IN_FLIGTH": "5"},
            "WAYPOST_MAX_IN_FLIGTH is not a setting (did you mean WAYPOST_MAX_IN_FLIGHT?)",
        ),
        ({"WAYPOST_LOG_LEVEL": "loud"}, "WAYPOST_LOG_LEVEL should be 'debug', 'info', 'warning' or 'error'"),
    ],
    ids=["no number", "no port", "a slip of the pen", "no level"],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(settings: dict[str, str], said: str) -> None:
    assert refused(**FREE | settings) == said


def test_all_bad_settings_are_named_at_once() -> None:
    line = refused(**FREE, WAYPOST_MAX_IN_FLIGHT="0", WAYPOST_NOTHING="1", WAYPOST_DRAIN_SECONDS="x")
    for name in ("WAYPOST_MAX_IN_FLIGHT", "WAYPOST_NOTHING", "WAYPOST_DRAIN_SECONDS"):
        assert name in line


def test_rules_that_are_missing_are_one_line(tmp_path: Any) -> None:
    assert refused(**FREE, WAYPOST_LIMITS_DIR=str(tmp_path / "none")).startswith("WAYPOST_LIMITS_DIR: ")


@pytest.mark.parametrize("setting", FREE)
def test_a_taken_port_is_one_line(setting: str) -> None:
    if setting == "WAYPOST_RATELIMITER_HOT_PORT":
        need_hot_port()
    # One that was not built is told of first, unless nobody wants it.
    hot = {"WAYPOST_HOT_PORTS": str(native.HOT_PORT)}
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        line = refused(**FREE | hot | {setting: str(port)})
    assert line == f"127.0.0.1:{port} is in use by another process, or may not be used here"


def test_it_serves_and_ends_with_0_when_told_to(limiter: Process) -> None:
    line = limiter.wait_for("ready")
    assert line["service"] == "ratelimiter"
    ports = limiter.wait_for("serving")
    with grpc.insecure_channel(f"127.0.0.1:{ports['control']}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1
        page = httpx.get(f"http://127.0.0.1:{ports['metrics']}/ready", trust_env=False)
        assert (page.status_code, page.json()["service"]) == (200, "ratelimiter")
        limiter.signal(signal.SIGTERM)
        assert limiter.end() == 0
    assert [entry["event"] for entry in limiter.log][-3:] == ["draining", "drained", "stopped"]


def test_interrupted_it_ends_with_0_too(limiter: Process) -> None:
    limiter.wait_for("ready")
    limiter.signal(signal.SIGINT)
    assert limiter.end() == 0


def test_what_kubernetes_injects_for_services_is_passed_over() -> None:
    with started(
        "-m",
        "ratelimiter",
        **FREE,
        WAYPOST_GATEWAY_SERVICE_HOST="10.0.0.1",
        WAYPOST_GATEWAY_SERVICE_PORT="50051",
        WAYPOST_GATEWAY_SERVICE_PORT_GRPC="50051",
        WAYPOST_GATEWAY_PORT="tcp://10.0.0.1:50051",
        WAYPOST_GATEWAY_PORT_50051_TCP="tcp://10.0.0.1:50051",
        WAYPOST_GATEWAY_PORT_50051_TCP_PROTO="tcp",
        WAYPOST_GATEWAY_PORT_50051_TCP_PORT="50051",
        WAYPOST_GATEWAY_PORT_50051_TCP_ADDR="10.0.0.1",
    ) as process:
        process.wait_for("ready")


def test_a_setting_that_has_no_effect_yet_is_said() -> None:
    with started("-m", "ratelimiter", **FREE, WAYPOST_AMQP_URL="amqp://h") as process:
        line = process.wait_for("setting without effect")
        process.wait_for("ready")
    assert (line["level"], line["detail"]) == (
        "warning",
        "WAYPOST_AMQP_URL has no effect in this version: it is kept for RabbitMQ",
    )


def test_a_second_signal_ends_it_at_once() -> None:
    with started("-m", "ratelimiter", **FREE, WAYPOST_DRAIN_DELAY_SECONDS="60") as process:
        process.wait_for("ready")
        process.signal(signal.SIGTERM)
        process.wait_for("draining")
        process.signal(signal.SIGTERM)
        assert process.end(5) == 1


def test_a_task_that_fails_is_logged_and_exit_code_1() -> None:
    with started(*program("raise LookupError('what broke it')")) as process:
        assert process.end() == 1
        line = process.wait_for("failed")
    assert line["level"] == "error"
    assert "background task work ended" in line["exception"]
    assert "what broke it" in line["exception"]


def test_whatever_a_library_writes_the_log_stays_json() -> None:
    work = "import warnings; warnings.simplefilter('always'); warnings.warn('odd'); await asyncio.Event().wait()"
    with started(*program(work)) as process:
        process.wait_for("ready")
        process.signal()
        assert process.end() == 0
        assert any("odd" in line["event"] for line in process.log)


@pytest.mark.parametrize(
    "work",
    [
        "while True:\n    try: await asyncio.sleep(60)\n    except asyncio.CancelledError: pass",
        "await asyncio.to_thread(time.sleep, 60)",
    ],
    ids=["a task that heeds no cancellation", "a thread that hangs"],
)
def test_nothing_holds_the_process_for_ever(work: str) -> None:
    with started(*program(work, before="process._END_SECONDS = entry._END_SECONDS = 0.3")) as process:
        process.wait_for("ready")
        process.signal()
        assert process.end(10) == 1
        process.wait_for("something does not end; the process is left by force")
