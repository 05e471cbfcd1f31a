"""The script: the vectors that all twins replay, random requests against the definition, and what it leaves behind."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native.limits import Algorithm, Decision, Limit, State, look
from native.request import NOWHERE, Elsewhere, Mode, Question, Verdict, decide
from tests.support.redis_counters import DOMAIN, Script, question
from waypost.adapters.redis_keys import counter_key
from waypost.adapters.redis_script import LARGEST, SOURCE, decision_arguments

VECTORS = Path(__file__).parents[2] / "vectors"
START_US = 1_700_000_000_000_000
ALGORITHMS = [str(algorithm) for algorithm in Algorithm]


@pytest.fixture
def script(client: redis.Redis) -> Script:
    """The script, without any counter."""
    client.flushall()
    return Script(client)


def within_doubles(case: Any) -> bool:
    """Whether the script can know all of a case's numbers."""
    numbers: list[int] = []
    json.loads(json.dumps(case), parse_int=lambda digits: numbers.append(int(digits)))
    return max(numbers, default=0) <= LARGEST


def cases(name: str) -> Iterator[Any]:
    for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]:
        if within_doubles(case):
            yield pytest.param(case, id=f"{name}: {case['about']}")


def limit_of(fields: dict[str, Any]) -> Limit:
    return Limit(**{**fields, "algorithm": Algorithm(fields["algorithm"])})


def decision_of(fields: dict[str, Any]) -> Decision:
    return Decision(fields["allowed"], fields["remaining"], fields["reset_after_us"], fields["retry_after_us"])


@pytest.mark.parametrize("case", [case for name in ALGORITHMS for case in cases(name)])
def test_vector_of_one_counter(script: Script, case: dict[str, Any]) -> None:
    limit = limit_of(case["limit"])
    for step in case["steps"]:
        asked = Question((DOMAIN,), (), limit, step["hits"])
        expected = decision_of(step)
        if step["op"] == "look":
            assert script.look([asked], step["at_us"]) == (expected,), step
        else:
            assert script.decide([asked], step["at_us"]) == Verdict(expected.allowed, (expected,)), step


@pytest.mark.parametrize("case", list(cases("requests")))
def test_vector_of_whole_requests(script: Script, case: dict[str, Any]) -> None:
    for step in case["steps"]:
        asked = [
            Question(
                tuple(fields["rule"]),
                tuple(fields["values"]),
                limit_of(fields["limit"]),
                fields["hits"],
                fields["descriptor"],
                Mode(sum(Mode[name.upper()] for name in fields["mode"])),
            )
            for fields in step["questions"]
        ]
        elsewhere = Elsewhere(**step["elsewhere"]) if "elsewhere" in step else NOWHERE
        expected = Verdict(step["admitted"], tuple(map(decision_of, step["decisions"])))
        assert script.decide(asked, step["at_us"], elsewhere) == expected, step


def test_vectors_are_there() -> None:
    assert sum(1 for name in [*ALGORITHMS, "requests"] for _ in cases(name)) > 50


