"""Envoy as a process of the mesh: its configuration written, its drain before the stop."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from waypost.settings import BadSettings
from waypost.supervisor import envoy
from waypost.supervisor.certificate_watch import CertificateWatch
from waypost.supervisor.certificates import BadCertificate, CertificateFiles
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.environment import without_ours
from waypost.supervisor.envoy_tls import Tls
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.jwks_watch import JwksWatch
from waypost.supervisor.probe import envoy_probe, get
from waypost.supervisor.program import Program, StopStep
from waypost.supervisor.settings import SupervisorSettings

ACTIVE = "http.http.downstream_rq_active"
LOOK_SECONDS = 0.05


def edge_certificate(settings: SupervisorSettings, data: DataDir) -> CertificateWatch | None:
    """The certificate that the settings name, read and checked; None without. Raises `BadSettings`."""
    if not settings.tls:
        return None
    cert, key = (Path(path).expanduser().absolute() for path in (settings.tls_cert, settings.tls_key))
    try:
        return CertificateWatch(CertificateFiles(cert, key), secret_file(data), settings.public_host, datetime.now(UTC))
    except BadCertificate as error:
        raise BadSettings([str(error)]) from None


def secret_file(data: DataDir) -> Path:
    """Where Envoy finds the certificate and its key."""
    return data.envoy / "certificate.json"


async def serves(admin_port: int, serial: int) -> bool | None:
    """Whether Envoy has taken up the certificate of this serial number; None if it does not answer."""
    answer = await get("127.0.0.1", admin_port, "/certs")
    if answer is None:
        return None
    return any(int(found, 16) == serial for found in re.findall(r'"serial_number": "(-?[0-9a-fA-F]+)"', answer[1]))


def _tls(settings: SupervisorSettings, data: DataDir) -> Tls:
    return Tls(secret_file(data), settings.https_port, settings.public_https_port, settings.hsts_seconds)


def edge_program(
    settings: SupervisorSettings,
    env: Mapping[str, str],
    data: DataDir,
    certificate: CertificateWatch | None = None,
    tokens: JwksWatch | None = None,
) -> Program:
    """Writes what Envoy reads into the data directory and says how it runs on it. Raises `CannotStart`.

    `certificate` as `edge_certificate` has made it, `tokens` as `watch_for` has.
    """
    if tokens is not None:
        tokens.publish()
    config = envoy.EnvoyConfig(
        descriptor_set=envoy.descriptor_set_path(),
        http_port=settings.http_port,
        admin_port=settings.envoy_admin_port,
        listen_host=settings.http_host,
        gateway=settings.unary_calls("gateway"),
        gateway_web=(settings.service_host, settings.gateway_web_port),
        ratelimiter=settings.unary_calls("ratelimiter"),
        trusted_hops=settings.trusted_hops,
        ratelimiter_timeout_ms=settings.envoy_ratelimiter_timeout_ms,
        jwt=tokens.jwt if tokens is not None else None,
        tls=_tls(settings, data) if certificate is not None else None,
    )
    path = data.envoy / "envoy.yaml"
    try:
        if certificate is not None:
            certificate.publish()
        else:
            secret_file(data).unlink(missing_ok=True)  # of a run with TLS
        path.write_text(envoy.render(envoy.template_path().read_text(), config))
    except (OSError, ValueError) as error:
        raise CannotStart(f"Envoy's configuration {path} cannot be written: {error}") from None
    https = f"https {settings.https_port}, " if settings.tls else ""
    return Program(
        name="envoy",
        argv=envoy.command(
            envoy.find_envoy(), path, concurrency=settings.envoy_concurrency, drain_seconds=settings.drain_seconds
        ),
        env=without_ours(env),
        probe=envoy_probe(settings.envoy_admin_port),
        stop=(StopStep(signal.SIGTERM, 5.0),),
        stage=0,
        address=f"{https}http {settings.http_port}, admin {settings.envoy_admin_port}",
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
