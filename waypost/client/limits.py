"""Rate limits: decisions, why they are as they are, and the rules; one method for each of RateLimitService's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from waypost.client.connection import Connection
from waypost.client.convert import fill
from waypost.client.limits_convert import (
    answer_from_proto,
    descriptors_to_proto,
    explanation_from_proto,
    number_to_proto,
    rules_from_proto,
)
from waypost.client.limits_model import Entries, LimitAnswer, LimitExplanation, LimitRules
from waypost.client.service import Service
from waypost.errors import InvalidFields

if TYPE_CHECKING:
    from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceAsyncStub

MAX_PAGE_SIZE = 5000
"""Rules."""
ATTEMPTS = 3
"""So often all rules are asked for while they change."""


class Limits(Service["RateLimitServiceAsyncStub"]):
    """The rate limiter. Callers have counters of their workspace's own."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, RateLimitServiceStub)

    async def check(
        self, domain: str, *descriptors: Entries, hits: int = 1, timeout: float | None = None
    ) -> LimitAnswer:
        """Counts a request that costs `hits` in every limit it meets, and says whether it may be served.

            answer = await client.limits.check("shop", {"route": "buy", "key": "alice"})

        A refusal is an answer, and counts nothing. Raises `InvalidFields`.
        """
        request = _request(domain, descriptors, hits)
        return answer_from_proto(await self._call(lambda stub: stub.Check, request, timeout))

    async def check_all(
        self, requests: Iterable[tuple[str, Sequence[Entries]]], *, timeout: float | None = None
    ) -> tuple[LimitAnswer, ...]:
        """Decides on up to 1,000 requests (a domain and descriptors each, one hit), one after the other.

        Raises `InvalidFields`, and then has counted none.
        """
        batch = pb.BatchCheckRequest(requests=[_request(domain, descriptors, 1) for domain, descriptors in requests])
        answer = await self._call(lambda stub: stub.BatchCheck, batch, timeout)
        return tuple(map(answer_from_proto, answer.responses))

    async def explain(
        self,
        domain: str,
        *descriptors: Entries,
        hits: int = 1,
        workspace: str | UUID = "",
        timeout: float | None = None,
    ) -> LimitExplanation:
        """What `check` would answer, and why; counts nothing. `workspace`, for operators: as if one of it asked."""
        request = pb.ExplainRequest(
            descriptors=descriptors_to_proto(descriptors), hits_addend=number_to_proto("hits_addend", hits)
        )
        fill(request, {"domain": domain, "workspace_id": str(workspace)})
        return explanation_from_proto(await self._call(lambda stub: stub.Explain, request, timeout))

    async def rules(self, domain: str = "", *, timeout: float | None = None) -> LimitRules:
        """The rules in force, of one domain or of all (for operators); `timeout` is for each page of them.

        Rules that change between two pages are asked for anew; raises `InvalidFields` if they do so again and again.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._all_rules(domain, timeout)
            except InvalidFields as error:
                if [violation.field for violation in error.violations] != ["page_token"]:
                    raise
        return await self._all_rules(domain, timeout)

    async def rules_page(
        self, domain: str = "", *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> LimitRules:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListRulesRequest()
        fill(request, {"domain": domain, "page_size": page_size, "page_token": page_token})
        return rules_from_proto(await self._call(lambda stub: stub.ListRules, request, timeout))

    async def reset(
        self, domain: str, *descriptors: Entries, workspace: str | UUID = "", timeout: float | None = None
    ) -> int:
        """Forgets what descriptors have used, and returns how many counters there were (for operators).

        `workspace`: whose callers were counted; empty: the mesh's own. Raises `InvalidFields`.
        """
        request = pb.ResetRequest(descriptors=descriptors_to_proto(descriptors))
        fill(request, {"domain": domain, "workspace_id": str(workspace)})
        answer = await self._call(lambda stub: stub.Reset, request, timeout)
        return answer.counters

    async def _all_rules(self, domain: str, timeout: float | None) -> LimitRules:
        first = page = await self.rules_page(domain, page_size=MAX_PAGE_SIZE, timeout=timeout)
        rules = list(page.rules)
        seen: set[str] = set()
        # A server that goes round in circles is none of ours.
        while (token := page.next_page_token) and token not in seen:
            seen.add(token)
            page = await self.rules_page(domain, page_size=MAX_PAGE_SIZE, page_token=token, timeout=timeout)
            rules += page.rules
        return replace(first, rules=tuple(rules), next_page_token="")


def _request(domain: str, descriptors: Iterable[Entries], hits: int) -> pb.CheckRequest:
    request = pb.CheckRequest(
        descriptors=descriptors_to_proto(descriptors), hits_addend=number_to_proto("hits_addend", hits)
    )
    fill(request, {"domain": domain})
    return request
