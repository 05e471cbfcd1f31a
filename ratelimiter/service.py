"""The gRPC servicer of `waypost.api.v1.RateLimitService`: proto in, handler, proto out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from ratelimiter import convert
from ratelimiter.handlers import AT_ONCE, Checker, in_turns
from ratelimiter.outlook import explained
from ratelimiter.overrides.requests import Caller
from ratelimiter.requests import LimitRequest
from ratelimiter.resets import Resets
from ratelimiter.rule_pages import page_of
from ratelimiter.rulebook import RuleBook
from waypost.access.identity import Scope
from waypost.access.limits import charge
from waypost.access.policies import LimitClass
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as pb_grpc
from waypost.errors import InvalidFields, PermissionDenied
from waypost.model import MESH_LIMIT_DOMAIN
from waypost.override_ports import AuditLog
from waypost.ports import Limiter
from waypost.rpc.access import EDGE_HEADER

NAME = "/waypost.api.v1.RateLimitService"
MAX_COST = 10_000
"""What the largest batch costs its caller; so many are admitted at once by the rules that come with Waypost."""


class RateLimitService(pb_grpc.RateLimitServiceServicer):
    """Answers with `checker` and the rules of `book`.

    Errors are raised, for the chain in front to turn into statuses. `limiter` limits those who ask: the chain has
    charged each call from outside as one question, batches are charged here for the rest. `audit` is told who resets.
    Callers with credentials have counters of their workspace's own: nobody spends or learns what others have used.
    """

    def __init__(self, checker: Checker, book: RuleBook, limiter: Limiter, audit: AuditLog | None = None) -> None:
        self._checker = checker
        self._book = book
        self._limiter = limiter
        self._resets = Resets(checker, audit)

    async def Check(self, request: pb.CheckRequest, context: Any) -> pb.CheckResponse:
        """Decides on one request. Raises `InvalidFields`, also for the mesh's own domain in a call from outside."""
        asked = convert.from_check_request(request, _owner(context))
        if _is_outside(context):
            _keep_out([(asked, "domain")])
        return convert.to_check_response(await self._checker.check(asked))

    async def without_store(self, message: bytes) -> bytes:
        """The answer of `Check`, on the wire, to one inside the mesh whose request the store has not answered."""
        request = convert.from_check_request(pb.CheckRequest.FromString(message))
        return convert.to_check_response(await self._checker.check_without_store(request)).SerializeToString()

    async def BatchCheck(self, request: pb.BatchCheckRequest, context: Any) -> pb.BatchCheckResponse:
        """Decides on each request in turn. Raises `InvalidFields` as `Check` does, `RateLimited`: none counts."""
        asked: list[LimitRequest] = []
        for part in in_turns(request.requests):
            asked += [convert.from_check_request(one, _owner(context)) for one in part]
            # A full batch takes a while to read, and to answer; others get their turn.
            await asyncio.sleep(0)
        if _is_outside(context):
            _keep_out((one, f"requests[{index}].domain") for index, one in enumerate(asked))
            questions = sum(len(one.descriptors) for one in asked)
            if questions > 1:
                await charge(self._limiter, LimitClass.CHECK, context.identity, min(questions, MAX_COST) - 1)
        response = pb.BatchCheckResponse()
        size = 0
        for result in await self._checker.check_all(asked):
            response.responses.append(convert.to_check_response(result))
            size += len(result.statuses)
            if size >= AT_ONCE:
                await asyncio.sleep(0)
                size = 0
        return response

    async def Reset(self, request: pb.ResetRequest, context: Any) -> pb.ResetResponse:
        """Forgets counters. Raises `InvalidFields`, `DependencyUnavailable`."""
        _check_workspace(request.workspace_id)
        asked = convert.from_reset_request(request)
        caller = Caller(context.identity, context.correlation_id)
        return pb.ResetResponse(counters=await self._resets.reset(asked, caller))

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Says what a check would answer, and why. Raises `InvalidFields`, `PermissionDenied`, `DependencyUnavailable`.

        The mesh's domain, and other workspaces' counters, are for operators and inside the mesh.
        """
        _check_workspace(request.workspace_id)
        outside = _is_outside(context) and not context.identity.operator
        if outside and request.workspace_id not in ("", _owner(context)):
            raise PermissionDenied(Scope.LIMITS_MANAGE, "only operators may ask for another workspace: leave it out")
        # The mesh's own counters are nobody's.
        own = "" if request.domain == MESH_LIMIT_DOMAIN else _owner(context)
        asked = convert.from_explain_request(request, request.workspace_id or own)
        if outside:
            _keep_out([(asked, "domain")])
        outlook = await self._checker.look(asked)
        # Which other rules there are is for operators, as in ListRules.
        return convert.to_explain_response(outlook, explained(asked, outlook, name_others=not outside))

    async def ListRules(self, request: pb.ListRulesRequest, context: Any) -> pb.ListRulesResponse:
        """Returns a page of the rules in force. Raises `InvalidFields`."""
        return await page_of(self._book, request)


def _is_outside(context: Any) -> bool:
    return EDGE_HEADER in context.headers


def _owner(context: Any) -> str:
    workspace_id = context.identity.workspace_id
    return "" if workspace_id is None else str(workspace_id)


def _keep_out(asked: Iterable[tuple[LimitRequest, str]]) -> None:
    """Keeps callers from outside out of the mesh's own domain: they could spend what another address may do."""
    for request, field in asked:
        if request.domain == MESH_LIMIT_DOMAIN:
            raise InvalidFields.one(
                field, f"{MESH_LIMIT_DOMAIN} is decided inside the mesh; use a domain of your own rules"
            )


def _check_workspace(text: str) -> None:
    """Raises `InvalidFields` for what is not empty and no workspace's id as we write it."""
    try:
        good = not text or str(UUID(text)) == text
    except ValueError:
        good = False
    if not good:
        raise InvalidFields.one(
            "workspace_id", "must be a workspace's id, a UUID like 00000000-0000-4000-8000-000000000000"
        )
