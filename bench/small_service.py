"""A service that does next to nothing, with all of the chain around it: what a call costs that goes up to Python.

`python -m bench.small_service CONTROL HOT METRICS KEY`: three ports, an API key. `RateLimitService.Check` says yes to
callers within the mesh, `LinkService.GetLink` gives who has the key the code that was asked for. Around them is what
every service has: log lines, metrics, deadlines, and the gate that finds out who calls.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.support.memory_credentials import PEPPER, MemoryCredentials
from waypost.access.api_keys import KeyRecord, digest_of, parse_key
from waypost.access.authentication import Authenticator
from waypost.access.failures import Failures
from waypost.access.identity import ROLE_SCOPES, Role
from waypost.access.policies import POLICIES
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceServicer
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceServicer
from waypost.clock import ServerClock
from waypost.model import DEFAULT_WORKSPACE
from waypost.rpc.access import Access
from waypost.rpc.hot_settings import HotPortSettings
from waypost.rpc.main import main
from waypost.rpc.process import Service, serve
from waypost.rpc.server import HEALTH_CHECK
from waypost.telemetry import Metrics


class _Limits(RateLimitServiceServicer):
    async def Check(self, request: limits_pb.CheckRequest, context: Any) -> limits_pb.CheckResponse:
        return limits_pb.CheckResponse(allowed=True)


class _Links(LinkServiceServicer):
    async def GetLink(self, request: links_pb.GetLinkRequest, context: Any) -> links_pb.Link:
        return links_pb.Link(short_code=request.short_code)


def _gate(key: str) -> Access:
    parsed = parse_key(key)
    if parsed is None:
        raise SystemExit("small_service: the last argument must be an API key")
    record = KeyRecord(
        parsed.key_id, DEFAULT_WORKSPACE, Role.EDITOR, ROLE_SCOPES[Role.EDITOR], digest_of(parsed, PEPPER)
    )
    credentials = MemoryCredentials({parsed.key_id: record})
    failures = Failures(per_minute=10)
    authenticator = Authenticator(credentials, [PEPPER], None, frozenset(), ServerClock(), failures)
    return Access(authenticator, POLICIES, (), exempt=frozenset({HEALTH_CHECK}))


async def _run(settings: HotPortSettings) -> None:
    control, hot, metrics = map(int, sys.argv[1:4])
    await serve(
        Service(
            name="small",
            settings=settings,
            control_port=control,
            hot_port=hot,
            metrics_port=metrics,
            # What they leave to their bases is not served.
            servicers=[_Limits(), _Links()],  # type: ignore[abstract]
            metrics=Metrics("small"),
            gate=[_gate(sys.argv[4])],
        )
    )


if __name__ == "__main__":
    sys.exit(main("small", HotPortSettings, _run))
