"""The gRPC servicer of `waypost.api.v1.RateLimitService`: proto in, handler, proto out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ratelimiter.convert import from_check_request, to_check_response
from ratelimiter.handlers import Checker
from ratelimiter.results import CheckResult
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as pb_grpc
from waypost.errors import InvalidFields
from waypost.model import MESH_LIMIT_DOMAIN
from waypost.rpc.access import EDGE_HEADER


class RateLimitService(pb_grpc.RateLimitServiceServicer):
    """Answers with `checker` and tells each result to `on_decision`.

    Errors are raised, for the chain in front to turn into statuses.
    """

    def __init__(self, checker: Checker, on_decision: Callable[[CheckResult], None] = lambda _: None) -> None:
        self._checker = checker
        self._on_decision = on_decision

    async def Check(self, request: pb.CheckRequest, context: Any) -> pb.CheckResponse:
        """Decides on one request. Raises `InvalidFields`, also for the mesh's own domain in a call from outside.

        Callers with credentials have counters of their workspace's own: nobody spends or learns what others have used.
        """
        workspace_id = context.identity.workspace_id
        asked = from_check_request(request, "" if workspace_id is None else str(workspace_id))
        if asked.domain == MESH_LIMIT_DOMAIN and EDGE_HEADER in context.headers:
            # Else anyone could spend what another address may do.
            raise InvalidFields.one(
                "domain", f"{MESH_LIMIT_DOMAIN} is decided inside the mesh; use a domain of your own rules"
            )
        result = await self._checker.check(asked)
        self._on_decision(result)
        return to_check_response(result)
