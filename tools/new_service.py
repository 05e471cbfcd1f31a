"""Begins a service: the seven usual files, a test that starts it, and its name wherever services are listed."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parent.parent

FILES = {
    "$name/__init__.py": '''\
"""The $name service: what does it do?

Ports: control $control (health, reflection), metrics $metrics. Needs nothing.
"""
''',
    "$name/__main__.py": '''\
"""Starts the $name service: `python -m $name`."""

import sys

from $name.app import run
from $name.settings import Settings
from waypost.rpc.main import main

if __name__ == "__main__":
    sys.exit(main("$name", Settings, run))
''',
    "$name/settings.py": '''\
"""The $name service's settings."""

from __future__ import annotations

from waypost.settings import Port, ServiceSettings, setting


class Settings(ServiceSettings):
    """What the $name service can be told."""

    control_port: Port = setting("WAYPOST_${upper}_CONTROL_PORT", $control, "gRPC port of the $name service.")
    metrics_port: Port = setting(
        "WAYPOST_${upper}_METRICS_PORT", $metrics, "HTTP port of the $name service's health and metrics."
    )
''',
    "$name/app.py": '''\
"""The $name service's composition root: the one place that names adapters."""

from __future__ import annotations

from $name.service import servicers
from $name.settings import Settings
from waypost.rpc.process import Service, serve
from waypost.telemetry import Metrics


async def run(settings: Settings) -> None:
    """Runs the $name service until it is told to stop."""
    await serve(
        Service(
            name="$name",
            settings=settings,
            control_port=settings.control_port,
            metrics_port=settings.metrics_port,
            servicers=servicers(),
            metrics=Metrics("$name"),
        )
    )
''',
    "$name/service.py": '''\
"""Servicers of the $name service: protobuf in, use case, protobuf out."""

from __future__ import annotations


def servicers() -> list[object]:
    """Everything it serves besides health and reflection; nothing yet."""
    return []
''',
    "$name/handlers.py": '''\
"""What the $name service does: use cases as functions, without gRPC and without a driver."""
''',
    "$name/convert.py": '''\
"""Protobuf to values and back, for the $name service. Pure."""
''',
    "tests/integration/$name/__init__.py": '''\
"""The $name service as a process."""
''',
    "tests/integration/$name/test_start.py": '''\
"""The $name service starts, says that it serves, and stops when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    env = os.environ | {"WAYPOST_${upper}_CONTROL_PORT": "0", "WAYPOST_${upper}_METRICS_PORT": "0"}
    with subprocess.Popen([sys.executable, "-m", "$name"], env=env, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_serves_and_stops(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    lines = (orjson.loads(line) for line in process.stderr if line.startswith(b"{"))
    port = next(line["control"] for line in lines if "control" in line)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True
        )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
''',
}

# Where services are listed: a file, what stands there for the last one, what is put there for both.
LISTS = [
    ("pyproject.toml", r'"workers"', r'"workers", "$name"'),
    ("setup.py", r'( +)"workers",\n', r'\g<0>\g<1>"$name",\n'),
    ("tools/env_example.py", r' +"workers": .*\n', r'\g<0>    "$name": ("$name.settings", "Settings"),\n'),
    ("tests/unit/test_source.py", r'^(PACKAGES = .*)"workers"', r'\g<1>"workers", "$name"'),
]


def create(name: str) -> None:
    """Writes the files of service `name` and enters it in the lists."""
    control, metrics = _next_port("CONTROL_PORT"), _next_port("METRICS_PORT")
    values = {"name": name, "upper": name.upper(), "control": control, "metrics": metrics}
    changed = {}
    for file, pattern, replacement in LISTS:
        path = ROOT / file
        text, count = re.subn(pattern, Template(replacement).substitute(values), path.read_text(), flags=re.MULTILINE)
        if not count:
            raise SystemExit(f"{file}: nothing there looks like the list of services any more; nothing was written")
        changed[path] = text
    for file, content in FILES.items():
        changed[ROOT / Template(file).substitute(values)] = Template(content).substitute(values)
    for path, text in changed.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # A long name breaks lines, a late one in the alphabet comes after `waypost`.
    for command in (["check", "--fix", "--select", "I"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", ROOT / name], check=True)
    # In a process of its own, which sees the new lists.
    subprocess.run([sys.executable, ROOT / "tools" / "env_example.py"], check=True)


def _next_port(kind: str) -> int:
    """One above the highest default of its kind."""
    ports = re.findall(rf"^# WAYPOST_\w+_{kind}=(\d+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return max(int(port) for port in ports) + 1


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]{1,30}", text):
        raise argparse.ArgumentTypeError("a service's name is one word of lower-case letters, as in NAME=reports")
    if text in sys.stdlib_module_names or (ROOT / text).exists():
        raise argparse.ArgumentTypeError(f"{text} is taken")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="new_service", description=__doc__)
    parser.add_argument("name", type=_name, nargs="?")
    name = parser.parse_args().name
    if name is None:
        parser.error("say which: make new-service NAME=reports")
    create(name)
    print(f"{name}/ is there: try `make setup` and `.venv/bin/python -m {name}`")
    print("`waypost up` does not start it yet: see waypost/supervisor/; its contract goes to proto/waypost/api/v1/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
