"""Every service keeps the promises of the template, also while everything it depends on is away."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
from envoy.service.ratelimit.v3 import rls_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import native
from tests.support import contract
from tests.support.keys import PEPPER
from tests.support.process import Process, run, started
from waypost.rpc.status import DETAILS_KEY

# Nobody listens on port 1.
NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/none"


@dataclass(frozen=True)
class Promise:
    """A service, how it is started without anything it depends on, and what it serves."""

    name: str
    services: set[str]
    settings: dict[str, str] = field(default_factory=dict)
    needs: bool = False

    @property
    def env(self) -> dict[str, str]:
        ports = ["CONTROL", "METRICS"]
        ports += {"gateway": ["HOT", "WEB"], "ratelimiter": ["HOT"]}.get(self.name, [])
        return {f"WAYPOST_{self.name.upper()}_{port}_PORT": "0" for port in ports} | self.settings

    @property
    def hot(self) -> bool:
        """Whether it has a hot port, where that was built."""
        return f"WAYPOST_{self.name.upper()}_HOT_PORT" in self.env and native.HOT_PORT


PROMISES = [
    Promise(
        "ratelimiter",
        {
            "waypost.api.v1.RateLimitService",
            "waypost.api.v1.LimitOverrideService",
            "envoy.service.ratelimit.v3.RateLimitService",
        },
    ),
    Promise(
        "gateway",
        {f"waypost.api.v1.{name}Service" for name in ("Link", "Workspace", "Member", "Key", "Audit", "Abuse")},
        {"WAYPOST_DATABASE_URL": NOWHERE, "WAYPOST_KEY_PEPPER": PEPPER},
        needs=True,
    ),
    Promise("workers", {"waypost.api.v1.JobService"}, {"WAYPOST_DATABASE_URL": NOWHERE}, needs=True),
]


@dataclass(frozen=True)
class Subject:
    """A running service."""

    promise: Promise
    process: Process
    channel: grpc.Channel
    http: httpx.Client
    hot: grpc.Channel | None
    """To its hot port, if it has one."""

    @property
    def channels(self) -> list[grpc.Channel]:
        """To all its ports for unary calls."""
        return [self.channel, *([self.hot] if self.hot else [])]


@pytest.fixture(scope="module", params=PROMISES, ids=lambda promise: promise.name)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    promise: Promise = request.param
    with started("-m", promise.name, **promise.env) as process:
        ports = process.wait_for("serving")
        assert bool(ports["hot"]) is promise.hot
        with contextlib.ExitStack() as stack:
            yield Subject(
                promise,
                process,
                stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports['control']}")),
                stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{ports['metrics']}", trust_env=False)),
                stack.enter_context(grpc.insecure_channel(ports["hot"])) if ports["hot"] else None,
            )


def test_it_is_alive_whatever_it_depends_on(subject: Subject) -> None:
    response = subject.http.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body.keys() == {"status", "timestamp", "service", "checks"}
    assert body["service"] == subject.promise.name


def test_it_is_ready_unless_something_it_needs_was_never_there(subject: Subject) -> None:
    if not subject.promise.needs:
        subject.process.wait_for("ready")
    response = subject.http.get("/ready")
    assert (response.status_code, response.json()["status"]) == (
        (503, "starting") if subject.promise.needs else (200, "ok")
    )
    expected = (
        health_pb2.HealthCheckResponse.NOT_SERVING if subject.promise.needs else health_pb2.HealthCheckResponse.SERVING
    )
    for channel in subject.channels:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", *subject.promise.services):
            assert health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status == expected


def test_its_services_can_be_looked_up(subject: Subject) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(subject.channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(requests, timeout=5)
    assert {found.name for found in answer.list_services_response.service} == subject.promise.services | {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def ask(channel: grpc.Channel, method: str) -> tuple[grpc.StatusCode, str, dict[str, str | bytes], bytes]:
    """Code, sentence, trailing metadata and answer of a call without credentials or content."""
    stub: Any = channel.unary_unary(method)
    call = stub.future(b"", timeout=20, metadata=(("x-correlation-id", "of-a-test"),))
    try:
        answer = call.result()
    except grpc.RpcError:
        answer = b""
    return call.code(), call.details(), dict(call.trailing_metadata()), answer


def test_an_unknown_method_is_refused_with_details(subject: Subject) -> None:
    for channel in subject.channels:
        code, _, trailers, _ = ask(channel, "/none.Such/Method")
        info = error_details_pb2.ErrorInfo()
        packed = trailers[DETAILS_KEY]
        assert isinstance(packed, bytes)
        assert status_pb2.Status.FromString(packed).details[0].Unpack(info)
        assert (code, info.reason, info.domain) == (
            grpc.StatusCode.UNIMPLEMENTED,
            "ERROR_REASON_UNKNOWN_METHOD",
            "waypost",
        )
        assert trailers["x-correlation-id"] == "of-a-test"


@pytest.mark.parametrize(
    "name", ["grpc.health.v1.Health/Watch", "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
)
def test_a_stream_is_on_its_control_port_alone(subject: Subject, name: str) -> None:
    if subject.hot is not None:
        code, said, _, _ = ask(subject.hot, f"/{name}")
        assert (code, said) == (
            grpc.StatusCode.UNIMPLEMENTED,
            f"/{name} is a stream: call it on the service's control port",
        )


def test_every_method_answers_the_same_on_its_hot_port(subject: Subject) -> None:
    """Asked without credentials or content, so that each is refused, or has nothing to do."""
    methods = [
        f"/{service.full_name}/{method.name}"
        for service in (*contract.services(), *rls_pb2.DESCRIPTOR.services_by_name.values())
        if service.full_name in subject.promise.services
        for method in service.methods
    ]
    assert len(methods) >= len(subject.promise.services)
    for name in methods:
        first, *others = [ask(channel, name) for channel in subject.channels]
        assert first[0] is not grpc.StatusCode.UNIMPLEMENTED, name
        for other in others:
            assert other == first, name


def test_its_metrics_say_what_it_is(subject: Subject) -> None:
    page = subject.http.get("/metrics").text
    assert f'service="{subject.promise.name}"' in page
    for name in ("rpc_server_call_duration_seconds", "inflight", "load_shed_total", "event_loop_lag_seconds"):
        assert f"# TYPE {name} " in page


def test_its_log_is_json_and_keeps_secrets(subject: Subject) -> None:
    assert {line["service"] for line in subject.process.log} == {subject.promise.name}
    assert "hunter2" not in "".join(subject.process.lines)
    for page in ("/health", "/ready", "/metrics"):
        assert "hunter2" not in subject.http.get(page).text


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_with_0(promise: Promise, number: signal.Signals) -> None:
    with started("-m", promise.name, **promise.env) as process:
        process.wait_for("serving")
        process.signal(number)
        assert process.end(15) == 0
        assert process.log[-1]["event"] == "stopped"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_slip_in_its_settings_is_one_line_and_exit_code_2(promise: Promise) -> None:
    done = run("-m", promise.name, **promise.env, WAYPOST_LOG_LEVLE="info")
    assert done.returncode == 2
    assert done.stderr == (f"{promise.name}: WAYPOST_LOG_LEVLE is not a setting (did you mean WAYPOST_LOG_LEVEL?)\n")


@pytest.mark.parametrize("promise", [p for p in PROMISES if p.settings], ids=lambda promise: promise.name)
def test_a_missing_setting_is_one_line_and_exit_code_2(promise: Promise) -> None:
    done = run("-m", promise.name, **{k: v for k, v in promise.env.items() if k not in promise.settings})
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"{promise.name}: ")
    assert "WAYPOST_DATABASE_URL must be set" in line
