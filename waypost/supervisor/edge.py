"""Envoy as a process of the mesh: its configuration written, its drain before the stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping

from waypost.supervisor import envoy
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.environment import without_ours
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.probe import envoy_probe, get
from waypost.supervisor.program import Program, StopStep
from waypost.supervisor.settings import SupervisorSettings

ACTIVE = "http.http.downstream_rq_active"
LOOK_SECONDS = 0.05


def edge_program(settings: SupervisorSettings, env: Mapping[str, str], data: DataDir) -> Program:
    """Writes the configuration into the data directory and says how Envoy runs on it. Raises `CannotStart`."""
    config = envoy.EnvoyConfig(
        descriptor_set=envoy.descriptor_set_path(),
        http_port=settings.http_port,
        admin_port=settings.envoy_admin_port,
        listen_host=settings.http_host,
        gateway_control=(settings.service_host, settings.control_port("gateway")),
        gateway_web=(settings.service_host, settings.gateway_web_port),
        ratelimiter_control=(settings.service_host, settings.control_port("ratelimiter")),
        trusted_hops=settings.trusted_hops,
    )
    path = data.envoy / "envoy.yaml"
    try:
        path.write_text(envoy.render(envoy.template_path().read_text(), config))
    except (OSError, ValueError) as error:
        raise CannotStart(f"Envoy's configuration {path} cannot be written: {error}") from None
    return Program(
        name="envoy",
        argv=envoy.command(
            envoy.find_envoy(), path, concurrency=settings.envoy_concurrency, drain_seconds=settings.drain_seconds
        ),
        env=without_ours(env),
        probe=envoy_probe(settings.envoy_admin_port),
        stop=(StopStep(signal.SIGTERM, 5.0),),
        stage=0,
        address=f"http {settings.http_port}, admin {settings.envoy_admin_port}",
        cwd=data.envoy,
        before_stop=lambda: drain(settings.envoy_admin_port, settings.drain_seconds),
    )


async def drain(admin_port: int, seconds: float) -> None:
    """Lets the requests in flight finish, at most `seconds`, while clients are told to go elsewhere."""
    if await get("127.0.0.1", admin_port, "/drain_listeners?graceful", "POST") is None:
        return
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        answer = await get("127.0.0.1", admin_port, f"/stats?filter=^{ACTIVE}$")
        if answer is None or not _active(answer[1]):
            return
        await asyncio.sleep(LOOK_SECONDS)


def _active(stats: str) -> int:
    """The number in a line like `http.http.downstream_rq_active: 3`; 0 if there is none."""
    for line in stats.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == ACTIVE and value.strip().isdecimal():
            return int(value)
    return 0
