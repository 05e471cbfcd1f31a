"""The three services as processes of the mesh."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from waypost.supervisor import environment
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.probe import service_probe
from waypost.supervisor.program import Program, StopStep
from waypost.supervisor.settings import HOT_SERVICES, SupervisorSettings

STAGES = {"gateway": 1, "ratelimiter": 2, "workers": 2}
"""The gateway asks the limiter for as long as it drains."""
GRACE_SECONDS = 5.0
"""What a service gets beyond its own drain time before it is killed."""


def service_program(
    service: str,
    settings: SupervisorSettings,
    env: Mapping[str, str],
    data: DataDir,
    role_urls: Mapping[str, str],
    pepper: str,
) -> Program:
    """How `service` runs; `role_urls` and `pepper` as in `environment.for_service`. Raises `CannotStart`."""
    try:
        names = environment.names_of(service)
    except ImportError as error:
        raise CannotStart(f"the service {service} is not part of this installation: {error}") from None
    control, metrics = settings.control_port(service), settings.metrics_port(service)
    return Program(
        name=service,
        # -P: a folder named like a service in the current directory is not the service.
        argv=(sys.executable, "-P", "-m", service),
        env=environment.for_service(service, names, env, settings, data.path, role_urls, pepper),
        probe=service_probe(settings.service_host, metrics),
        stop=(StopStep(signal.SIGTERM, settings.drain_delay_seconds + settings.drain_seconds + GRACE_SECONDS),),
        stage=STAGES[service],
        address=f"grpc {control}, {_hot(service, settings)}health {metrics}",
    )


def _hot(service: str, settings: SupervisorSettings) -> str:
    if not settings.hot or service not in HOT_SERVICES:
        return ""
    where = settings.unary_calls(service)
    return f"hot {where if isinstance(where, Path) else where[1]}, "
