"""The algorithms: the vectors that every twin replays, and what must hold for any sequence of requests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from copy import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.limits import Algorithm, Decision, Limit, State, at, look, spend, stricter, take, used

VECTORS = Path(__file__).parents[2] / "vectors"
START_US = 1_700_000_000_000_000


def vector_cases() -> Iterator[Any]:
    for path in sorted(VECTORS.glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            yield pytest.param(case, id=f"{path.stem}: {case['about']}")


@pytest.mark.parametrize("case", list(vector_cases()))
def test_vector(case: dict[str, Any]) -> None:
    limit = Limit(**{**case["limit"], "algorithm": Algorithm(case["limit"]["algorithm"])})
    state = State()
    for step in case["steps"]:
        operation = {"look": look, "spend": spend}[step["op"]]
        expected = Decision(step["allowed"], step["remaining"], step["reset_after_us"], step["retry_after_us"])
        assert operation(limit, state, step["hits"], step["at_us"]) == expected, step


def test_vectors_cover_every_algorithm_and_stay_within_doubles() -> None:
    texts = {path.stem: path.read_text() for path in VECTORS.glob("*.json")}
    assert set(texts) >= set(Algorithm)

    def parse_int(digits: str) -> int:
        assert int(digits) < 2**53
        return int(digits)

    for text in texts.values():
        json.loads(text, parse_int=parse_int)


windows = st.one_of(st.integers(1, 12), st.integers(1, 5000), st.sampled_from([10**6, 60 * 10**6, 86_400 * 10**6]))


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    algorithm = draw(st.sampled_from(Algorithm))
    limit = draw(st.one_of(st.integers(0, 12), st.just(2**32 - 1)))
    burst = draw(st.one_of(st.none(), st.integers(1, 20))) if algorithm is Algorithm.TOKEN_BUCKET else None
    return Limit(algorithm, limit, draw(windows), burst)


@st.composite
def runs(draw: st.DrawFn, backwards: bool = True) -> tuple[Limit, list[tuple[int, int]]]:
    """A limit, and times with costs that are near what it takes to tell one decision from another."""
    limit = draw(limits())
    token = max(1, limit.window_us // max(1, limit.limit))
    gaps = st.one_of(
        st.integers(0, 3),
        st.integers(-2 * token if backwards else 0, 2 * token),
        st.integers(-limit.window_us if backwards else 0, 3 * limit.window_us),
    )
    costs = st.one_of(st.integers(0, 4), st.integers(0, limit.capacity + 1))
    now_us, steps = START_US + draw(st.integers(0, limit.window_us)), []
    for gap, hits in draw(st.lists(st.tuples(gaps, costs), min_size=1, max_size=25)):
        now_us += gap
        steps.append((now_us, hits))
    return limit, steps


def play(limit: Limit, steps: list[tuple[int, int]]) -> tuple[State, list[tuple[int, int]]]:
    """The state after `steps`, and the time and cost of each admission."""
    state, admitted = State(), []
    for now_us, hits in steps:
        if spend(limit, state, hits, now_us).allowed and hits:
            admitted.append((state.updated_us, hits))
    return state, admitted


@given(runs())
def test_never_more_than_the_algorithm_promises(run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    _, admitted = play(limit, steps)
    window = limit.window_us
    if limit.algorithm is Algorithm.TOKEN_BUCKET:
        for first, (since_us, _) in enumerate(admitted):
            total = 0
            for until_us, hits in admitted[first:]:
                total += hits
                assert total <= limit.capacity + Fraction(limit.limit * (until_us - since_us), window)
        return
    count: Counter[int] = Counter()
    for now_us, hits in admitted:
        index = now_us // window
        count[index] += hits
        assert count[index] <= limit.limit
        if limit.algorithm is Algorithm.SLIDING_WINDOW:
            share = Fraction(count[index - 1] * (window - now_us % window), window)
            assert count[index] + share <= limit.limit


@given(runs(), st.integers(0, 25))
def test_a_refusal_lasts_exactly_as_long_as_it_says(run: tuple[Limit, list[tuple[int, int]]], hits: int) -> None:
    limit, steps = run
    state, _ = play(limit, steps)
    now_us = steps[-1][0]
    decision = look(limit, state, hits, now_us)
    if decision.allowed:
        assert decision.retry_after_us == 0
        assert max(1, hits) <= decision.remaining
    elif decision.retry_after_us is None:
        assert max(1, hits) > limit.capacity
    else:
        assert decision.reset_after_us == decision.retry_after_us > 0
        assert look(limit, state, hits, now_us + decision.retry_after_us).allowed
        assert not look(limit, state, hits, now_us + decision.retry_after_us - 1).allowed


@given(runs(), st.integers(0, 10**7))
def test_what_is_admitted_now_is_admitted_later(run: tuple[Limit, list[tuple[int, int]]], wait_us: int) -> None:
    limit, steps = run
    state, _ = play(limit, steps)
    now_us, hits = steps[-1]
    if look(limit, state, hits, now_us).allowed:
        assert look(limit, state, hits, now_us + wait_us).allowed


@given(runs())
def test_only_an_admission_changes_the_state(run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    state = State()
    for now_us, hits in steps:
        before = copy(state)
        seen = look(limit, state, hits, now_us)
        assert state == before
        decision = spend(limit, state, hits, now_us)
        assert decision.allowed == seen.allowed
        if decision.allowed:
            assert decision.remaining == seen.remaining - hits
            assert decision.remaining == look(limit, state, 0, now_us).remaining
            assert state.updated_us >= before.updated_us
        else:
            assert decision == seen
        if not decision.allowed or hits == 0:
            assert state == before


@given(runs())
def test_reset_is_when_the_bucket_is_full_or_the_window_over(run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    state = State()
    for now_us, hits in steps:
        decision = spend(limit, state, hits, now_us)
        if not decision.allowed:
            continue
        reset_us = now_us + decision.reset_after_us
        if limit.algorithm is not Algorithm.TOKEN_BUCKET:
            assert reset_us % limit.window_us == 0
        else:
            assert used(limit, at(limit, state, reset_us)) == 0
        if hits:
            assert used(limit, at(limit, state, reset_us - 1)) > 0


@given(runs(backwards=False))
def test_token_bucket_agrees_with_exact_fractions(run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    limit = Limit(Algorithm.TOKEN_BUCKET, limit.limit, limit.window_us, limit.burst)
    state, tokens, since_us = State(), Fraction(limit.capacity), steps[0][0]
    for now_us, hits in steps:
        tokens = min(Fraction(limit.capacity), tokens + Fraction(limit.limit * (now_us - since_us), limit.window_us))
        since_us = now_us
        decision = spend(limit, state, hits, now_us)
        assert decision.allowed == (max(1, hits) <= tokens)
        if decision.allowed:
            tokens -= hits
        assert decision.remaining == int(tokens)


@given(runs())
def test_a_state_fits_what_the_other_twins_hold(run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    state, _ = play(limit, steps)
    assert 0 <= state.updated_us < 2**53
    assert 0 <= state.count <= limit.capacity
    assert 0 <= state.previous <= limit.capacity
    assert 0 <= state.fraction < limit.window_us


def test_a_changed_number_keeps_the_count() -> None:
    for algorithm in Algorithm:
        state = State()
        spend(Limit(algorithm, 10, 10**6), state, 8, START_US)
        assert look(Limit(algorithm, 20, 10**6), state, 0, START_US).remaining == 12
        assert look(Limit(algorithm, 5, 10**6), state, 0, START_US).remaining == 0


@pytest.mark.parametrize(
    ("algorithm", "limit", "window_us", "burst"),
    [
        (Algorithm.FIXED_WINDOW, -1, 1, None),
        (Algorithm.FIXED_WINDOW, 1, 0, None),
        (Algorithm.FIXED_WINDOW, 1, 1, 1),
        (Algorithm.TOKEN_BUCKET, 1, 1, 0),
    ],
)
def test_a_limit_refuses_numbers_out_of_range(
    algorithm: Algorithm, limit: int, window_us: int, burst: int | None
) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Limit(algorithm, limit, window_us, burst)


@pytest.mark.parametrize(
    ("held", "hits", "left"), [(State(), 2, 3), (State(), 9, 0), (State(0, 4), 1, 0), (State(0, 5), 1, 0)]
)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_cost_that_is_admitted_already_is_taken_as_far_as_there_is_something(
    algorithm: Algorithm, held: State, hits: int, left: int
) -> None:
    limit = Limit(algorithm, 5, 1000)
    state = copy(held)
    take(limit, state, hits, 0)
    assert look(limit, state, 0, 0).remaining == left


def test_what_has_come_back_of_a_token_is_taken_with_the_last_one() -> None:
    limit = Limit(Algorithm.TOKEN_BUCKET, 2, 1000)
    state = State(0, 2)
    take(limit, state, 2, 700)
    assert state == State(700, 2)
    # More is missing than the bucket holds, since its burst was lowered: left as it is.
    state = State(0, 9, fraction=300)
    take(limit, state, 1, 0)
    assert state == State(0, 9, fraction=300)


@given(st.sampled_from(Algorithm), st.data())
def test_the_stricter_of_two_admits_nothing_that_one_of_them_refuses(algorithm: Algorithm, data: st.DataObject) -> None:
    limit = Limit(algorithm, 6, 100)

    def draw() -> State:
        state, now_us = State(), 0
        for gap_us, hits in data.draw(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 6)), max_size=4)):
            now_us += gap_us
            spend(limit, state, hits, now_us)
        return state

    one, other = draw(), draw()
    now_us = max(one.updated_us, other.updated_us)
    both = stricter(at(limit, one, now_us), at(limit, other, now_us))
    for gap_us, hits in data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), max_size=6)):
        now_us += gap_us
        if spend(limit, both, hits, now_us).allowed:
            assert spend(limit, one, hits, now_us).allowed
            assert spend(limit, other, hits, now_us).allowed
