"""README's example, as it stands there: an Envoy of somebody's own asks the rate limiter alone."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.envoy.edge import program
from tests.integration.ratelimiter.process import limiter_running
from tests.support.ports import free_port
from tests.support.waiting import until

README = Path(__file__).resolve().parents[3] / "README.md"
TYPES = "type.googleapis.com/envoy.extensions.filters"


def yaml_blocks() -> list[str]:
    """README's blocks of YAML: the rules, and Envoy's configuration in three pieces."""
    return [block.split("```")[0] for block in README.read_text(encoding="utf-8").split("```yaml\n")[1:]]


def listener(port: int, http_filters: list[Any], virtual_host: dict[str, Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], **virtual_host}]},
        "http_filters": [
            *http_filters,
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"address": address(port), "filter_chains": [chain]}


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def config(limiter: int, port: int, admin: int, changes: dict[str, Any]) -> dict[str, Any]:
    """An Envoy with the three pieces, before an upstream that it plays itself; `changes` are made to the filter."""
    text = yaml_blocks()[1].replace("50052", str(limiter))
    rate_limits, (rate_limit_filter,), (cluster,) = yaml.safe_load_all(text)
    rate_limit_filter["typed_config"] |= changes
    behind = free_port()
    greeting = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    upstream = {"endpoint": {"address": address(behind)}}
    return {
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [
                listener(
                    port,
                    [rate_limit_filter],
                    {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "shop"}}], **rate_limits},
                ),
                listener(behind, [], {"routes": [greeting]}),
            ],
            "clusters": [
                {
                    "name": "shop",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "shop", "endpoints": [{"lb_endpoints": [upstream]}]},
                },
                cluster,
            ],
        },
    }


@contextlib.contextmanager
def envoy(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """An Envoy with this configuration, started, for the time of the block."""
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [str(program()), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        finally:
            process.kill()


async def answers(folder: Path, changes: dict[str, Any], **settings: str) -> list[httpx.Response]:
    """What six requests of one address are answered."""
    (rules := folder / "limits").mkdir()
    # Of a day, so that no window ends while the test runs.
    (rules / "shop.yaml").write_text(yaml_blocks()[0].replace("minute,", "day,"))
    port, admin = free_port(), free_port()
    with limiter_running(rules, **settings) as limiter, envoy(folder, config(limiter.control, port, admin, changes)):
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:

            async def is_ready() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get(f"http://127.0.0.1:{admin}/ready")).status_code == 200
                return False

            await until(is_ready, 20)
            return [await client.get(f"http://127.0.0.1:{port}/") for _ in range(6)]


async def test_the_sixth_request_is_refused(tmp_path: Path) -> None:
    found = await answers(tmp_path, {"timeout": "5s"})
    assert [answer.status_code for answer in found] == [200] * 5 + [429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in found] == ["4", "3", "2", "1", "0", "0"]
    assert 0 < int(found[-1].headers["retry-after"]) <= 86_400
    assert found[-1].headers["ratelimit-policy"] == '"shop.remote_address";q=5;w=86400'
    assert "retry-after" not in found[0].headers


@pytest.mark.parametrize(("setting", "times"), [("true", 2), ("false", 1)])
async def test_headers_that_envoy_makes_itself(tmp_path: Path, setting: str, times: int) -> None:
    """docs/limits.md warns of both together."""
    found = await answers(
        tmp_path,
        {"timeout": "5s", "enable_x_ratelimit_headers": "DRAFT_VERSION_03"},
        WAYPOST_RATELIMITER_RESPONSE_HEADERS=setting,
    )
    assert found[-1].status_code == 429
    assert len(found[-1].headers.get_list("x-ratelimit-remaining")) == times
