"""Secrets of a mesh stay where they belong: in no log, on no page for operators, in no command line.

What is looked for: what the mesh has made for itself (`own_secrets`), what tests have used on it (`Mesh.secrets`), and
whatever looks like a secret, whosesoever it is.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.mesh import Mesh
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.dev_issuer import key_file

SHAPES = {
    "an API key": re.compile(r"wp_[A-Za-z0-9]{16}\.[A-Za-z0-9_-]{43}"),
    "a token": re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"),
    "a private key": re.compile(r"PRIVATE KEY-----"),
    "a password in an address": re.compile(r"[a-z]+://[^\s:/@\"]+:[^\s@/\"*]+@"),
}
"""Secrets by their looks."""

PAGES = ("metrics", "ready", "health")
"""Of each service, on its port for metrics."""
ADMIN_PAGES = ("config_dump", "clusters", "listeners", "server_info", "stats", "certs")

_MIN_SECRET = 16
_POSTGRES_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] .*|\t.*")
# What PostgreSQL says of a statement that failed, where values stand in it.
_POSTGRES_TELLS = re.compile(r"\b(STATEMENT|DETAIL|parameters?):|\bwith parameters\b|\bCOPY .*, line \d")

# Where a statement waited too long for a lock: a row's number and a table's name, no value.
_POSTGRES_PLACE = re.compile(r'CONTEXT:  while [a-z ]+ \(\d+,\d+\) in relation "\w+"$')


def own_secrets(mesh: Mesh) -> dict[str, str]:
    """What the mesh keeps to itself: what it is, and what it reads."""
    data = DataDir(mesh.data)
    found = {
        "the pepper": data.key_pepper.read_text().strip(),
        "the operator key": _hidden(data.operator_key.read_text().strip())[0],
    }
    with contextlib.suppress(FileNotFoundError):
        lines = key_file(mesh.data).read_text().splitlines()
        found |= {f"line {number} of the private key": line for number, line in enumerate(lines[1:-1], 1)}
    (credentials,) = data.postgres.rglob("credentials.json")
    found |= {f"the password of {role}": text for role, text in json.loads(credentials.read_text()).items()}
    assert all(len(text) >= _MIN_SECRET for text in found.values())
    return found


def told_in(text: str, secrets: dict[str, str]) -> list[str]:
    """What of the secrets stands in a text, and what else in it looks like one."""
    found = [name for name, secret in secrets.items() if secret in text]
    return found + [name for name, shape in SHAPES.items() if shape.search(text)]


def leaks(mesh: Mesh) -> list[str]:
    """Every place of a running mesh that tells a secret, and which."""
    secrets = own_secrets(mesh)
    for number, used in enumerate(sorted(mesh.secrets)):
        secrets |= {f"part {part} of secret {number}": text for part, text in enumerate(_hidden(used))}
    found = []
    for place, text in _places(mesh):
        found += [f"{place} tells {name}" for name in told_in(text, secrets)]
    return found


def bad_lines(mesh: Mesh) -> list[str]:
    """Lines of logs that are not one JSON object; in PostgreSQL's, those of no format or with values."""
    found = []
    for path in _logs(mesh):
        # Not splitlines: it knows line ends that no reader of logs does.
        for number, line in enumerate(path.read_text(errors="replace").removesuffix("\n").split("\n"), 1):
            if line and (_bad_of_postgres(line) if path.name.startswith("postgres") else _bad(line)):
                found.append(f"{path.name}:{number}: {line[:300]}")
    return found


def assert_nothing_is_told(mesh: Mesh) -> None:
    """No secret is anywhere it does not belong, and every line of every log is of its format."""
    _wait_for_the_last_lines(mesh)
    for found in (leaks(mesh), bad_lines(mesh)):
        assert not found, "\n".join(found[:20])


def _wait_for_the_last_lines(mesh: Mesh) -> None:
    """A line is written after its call is answered, and lines of one process in their order: so until the lines of two
    more calls are there, one to each service; of what the gateway asks the rate limiter not each call has one."""
    mark = f"last-{secrets.token_hex(8)}"
    for path in ("me", "ratelimit/overrides"):
        httpx.get(f"{mesh.http_url}/api/v1/{path}", headers={"x-correlation-id": mark}, trust_env=False, timeout=20)
    deadline = time.monotonic() + 10
    waited_for = [mesh.log_path(name) for name in ("gateway", "ratelimiter")]
    while not all(mark in path.read_text(errors="replace") for path in waited_for):
        assert time.monotonic() < deadline, f"no line of the call {mark} in the logs"
        time.sleep(0.01)


def _hidden(secret: str) -> list[str]:
    """The parts of a secret that nobody may see: of a key not its id, of a token not its header."""
    parts = secret.split(".")[1:] if "." in secret else [secret]
    # A signature of zeros hides nothing.
    return [part for part in parts if len(part) >= _MIN_SECRET and len(set(part)) > _MIN_SECRET // 4]


def _places(mesh: Mesh) -> Iterator[tuple[str, str]]:
    for path in _logs(mesh):
        yield path.name, path.read_text(errors="replace")
    yield "waypost up", "\n".join([*(json.dumps(event) for event in mesh.events), *mesh.lines])
    with httpx.Client(trust_env=False, timeout=20) as client:
        for name in ("gateway", "ratelimiter", "workers"):
            for page in PAGES:
                yield f"/{page} of {name}", client.get(f"http://127.0.0.1:{mesh.ports[name + '_metrics']}/{page}").text
        for page in ADMIN_PAGES:
            yield f"Envoy's /{page}", client.get(f"http://127.0.0.1:{mesh.ports['envoy_admin']}/{page}").text
        for page in ("healthz", "readyz"):
            yield f"/{page}", client.get(f"{mesh.http_url}/{page}").text
    for process in mesh.living():
        with contextlib.suppress(OSError):
            # Everybody on the machine can read these.
            yield (
                f"the command line of {process.name}",
                Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace"),
            )


def _logs(mesh: Mesh) -> list[Path]:
    return sorted((mesh.data / "logs").iterdir())


def _bad(line: str) -> bool:
    try:
        return not isinstance(json.loads(line), dict)
    except ValueError:
        return True


def _bad_of_postgres(line: str) -> bool:
    if _POSTGRES_PLACE.search(line):
        return _POSTGRES_LINE.fullmatch(line) is None
    return _POSTGRES_LINE.fullmatch(line) is None or _POSTGRES_TELLS.search(line) is not None
