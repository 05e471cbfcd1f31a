"""Strict limits by compiled code: what it asks of the store, and what it answers, are the servicers' own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from native.request import Question
from ratelimiter import envoy_service, service
from ratelimiter.metrics import ObservedStore
from ratelimiter.rules import Rules
from tests.support.compiled import (
    METHODS,
    Compiled,
    Servicers,
    StoreAnswers,
    StoreQuestion,
    call_context,
    check_request,
    envoy_request,
)
from tests.support.limiter import INSIDE
from tests.unit.ratelimiter.test_compiled import MINUTE_US, Odds
from waypost.adapters.redis_keys import LONGEST, key_beginning
from waypost.adapters.redis_script import decision_arguments
from waypost.errors import StoreUnavailable

RULES = """
domain: test
descriptors:
  - {key: strict, rate_limit: {name: own, unit: second, requests_per_unit: 2}}
  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 10}}
  - {key: both, limits: [{unit: second, requests_per_unit: 2, consistency: local}, {unit: hour, requests_per_unit: 5}]}
  - {key: local, rate_limit: {unit: second, requests_per_unit: 2, consistency: local}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: detailed, detailed_metric: true, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: deny, rate_limit: {unit: minute, requests_per_unit: 3, on_store_failure: deny}}
"""
ENVOY, CHECK = envoy_service.METHOD, f"{service.NAME}/Check"
STRICT, LOCAL = {"strict": "x"}, {"local": "x"}


class World:
    """Servicers with a store, and compiled code before others with a store of theirs; both see the same time."""

    def __init__(self, text: str = RULES, *, headers: bool = True, shadow_mode: bool = False) -> None:
        self.alone = Servicers(text, headers=headers, shadow_mode=shadow_mode, strict=True)
        self.behind = Servicers(text, headers=headers, shadow_mode=shadow_mode, strict=True)
        self.compiled = Compiled(
            text, headers=headers, shadow_mode=shadow_mode, shared=True, key_beginning=key_beginning
        )
        # What the servicers decide in its stead is told to the same.
        self.behind.told.metrics, self.behind.told.offenders = self.compiled.told.metrics, self.compiled.told.offenders
        self.asked = 0
        self._questions: Sequence[Question] = ()
        observed = ObservedStore(self.behind.limiter.store, CollectorRegistry())
        self.answers = StoreAnswers(
            self.compiled.checks,
            self,
            observed.observe,
            check_without_store=self.behind.service.without_store,
            envoy_without_store=self.behind.envoy_service.without_store,
        )

    async def run_script(self, domain: str, keys: Sequence[bytes], argument: bytes) -> Any:
        """Decides, if it was asked just what the servicers would have asked."""
        store = self.behind.limiter.store
        assert (keys, argument) == decision_arguments(domain, self._questions)
        self.asked += 1
        verdict = await store.decide(domain, self._questions)
        reply = [int(verdict.admitted)]
        for decision in verdict.decisions:
            retry_us = -1 if decision.retry_after_us is None else decision.retry_after_us
            reply += (int(decision.allowed), decision.remaining, decision.reset_after_us, retry_us)
        return reply

    def shortcut(self, envoy: bool, message: Any, **context: Any) -> Awaitable[bytes] | None:
        """What compiled code makes of a request; None: it is for the servicers."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        self._questions = [one.question for one in self.behind.asked(envoy, data)]
        call = call_context(METHODS[0 if envoy else 1], *context.pop("metadata", ()))
        call.identity = context.pop("identity", call.identity)
        return self.answers.shortcuts()[call.method](call, data)

    def pass_time(self, later_us: int) -> None:
        for limiter in (self.alone.limiter, self.behind.limiter, self.compiled.limiter):
            limiter.now_us += later_us

    def fail(self) -> None:
        self.alone.limiter.store.fails = self.behind.limiter.store.fails = True


@pytest.mark.parametrize("shadow_mode", [False, True])
@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("seed", range(16))
async def test_questions_answers_metrics_and_offenders_are_the_servicers(
    seed: int, headers: bool, shadow_mode: bool
) -> None:
    odds = Odds(seed)
    world = World(odds.rules(), headers=headers, shadow_mode=shadow_mode)
    asked = 0
    for number in range(150):
        envoy = number % 2 == 0
        message = odds.request(envoy)
        answer = world.shortcut(envoy, message)
        expected = await world.alone.ask(envoy, message)
        if answer is None:
            # It meets no limit.
            assert not world._questions
            await world.behind.ask(envoy, message)
        else:
            assert await answer == expected, message
            asked += 1
        world.pass_time(odds.random.choice((0, 0, 1, 300_000, 1_000_000, MINUTE_US)))
    assert asked == world.asked > 50
    assert world.compiled.told.decisions() == world.alone.told.decisions()
    assert world.compiled.told.offenders.page() == world.alone.told.offenders.page()


@pytest.mark.parametrize("envoy", [False, True])
async def test_what_the_store_does_not_answer_is_decided_without_it_and_says_so(envoy: bool) -> None:
    world = World()
    make = envoy_request if envoy else check_request
    world.fail()
    for message in (make({"ten": "x"}), make({"deny": "x"}, {"ten": "x"}), make({"free": "y"}, STRICT, hits=3)):
        answer = world.shortcut(envoy, message)
        assert answer is not None
        assert await answer == await world.alone.ask(envoy, message.SerializeToString())
    assert world.compiled.told.decisions() == world.alone.told.decisions()
    assert ("test.ten", "allowed", "degraded") in world.alone.told.decisions()
    assert world.compiled.told.value("ratelimit_degraded_answers_total") == 3
    # The store was asked once for each, and by nobody else.
    assert world.asked == len(world.behind.limiter.store.asked) == 3


