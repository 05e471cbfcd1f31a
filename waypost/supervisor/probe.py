"""Asking a process whether it is ready: one small HTTP request, no client library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MAX_ANSWER = 65_536
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a process says of itself: `ok`, `degraded`, `starting` or `draining`, and why if it is not ok."""

    status: str
    reason: str = ""


Probe = Callable[[], Awaitable[Health | None]]
"""Asks once, within a few seconds; None means no answer."""


def service_probe(host: str, port: int) -> Probe:
    """Asks a service's metrics port for `/ready`: JSON with `status` and `checks`, whatever the HTTP status."""

    async def ask() -> Health | None:
        answer = await get(host, port, "/ready")
        return None if answer is None else _service_health(answer[1])

    return ask


def envoy_probe(port: int) -> Probe:
    """Asks Envoy's admin port for `/ready`: 200 once every listener is open."""

    async def ask() -> Health | None:
        answer = await get("127.0.0.1", port, "/ready")
        if answer is None:
            return None
        return Health("ok") if answer[0] == 200 else Health("starting", answer[1].strip()[:80].lower())

    return ask


async def get(host: str, port: int, path: str, method: str = "GET") -> tuple[int, str] | None:
    """Status and body of one HTTP/1.1 request; None if nothing sensible answers in `TIMEOUT_SECONDS`."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=MAX_ANSWER)
            try:
                name = f"[{host}]" if ":" in host else host
                request = (
                    f"{method} {path} HTTP/1.1",
                    f"host: {name}:{port}",
                    "content-length: 0",
                    "connection: close",
                )
                writer.write("\r\n".join((*request, "", "")).encode())
                raw = bytearray()
                while len(raw) < MAX_ANSWER and (chunk := await reader.read(MAX_ANSWER)):
                    raw += chunk
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = bytes(raw).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        return None
    return int(words[1]), body.decode("utf-8", "replace")


def _service_health(body: str) -> Health | None:
    # From brace to brace: whatever frames the body in transit (chunks) stands outside.
    try:
        answer = json.loads(body[body.index("{") : body.rindex("}") + 1])
    except ValueError:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
        return None
    checks = answer.get("checks")
    reasons = [] if answer["status"] == "ok" or not isinstance(checks, dict) else list(_bad_checks(checks))
    return Health(answer["status"], "; ".join(reasons)[:200])


def _bad_checks(checks: dict[str, object]) -> list[str]:
    """The checks that are not ok, each as `name` or `name: why`; a check is a word or an object with a status."""
    bad = []
    for name, check in checks.items():
        fields = check if isinstance(check, dict) else {"status": check}
        status = fields.get("status", "ok")
        if status not in ("ok", True):
            why = next(
                (str(fields[key]) for key in ("message", "error", "detail", "reason") if fields.get(key)), str(status)
            )
            bad.append(f"{name}: {why}")
    return bad