# Counts stay below 2^53 whatever is added to them.
numbers = st.one_of(
    st.integers(0, 12), st.integers(1, 5000), st.sampled_from([2**32 - 1, 2**47 + 1, 2**52]), st.integers(1, 2**52)
)
windows = st.one_of(
    st.integers(1, 5000), st.sampled_from([10**6, 60 * 10**6, 86_400 * 10**6, 2**45 - 1]), st.integers(1, 2**50)
)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Algorithm, int, list[Limit]]:
    """What the counters of one rule have in common, and the numbers that it has now and then."""
    algorithm, window_us = draw(st.sampled_from(Algorithm)), draw(windows)
    bursts = st.one_of(st.none(), numbers.filter(bool)) if algorithm is Algorithm.TOKEN_BUCKET else st.none()
    limit = draw(numbers)
    others = st.one_of(st.just(limit), st.just(limit), numbers)
    limits = [Limit(algorithm, draw(others), window_us, draw(bursts)) for _ in range(2)]
    return algorithm, window_us, limits


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[int, list[Question], Elsewhere]]:
    """Requests in order, about few counters, with costs and times near where decisions turn."""
    pool = draw(st.lists(rules(), min_size=1, max_size=3))
    now_us = START_US + draw(st.integers(0, 10**7))
    steps = []
    for _ in range(draw(st.integers(1, 12))):
        questions, descriptor = [], 0
        for _ in range(draw(st.integers(1, 4))):
            number = draw(st.integers(0, len(pool) - 1))
            algorithm, window_us, limits = pool[number]
            limit = draw(st.sampled_from(limits))
            costs = st.one_of(
                st.integers(-3, 4), st.integers(0, min(limit.capacity + 1, LARGEST)), st.integers(-LARGEST, LARGEST)
            )
            modes = st.integers(0, 7).map(Mode)
            if algorithm is Algorithm.FIXED_WINDOW:
                modes = st.one_of(modes, modes.map(lambda mode: mode | Mode.REFERENCE))
            mode = draw(modes)
            hits = draw(st.integers(-5, 2**40) if mode & Mode.REFERENCE else costs)
            descriptor += draw(st.integers(0, 1))
            values = (draw(st.sampled_from("xy")),)
            questions.append(Question((DOMAIN, str(number)), values, limit, hits, descriptor, mode))
        elsewhere = draw(
            st.one_of(st.just(NOWHERE), st.builds(Elsewhere, st.booleans(), st.integers(0, 2), st.just(1)))
        )
        steps.append((now_us, questions, elsewhere))
        window_us = draw(st.sampled_from(pool))[1]
        token = max(1, window_us // max(1, questions[0].limit.limit))
        gap = draw(st.one_of(st.integers(0, 3), st.integers(-token, 2 * token), st.integers(-window_us, 3 * window_us)))
        now_us = max(1, min(now_us + gap, 2**53 - 1))
    return steps


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
def test_random_requests_are_decided_and_charged_as_defined(
    client: redis.Redis, steps: list[tuple[int, list[Question], Elsewhere]]
) -> None:
    client.flushall()
    script = Script(client)
    states: dict[tuple[tuple[str, ...], tuple[str, ...]], State] = {}
    for now_us, questions, elsewhere in steps:
        looks = tuple(look(q.limit, states.get((q.rule, q.values), State()), max(0, q.hits), now_us) for q in questions)
        assert known(script.look(questions, now_us)) == known(looks)
        expected = decide(
            questions,
            now_us,
            lambda q: states.get((q.rule, q.values), State()),
            lambda q: states.setdefault((q.rule, q.values), State()),
            elsewhere,
        )
        verdict = script.decide(questions, now_us, elsewhere)
        assert verdict.admitted == expected.admitted
        assert known(verdict.decisions) == known(expected.decisions)
        assert_stored(client, states)


def known(decisions: tuple[Decision, ...]) -> list[tuple[int | None, ...]]:
    """Decisions as far as the script knows numbers."""
    return [tuple(None if number is None else min(number, LARGEST) for number in decision) for decision in decisions]


def assert_stored(client: redis.Redis, states: dict[tuple[tuple[str, ...], tuple[str, ...]], State]) -> None:
    """Every counter is as it should be, and will go."""
    stored = {name: client.get(name) for name in client.scan_iter()}
    for (rule, values), state in states.items():
        value: Any = stored.pop(counter_key(DOMAIN, rule, values))
        assert struct.unpack("<3d", value) == (state.updated_us, state.count, state.previous + state.fraction)
    assert stored == {}
    assert all(client.pttl(name) > 0 for name in client.scan_iter())


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_counter_lives_until_it_is_back_at_zero_and_a_second_more(client: redis.Redis, algorithm: Algorithm) -> None:
    asked = question(algorithm=algorithm, limit=10, hits=5)
    keys, argument = decision_arguments(DOMAIN, [asked])
    reply: Any = client.eval(SOURCE.decode(), 1, *keys, argument)
    expected_us = reply[3]
    if algorithm is Algorithm.SLIDING_WINDOW:
        expected_us += asked.limit.window_us
    ttl: Any = client.pttl(keys[0])
    assert expected_us / 1000 < ttl <= expected_us / 1000 + 1001


@pytest.mark.parametrize(
    "foreign",
    [b"", b"12", b"x" * 24, b"\xff" * 24, struct.pack("<3d", -1, 5, 0), struct.pack("<3d", 0, float("inf"), 0)],
)
def test_what_is_no_counter_gives_way(client: redis.Redis, script: Script, foreign: bytes) -> None:
    asked = question(limit=3)
    (name,), _ = decision_arguments(DOMAIN, [asked])
    client.set(name, foreign)
    assert script.decide([asked], START_US).decisions[0].remaining == 2
    assert script.decide([asked], START_US).decisions[0].remaining == 1
    assert client.pttl(name) > 0


def test_a_key_of_another_type_gives_way(client: redis.Redis, script: Script) -> None:
    asked = question(limit=3)
    (name,), _ = decision_arguments(DOMAIN, [asked])
    client.lpush(name, "a list")
    assert script.decide([asked], START_US).decisions[0].remaining == 2
    assert client.pttl(name) > 0


def test_redis_own_time_decides(client: redis.Redis) -> None:
    Script(client)
    asked = question(limit=3)
    seconds, microseconds = client.time()
    decision = Script(client).decide([asked], 0).decisions[0]
    rest = asked.limit.window_us - (seconds * 1_000_000 + microseconds) % asked.limit.window_us
    assert decision.reset_after_us <= rest < decision.reset_after_us + 10_000_000


def test_a_refusal_and_a_look_write_nothing(client: redis.Redis, script: Script) -> None:
    assert not script.decide([question("a"), question("b", limit=0)], START_US).admitted
    script.look([question("a"), question("c", hits=3)], START_US)
    assert client.keys() == []
