"""What each service tells Prometheus: rate, errors and duration of what was called; no label is a caller's choice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import native
import waypost
from tests.e2e.api import Api, fresh_alias
from tests.support.mesh import Mesh
from waypost.api.v1 import job_service_pb2 as jobs
from waypost.api.v1.job_service_pb2_grpc import JobServiceStub

SERVICES = ("gateway", "ratelimiter", "workers")
LINKS = "/waypost.api.v1.LinkService"
CODES = {code.name for code in grpc.StatusCode}
LABELS = {
    "rpc_method": re.compile(
        r"/(waypost\.api\.v1|grpc\.health\.v1|envoy\.service\.ratelimit\.v3)\.[A-Za-z]+/[A-Za-z]+|unknown"
    ),
    "rpc_status_code": re.compile("|".join(CODES)),
    "status": re.compile(r"\d{3}"),
    "result": re.compile(r"[a-z_]+"),
    "decision": re.compile(r"allowed|refused|shadow_refused"),
    "mode": re.compile(r"remote|local|redis|degraded"),
    "reason": re.compile(r"[a-z_]+"),
    "dependency": re.compile(r"[a-z_]+"),
    "job": re.compile(r"(answer|expiry)_sweep"),
    "service": re.compile(r"[a-z]+"),
    "version": re.compile(r"[0-9.]+"),
    "python": re.compile(r"[0-9.]+"),
    "domain": re.compile(r"waypost"),
    "cap": re.compile(r"[a-z_]+"),
    "rule": re.compile(r"[a-z_.]+"),
    "le": re.compile(r"[0-9.e+-]+|\+Inf"),
}

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(mesh: Mesh, service: str) -> Series:
    """All series of a service by name and labels."""
    with httpx.Client(trust_env=False) as client:
        response = client.get(f"http://127.0.0.1:{mesh.ports[f'{service}_metrics']}/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """One series; 0 if it does not exist yet."""
    return series.get((name, frozenset(labels.items())), 0.0)


def calls(series: Series, method: str, code: str) -> tuple[float, float]:
    """How often a method ended with a code, and the seconds that took in all."""
    name = "rpc_server_call_duration_seconds"
    labels = {"rpc_method": method, "rpc_status_code": code}
    return value(series, f"{name}_count", **labels), value(series, f"{name}_sum", **labels)


@pytest.mark.parametrize("service", SERVICES)
def test_what_runs_there(mesh: Mesh, service: str) -> None:
    series = scrape(mesh, service)
    (labels,) = (dict(labels) for name, labels in series if name == "build_info")
    assert (labels["service"], labels["version"]) == (service, waypost.__version__)
    assert value(series, "build_info", **labels) == 1
    assert value(series, "process_resident_memory_bytes") > 10_000_000
    assert value(series, "process_start_time_seconds") > 1_600_000_000
    ups = {dict(labels)["dependency"]: up for (name, labels), up in series.items() if name == "dependency_up"}
    wanted = {"gateway": {"postgres", "change_feed", "ratelimiter"}, "ratelimiter": set(), "workers": {"postgres"}}
    assert wanted[service] <= ups.keys()
    assert set(ups.values()) <= {1}


def test_rate_errors_and_duration_of_the_gateway(api: Api) -> None:
    before = scrape(api.mesh, "gateway")
    codes = [api.code() for _ in range(3)]
    api.shorten("javascript:x")
    for code in codes[:2]:
        api.link(code)
        api.http.get(f"/{code}")
    api.http.get("/api/v1/urls/nobody-has-this")
    api.http.get("/nobody-has-this")
    api.http.delete(f"/api/v1/urls/{codes[0]}")
    after = scrape(api.mesh, "gateway")
    wanted = {
        ("CreateLink", "OK"): 3,
        ("CreateLink", "INVALID_ARGUMENT"): 1,
        ("GetLink", "OK"): 2,
        ("GetLink", "NOT_FOUND"): 1,
        ("DeleteLink", "OK"): 1,
    }
    for (method, code), count in wanted.items():
        (count_before, sum_before), (count_after, sum_after) = (
            calls(series, f"{LINKS}/{method}", code) for series in (before, after)
        )
        assert (method, code, count_after - count_before) == (method, code, count)
        assert 0 < sum_after - sum_before < 5
    for status, count in (("302", 2), ("404", 1)):
        assert value(after, "redirects_total", status=status) - value(before, "redirects_total", status=status) == count
    name = "redirect_duration_seconds_count"
    assert value(after, name) - value(before, name) == 3


def test_rate_errors_and_duration_of_the_ratelimiter(api: Api) -> None:
    method = "/waypost.api.v1.RateLimitService/Check"
    before = scrape(api.mesh, "ratelimiter")
    api.http.post("/api/v1/ratelimit/check", json={})
    api.code()
    after = scrape(api.mesh, "ratelimiter")
    # The gateway asks, on the hot port where there is one: there it is answered without Python.
    handled = "hot_port_handler_seconds_count"
    asked_before, asked_after = (
        value(series, handled, rpc_method=method) if native.HOT_PORT else calls(series, method, "OK")[0]
        for series in (before, after)
    )
    assert asked_after > asked_before
    assert calls(after, method, "INVALID_ARGUMENT")[0] == calls(before, method, "INVALID_ARGUMENT")[0] + 1


def test_rate_and_duration_of_the_workers(mesh: Mesh, workers_channel: grpc.Channel) -> None:
    before = scrape(mesh, "workers")
    JobServiceStub(workers_channel).ListJobs(jobs.ListJobsRequest(), timeout=10)
    after = scrape(mesh, "workers")
    method = "/waypost.api.v1.JobService/ListJobs"
    assert calls(after, method, "OK")[0] == calls(before, method, "OK")[0] + 1
    assert value(after, "job_runs_total", job="expiry_sweep", result="done") > 0
    assert value(after, "job_runs_total", job="expiry_sweep", result="failed") == 0
    assert value(after, "job_duration_seconds_count", job="expiry_sweep") > 0


def stir(api: Api, gateway: grpc.Channel, limiter: grpc.Channel) -> None:
    """Calls of every kind, with everything that a caller can choose chosen anew."""
    word = fresh_alias()
    api.http.get(f"/{api.code(f'https://{word}.example/', alias=word)}?{word}")
    api.http.get(f"/{word}-no", headers={"user-agent": word, "referer": f"https://{word}.example", "host": word})
    api.http.get(f"/{word}/{word}")
    api.http.get(f"/api/v1/urls/{word}", headers={"x-correlation-id": word})
    api.http.get(f"/api/v1/{word}")
    api.http.request(word.replace("-", "").upper(), f"/{word}")
    api.shorten(word, alias="/")
    entry = {"key": word, "value": word}
    body: dict[str, Any] = {"domain": word, "descriptors": [{"entries": [entry]}]}
    api.http.post("/api/v1/ratelimit/check", json=body)
    entries = [{"key": "route_class", "value": "create"}, {"key": "remote_address", "value": word}]
    api.http.post("/api/v1/ratelimit/check", json={"domain": "waypost", "descriptors": [{"entries": entries}]})
    for channel in (gateway, limiter):
        nothing: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{word}/{word}")
        with pytest.raises(grpc.RpcError):
            nothing(b"", timeout=10)


def test_no_label_is_the_callers(api: Api, gateway_channel: grpc.Channel, ratelimiter_channel: grpc.Channel) -> None:
    stir(api, gateway_channel, ratelimiter_channel)
    before = {service: set(scrape(api.mesh, service)) for service in SERVICES}
    for _ in range(3):
        stir(api, gateway_channel, ratelimiter_channel)
    for service in SERVICES:
        after = set(scrape(api.mesh, service))
        # Health checks go on meanwhile, and are counted where they have not been yet.
        new = {series for series in after - before[service] if "Health" not in str(series)}
        assert new == set()
        for name, labels in after:
            for label, text in labels:
                assert label in LABELS, (name, label)
                assert LABELS[label].fullmatch(text), (name, label, text)


@pytest.mark.parametrize("service", SERVICES)
def test_health_pages(mesh: Mesh, service: str) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{mesh.ports[f'{service}_metrics']}", trust_env=False) as client:
        for path in ("/health", "/ready"):
            response = client.get(path)
            page = response.json()
            assert (response.status_code, page["status"], page["service"]) == (200, "ok", service)
            assert page.keys() >= {"status", "timestamp", "service", "checks"}
            assert all(check["status"] == "ok" for check in page["checks"].values())
