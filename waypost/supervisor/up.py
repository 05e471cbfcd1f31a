"""`waypost up`: reads the settings, runs the mesh, turns every expected problem into one line and an exit code."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import native
from waypost.rpc.ports import address
from waypost.settings import BadSettings, reserved_in_use
from waypost.supervisor import environment
from waypost.supervisor.console import Console, Welcome, console_for
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.mesh import Mesh, mesh_of
from waypost.supervisor.settings import SupervisorSettings
from waypost.supervisor.supervisor import Supervisor

MakeMesh = Callable[[SupervisorSettings, Mapping[str, str], DataDir], Mesh]


def up(env: Mapping[str, str], make_mesh: MakeMesh = mesh_of) -> int:
    """Runs a mesh until it is told to stop.

    Exit codes: 0 told to stop; 1 something failed that should not; 2 a setting, a port or the data directory is wrong,
    said in one line on standard error that begins with `waypost: `.
    """
    data: DataDir | None = None
    try:
        settings = SupervisorSettings.from_env(env, environment.known_names())
        environment.check(env, settings)
        data = DataDir(settings.data_path(env))
        data.prepare()
        asyncio.run(_run(settings, env, data, make_mesh))
    except BadSettings as error:
        return _fail(str(error), 2)
    except CannotStart as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:  # before anything was started
        return 130
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error}{_keep_trace(data)}", 1)
    return 0


async def _run(settings: SupervisorSettings, env: Mapping[str, str], data: DataDir, make_mesh: MakeMesh) -> None:
    console = console_for(sys.stdout, sys.stderr)
    for sentence in reserved_in_use(env):
        console.notice("setting_without_effect", sentence, "warning")
    if settings.reached_by_others and not settings.public_url:
        console.notice(
            "public_url_missing",
            f"WAYPOST_PUBLIC_URL is not set: links read {settings.http_address}/..., which leads others nowhere",
            "warning",
        )
    if settings.tls and settings.public_url.startswith("http://"):
        console.notice(
            "public_url_without_tls",
            f"WAYPOST_PUBLIC_URL is {settings.public_url}: every visit begins with a redirect; write it with https://",
            "warning",
        )
    if not settings.hot:
        _say_without_hot_ports(settings, console)
    welcome = Welcome(
        url=settings.http_address,
        grpc=address(settings.service_host, settings.control_port("gateway")),
        data=str(data.path),
        logs=str(data.logs),
        key_file=str(data.operator_key),
        call=settings.public_address if settings.tls else "",
        anonymous=environment.anonymous_create(env, settings),
    )
    mesh = make_mesh(settings, env, data)
    await Supervisor(mesh, data, list(settings.listeners()), welcome, console, list(settings.sockets())).run()


def _say_without_hot_ports(settings: SupervisorSettings, console: Console) -> None:
    if settings.hot_ports:
        install = "apt install libnghttp2-dev pkg-config gcc python3-dev, then make setup"
        why = f"the hot port {native.WHY_NO_HOT_PORT} ({install})"
    else:
        why = "WAYPOST_HOT_PORTS is off"
    level = "warning" if settings.hot_ports else "info"
    console.notice("hot_ports_absent", f"no hot ports, {why}: the control ports serve all calls, slower", level)


def _fail(message: str, code: int) -> int:
    try:
        print(f"waypost: {' '.join(message.split())}", file=sys.stderr, flush=True)  # noqa: T201 - the one line of `up`
    except OSError:
        pass
    return code


def _keep_trace(data: DataDir | None) -> str:
    """Writes the current exception where it can be looked up, and says where."""
    if data is None:
        return ""
    path = data.logs / "supervisor.log"
    try:
        with path.open("a") as file:
            file.write(f"{datetime.now(UTC).isoformat()}\n{traceback.format_exc()}\n")
    except OSError:
        return ""
    return f" (a defect; details: {path})"