@pytest.mark.parametrize(
    "descriptors",
    [
        ({"both": "x"}, {"local": "x"}),
        ({"local": "x"},),
        (STRICT, {"local": "x"}),
        ({"detailed": "x"},),
        ({"free": "x"},),
    ],
    ids=str,
)
@pytest.mark.parametrize("envoy", [False, True])
def test_requests_that_are_left_to_the_servicers(envoy: bool, descriptors: tuple[dict[str, str], ...]) -> None:
    world = World()
    assert world.shortcut(envoy, (envoy_request if envoy else check_request)(*descriptors)) is None
    assert world.compiled.told.decisions() == {}


@pytest.mark.parametrize(
    "context",
    [{"metadata": (("x-waypost-edge", "1"),)}, {"identity": replace(INSIDE, workspace_id=UUID(int=1))}],
    ids=["from outside", "with an owner"],
)
@pytest.mark.parametrize("envoy", [False, True])
def test_calls_that_are_left_to_the_servicers(envoy: bool, context: dict[str, Any]) -> None:
    assert World().shortcut(envoy, (envoy_request if envoy else check_request)(STRICT), **context) is None


def test_where_answers_bring_dynamic_metadata_envoys_are_the_servicers() -> None:
    assert set(World().answers.shortcuts(envoy=False)) == {CHECK}
    assert set(World().answers.shortcuts()) == {CHECK, ENVOY}


@pytest.mark.parametrize("envoy", [False, True])
async def test_keys_that_are_named_by_a_digest_are_left_to_the_servicers(envoy: bool) -> None:
    world = World()
    make = envoy_request if envoy else check_request
    _, room = key_beginning("test", next(Rules.parse({"a": RULES}).listed())[1].limits[0].identity)
    # `6:strict` and the length of the value, which is of three digits.
    longest = room - len("6:strict") - len("100:")
    assert 100 <= longest < LONGEST
    answer = world.shortcut(envoy, make({"strict": "v" * longest}))
    assert answer is not None
    await answer
    assert world.shortcut(envoy, make({"strict": "v" * (longest + 1)})) is None


async def test_a_request_is_decided_by_the_rules_that_it_was_asked_by() -> None:
    world = World()
    asked, released = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await released.wait()

    world.behind.limiter.store.before_answer = hold
    answer = world.shortcut(False, check_request(STRICT, hits=3))
    assert answer is not None
    task = asyncio.ensure_future(answer)
    await asked.wait()
    world.compiled.checks.publish(Rules.parse({"other": "domain: test"}))
    world.compiled.checks.look()
    released.set()
    assert await task == await world.alone.ask(False, check_request(STRICT, hits=3).SerializeToString())
    assert world.compiled.told.decisions() == {("test.strict", "refused", "redis"): 1}
    assert world.compiled.told.offenders.page() == world.alone.told.offenders.page()
    world.compiled.checks.look()
    # Nobody asks by the old ones any more, and what was counted by them is not lost.
    assert len(world.compiled.checks._read) == 1
    assert world.compiled.told.decisions() == {("test.strict", "refused", "redis"): 1}


async def test_who_is_cancelled_while_the_store_is_asked_leaves_nothing() -> None:
    world = World()
    asked = asyncio.Event()

    async def hold() -> None:
        asked.set()
        await asyncio.Event().wait()

    world.behind.limiter.store.before_answer = hold
    answer = world.shortcut(True, envoy_request(STRICT))
    assert answer is not None
    task = asyncio.ensure_future(answer)
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.compiled.told.decisions() == {}
    world.compiled.checks.publish(Rules.parse({"other": "domain: test"}))
    world.compiled.checks.look()
    assert len(world.compiled.checks._read) == 1


@pytest.mark.parametrize(
    "reply", [[], [1], [1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 0], [1, 1, b"", 1, 0], [1, 1, 2**63, 1, 1]]
)
def test_what_is_no_reply_is_refused(reply: list[Any]) -> None:
    question = World().compiled.checks.answers.ask_store(False, check_request(STRICT).SerializeToString())
    assert question is not None
    with pytest.raises((ValueError, TypeError, OverflowError)):
        question.answer(reply)


async def test_a_question_that_is_closed_has_no_answer() -> None:
    question = World().compiled.checks.answers.ask_store(False, check_request(STRICT).SerializeToString())
    assert question is not None
    assert question.answer([1, 1, 1, 1, 0])[1] == 0
    for _ in range(2):
        question.close()
    assert question.serial == 0
    with pytest.raises(TypeError, match="closed"):
        question.answer([1, 1, 1, 1, 0])
    with pytest.raises(TypeError, match="does not come from"):
        StoreQuestion().answer([1])


async def test_a_store_that_fails_is_told_as_one_that_decides() -> None:
    registry = CollectorRegistry()
    observed = ObservedStore(World().behind.limiter.store, registry)

    async def fail() -> None:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await observed.observe(fail())
    assert registry.get_sample_value("ratelimit_store_seconds_count", {"result": "failed"}) == 1
