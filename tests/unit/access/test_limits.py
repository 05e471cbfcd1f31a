"""Whom a call's limit is charged to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.identities import as_anonymous, as_owner
from waypost.access.identity import MESH, Identity
from waypost.access.limits import charge
from waypost.access.policies import LimitClass
from waypost.errors import RateLimited
from waypost.model import DEFAULT_WORKSPACE, Budget, LimitDecision, LimitEntry

OWN = LimitEntry("workspace", str(as_owner().workspace_id))


BUDGET = Budget(30, 60.0, 0, 2.5)
WORKSPACE = LimitEntry("workspace", str(DEFAULT_WORKSPACE))


class Limiter:
    """Answers as it was told to, and remembers what it was asked."""

    def __init__(self, decision: LimitDecision) -> None:
        self.decision = decision
        self.asked: list[tuple[str, Sequence[Sequence[LimitEntry]], int]] = []

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        self.asked.append((domain, descriptors, hits))
        return self.decision


@pytest.mark.parametrize(
    ("identity", "whom"),
    [
        (as_owner(principal="user:ada"), [LimitEntry("principal", "user:ada"), OWN]),
        (as_owner(principal="key:abcdefghij123456"), [LimitEntry("principal", "key:abcdefghij123456"), OWN]),
        (as_anonymous("192.0.2.9"), [LimitEntry("remote_address", "192.0.2.9")]),
        (Identity("user:bob", address="192.0.2.9"), [LimitEntry("principal", "user:bob")]),
        (Identity(MESH, address="local"), [LimitEntry("principal", "mesh")]),
    ],
)
@pytest.mark.parametrize("limit", [limit for limit in LimitClass if limit is not LimitClass.NONE])
async def test_who_has_credentials_is_charged_by_them_and_the_workspace_others_by_their_address(
    identity: Identity, whom: list[LimitEntry], limit: LimitClass
) -> None:
    limiter = Limiter(LimitDecision(True))
    await charge(limiter, limit, identity, 7)
    assert limiter.asked == [("waypost", [(LimitEntry("route_class", limit.value), one) for one in whom], 7)]


async def test_who_calls_from_elsewhere_is_charged_the_same() -> None:
    limiter = Limiter(LimitDecision(True))
    await charge(limiter, LimitClass.READ, as_owner())
    await charge(limiter, LimitClass.READ, replace(as_owner(), address="198.51.100.1"))
    assert limiter.asked[0] == limiter.asked[1]


async def test_a_refusal_says_by_which_rule_and_until_when() -> None:
    with pytest.raises(RateLimited) as caught:
        await charge(Limiter(LimitDecision(False, "reads", 2.5, budget=BUDGET)), LimitClass.READ, as_owner())
    assert (caught.value.rule, caught.value.retry_after, caught.value.budget) == ("reads", 2.5, BUDGET)


async def test_a_limiter_that_is_away_decides_as_it_does_without_the_others() -> None:
    await charge(Limiter(LimitDecision(True, degraded=True)), LimitClass.READ, as_owner())
