"""The web port over links in memory, asked straight through ASGI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from gateway.visits import VisitMetrics
from gateway.web import web_app
from tests.support.visitors import NOW, MemoryRedirectReader, StandingClock, link, visitors
from waypost.access.failures import Failures
from waypost.errors import DependencyUnavailable, Overloaded
from waypost.rpc.health import Health
from waypost.telemetry import Metrics

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JSON = "application/json"

URL = "https://example.org/a%2Fb/%zz;p?q=1&r=%20&s=[]|{}^`'\"<>#frag#%C3%A9"
PUBLIC_URL = "https://go.example/s/"
HOUR = timedelta(hours=1)


class Web:
    """The web application with a link for each thing that can become of one; all lead to `URL`."""

    def __init__(
        self, public_url: str = PUBLIC_URL, *, unknown: Failures | None = None, trusted: Sequence[str] = ()
    ) -> None:
        self.reader = MemoryRedirectReader(
            *(link(f"link{status}", URL, status) for status in (301, 302, 307, 308)),
            replace(link("brief12", URL), expires_at=NOW + HOUR),
            replace(link("expired", URL), expires_at=NOW - HOUR),
            replace(link("deleted", URL), deleted=True),
            replace(link("blk1234", URL), blocked=True),
            replace(link("warned1", URL), warned=True),
            replace(link("forward", URL), forward_query=True),
        )
        self.reader.limit(link("limited", URL), 2)
        self.reader.limit(link("usedup1", URL), 0)
        self.reader.limit(replace(link("limwarn", URL), warned=True), 2)
        self.reader.limit(replace(link("limfwd1", URL), forward_query=True), 2)
        self.reader.errors = {
            "away123": DependencyUnavailable("postgres", retry_after=1.2),
            "busy123": Overloaded(10),
            "defect1": RuntimeError("the secret cause"),
        }
        self.clock = StandingClock()
        self.health = Health("gateway", [], [], Metrics("gateway"))
        self.registry = CollectorRegistry()
        self.app: ASGIApp = web_app(
            visitors(self.reader, self.clock, unknown),
            self.health,
            VisitMetrics(self.registry),
            public_url,
            trusted=[ip_network(one) for one in trusted],
        )

    async def request(
        self, path: str, method: str = "GET", *, client: str = "127.0.0.1", **headers: str
    ) -> httpx.Response:
        """One request by `client`, straight to the application; headers' names with underscores."""
        transport = httpx.ASGITransport(app=self.app, client=(client, 40312))
        async with httpx.AsyncClient(transport=transport, base_url="http://go.example") as http:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.request(method, path, headers={"accept": "*/*"} | sent)

    def counted(self, status: int, metric: str = "redirects_total") -> float:
        """How many requests were answered so."""
        return self.registry.get_sample_value(metric, {"status": str(status)}) or 0.0


def detail(response: httpx.Response, kind: str) -> dict[str, Any]:
    """The detail of a `google.rpc.Status` that has this type."""
    (found,) = [d for d in response.json()["details"] if d["@type"] == f"type.googleapis.com/google.rpc.{kind}"]
    assert isinstance(found, dict)
    return found
