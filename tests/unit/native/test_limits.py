"""The algorithms: the vectors that every twin replays, and what must hold for any sequence of requests."""

from __future__ import annotations

import json
from collections import Counter
from copy import copy
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native.limits
from native.limits import MAX, Algorithm, Decision, Limit, State, stricter
from tests.unit.native.twins import CORES, VECTORS, both_cores, limit_of, vectors

START_US = 1_700_000_000_000_000


@both_cores
@pytest.mark.parametrize("case", list(vectors(*Algorithm, "edges")))
def test_vector(core: ModuleType, case: dict[str, Any]) -> None:
    limit = limit_of(case["limit"])
    state = State()
    for step in case["steps"]:
        answer = getattr(core, step["op"])(limit, state, step["hits"], step["at_us"])
        if step["op"] in ("take", "give_back"):
            assert answer is None
            answer = core.look(limit, state, 0, step["at_us"])
        assert answer == Decision(*(step[name] for name in Decision._fields)), step


def test_vectors_tell_which_of_their_numbers_a_double_holds() -> None:
    def numbers(case: object) -> list[int]:
        found: list[int] = []
        json.loads(json.dumps(case), parse_int=lambda digits: found.append(abs(int(digits))))
        return found

    for name in (*Algorithm, "edges"):
        for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]:
            assert (max(numbers(case)) < 2**53) == case.get("doubles", True), case["about"]


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


def play(core: ModuleType, limit: Limit, steps: list[tuple[int, int]]) -> tuple[State, list[tuple[int, int]]]:
    """The state after `steps`, and the time and cost of each admission."""
    state, admitted = State(), []
    for now_us, hits in steps:
        if core.spend(limit, state, hits, now_us).allowed and hits:
            admitted.append((state.updated_us, hits))
    return state, admitted


@both_cores
@given(runs())
def test_never_more_than_the_algorithm_promises(core: ModuleType, run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    _, admitted = play(core, limit, steps)
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


@both_cores
@given(runs(), st.integers(0, 25))
def test_a_refusal_lasts_exactly_as_long_as_it_says(
    core: ModuleType, run: tuple[Limit, list[tuple[int, int]]], hits: int
) -> None:
    limit, steps = run
    state, _ = play(core, limit, steps)
    now_us = steps[-1][0]
    decision = core.look(limit, state, hits, now_us)
    if decision.allowed:
        assert decision.retry_after_us == 0
        assert max(1, hits) <= decision.remaining
    elif decision.retry_after_us is None:
        assert max(1, hits) > limit.capacity
    else:
        assert decision.reset_after_us == decision.retry_after_us > 0
        assert core.look(limit, state, hits, now_us + decision.retry_after_us).allowed
        assert not core.look(limit, state, hits, now_us + decision.retry_after_us - 1).allowed


@both_cores
@given(runs(), st.integers(0, 10**7))
def test_what_is_admitted_now_is_admitted_later(
    core: ModuleType, run: tuple[Limit, list[tuple[int, int]]], wait_us: int
) -> None:
    limit, steps = run
    state, _ = play(core, limit, steps)
    now_us, hits = steps[-1]
    if core.look(limit, state, hits, now_us).allowed:
        assert core.look(limit, state, hits, now_us + wait_us).allowed


@both_cores
@given(runs())
def test_only_an_admission_changes_the_state(core: ModuleType, run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    state = State()
    for now_us, hits in steps:
        before = copy(state)
        seen = core.look(limit, state, hits, now_us)
        assert state == before
        decision = core.spend(limit, state, hits, now_us)
        assert decision.allowed == seen.allowed
        if decision.allowed:
            assert decision.remaining == seen.remaining - hits
            assert decision.remaining == core.look(limit, state, 0, now_us).remaining
            assert state.updated_us >= before.updated_us
        else:
            assert decision == seen
        if not decision.allowed or hits == 0:
            assert state == before


@both_cores
@given(runs())
def test_reset_is_when_the_bucket_is_full_or_the_window_over(
    core: ModuleType, run: tuple[Limit, list[tuple[int, int]]]
) -> None:
    limit, steps = run
    state = State()
    for now_us, hits in steps:
        decision = core.spend(limit, state, hits, now_us)
        if not decision.allowed:
            continue
        reset_us = now_us + decision.reset_after_us
        if limit.algorithm is not Algorithm.TOKEN_BUCKET:
            assert reset_us % limit.window_us == 0
        else:
            assert core.used(limit, core.at(limit, state, reset_us)) == 0
        if hits:
            assert core.used(limit, core.at(limit, state, reset_us - 1)) > 0


@both_cores
@given(runs(backwards=False))
def test_token_bucket_agrees_with_exact_fractions(core: ModuleType, run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    limit = Limit(Algorithm.TOKEN_BUCKET, limit.limit, limit.window_us, limit.burst)
    state, tokens, since_us = State(), Fraction(limit.capacity), steps[0][0]
    for now_us, hits in steps:
        tokens = min(Fraction(limit.capacity), tokens + Fraction(limit.limit * (now_us - since_us), limit.window_us))
        since_us = now_us
        decision = core.spend(limit, state, hits, now_us)
        assert decision.allowed == (max(1, hits) <= tokens)
        if decision.allowed:
            tokens -= hits
        assert decision.remaining == int(tokens)


@both_cores
@given(runs())
def test_a_state_fits_what_the_other_twins_hold(core: ModuleType, run: tuple[Limit, list[tuple[int, int]]]) -> None:
    limit, steps = run
    state, _ = play(core, limit, steps)
    assert 0 <= state.updated_us < 2**53
    assert 0 <= state.count <= limit.capacity
    assert 0 <= state.previous <= limit.capacity
    assert 0 <= state.fraction < limit.window_us


@both_cores
def test_a_changed_number_keeps_the_count(core: ModuleType) -> None:
    for algorithm in Algorithm:
        state = State()
        core.spend(Limit(algorithm, 10, 10**6), state, 8, START_US)
        assert core.look(Limit(algorithm, 20, 10**6), state, 0, START_US).remaining == 12
        assert core.look(Limit(algorithm, 5, 10**6), state, 0, START_US).remaining == 0


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


@both_cores
@pytest.mark.parametrize(
    ("held", "hits", "left"), [(State(), 2, 3), (State(), 9, 0), (State(0, 4), 1, 0), (State(0, 5), 1, 0)]
)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_cost_that_is_admitted_already_is_taken_as_far_as_there_is_something(
    core: ModuleType, algorithm: Algorithm, held: State, hits: int, left: int
) -> None:
    limit = Limit(algorithm, 5, 1000)
    state = copy(held)
    core.take(limit, state, hits, 0)
    assert core.look(limit, state, 0, 0).remaining == left


@both_cores
def test_what_has_come_back_of_a_token_is_taken_with_the_last_one(core: ModuleType) -> None:
    limit = Limit(Algorithm.TOKEN_BUCKET, 2, 1000)
    state = State(0, 2)
    core.take(limit, state, 2, 700)
    assert state == State(700, 2)
    # More is missing than the bucket holds, since its burst was lowered: left as it is.
    state = State(0, 9, fraction=300)
    core.take(limit, state, 1, 0)
    assert state == State(0, 9, fraction=300)


@both_cores
@given(st.sampled_from(Algorithm), st.data())
def test_the_stricter_of_two_admits_nothing_that_one_of_them_refuses(
    core: ModuleType, algorithm: Algorithm, data: st.DataObject
) -> None:
    limit = Limit(algorithm, 6, 100)

    def draw() -> State:
        state, now_us = State(), 0
        for gap_us, hits in data.draw(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 6)), max_size=4)):
            now_us += gap_us
            core.spend(limit, state, hits, now_us)
        return state

    one, other = draw(), draw()
    now_us = max(one.updated_us, other.updated_us)
    both = stricter(core.at(limit, one, now_us), core.at(limit, other, now_us))
    for gap_us, hits in data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), max_size=6)):
        now_us += gap_us
        if core.spend(limit, both, hits, now_us).allowed:
            assert core.spend(limit, one, hits, now_us).allowed
            assert core.spend(limit, other, hits, now_us).allowed


@both_cores
@given(runs(), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=10))
def test_a_refund_gives_back_what_is_counted_and_no_more(
    core: ModuleType, run: tuple[Limit, list[tuple[int, int]]], refunds: list[tuple[int, int]]
) -> None:
    limit, steps = run
    state, _ = play(core, limit, steps)
    now_us = steps[-1][0]
    for gap_us, hits in refunds:
        now_us += gap_us
        before = core.at(limit, state, now_us)
        core.give_back(limit, state, hits, now_us)
        assert state.count == max(0, before.count - hits)
        assert state.previous == before.previous
        assert state.updated_us == before.updated_us
        assert core.look(limit, state, 0, now_us).remaining <= limit.capacity


@both_cores
@given(st.lists(st.tuples(st.integers(-20, 20), st.sampled_from([0, 1, 40, 100, -30])), max_size=20))
def test_counting_counts_whatever_comes_of_it(core: ModuleType, steps: list[tuple[int, int]]) -> None:
    limit = Limit(Algorithm.FIXED_WINDOW, 10, 100)
    state, now_us, latest_us, total = State(), START_US, 0, 0
    for hits, gap_us in steps:
        now_us += gap_us
        if max(now_us, latest_us) // 100 != latest_us // 100:
            total = 0
        latest_us = max(now_us, latest_us)
        total = max(0, total + hits)
        decision = core.count(limit, state, hits, now_us)
        assert (decision.allowed, decision.remaining) == (total <= 10, max(0, 10 - total))
        assert now_us + decision.reset_after_us == (latest_us // 100 + 1) * 100


edges = st.one_of(st.integers(0, 3), st.integers(0, MAX), st.integers(MAX - 3, MAX), st.sampled_from([2**31, 2**53]))


@st.composite
def any_limits(draw: st.DrawFn) -> Limit:
    algorithm = draw(st.sampled_from(Algorithm))
    burst = draw(st.one_of(st.none(), edges.filter(bool))) if algorithm is Algorithm.TOKEN_BUCKET else None
    return Limit(algorithm, draw(edges), draw(edges.filter(bool)), burst)


@pytest.mark.skipif("compiled" not in CORES, reason="the compiled core is not there")
@given(
    st.lists(any_limits(), min_size=1, max_size=3),
    st.lists(
        st.tuples(st.sampled_from(["look", "spend", "take", "give_back", "count"]), edges, edges, st.booleans()),
        max_size=12,
    ),
    st.data(),
)
def test_twins_agree_at_the_ends_of_all_ranges(
    limits: list[Limit], steps: list[tuple[str, int, int, bool]], data: st.DataObject
) -> None:
    plain, compiled = State(), State()
    limits = [
        limit for limit in limits if (limit.algorithm, limit.window_us) == (limits[0].algorithm, limits[0].window_us)
    ]
    for operation, hits, now_us, negative in steps:
        limit = data.draw(st.sampled_from(limits))
        cost = -hits if operation == "count" and negative else hits
        answers = [
            getattr(core, operation)(limit, state, cost, now_us)
            for core, state in ((native.limits, plain), (CORES["compiled"], compiled))
        ]
        assert answers[0] == answers[1]
        assert plain == compiled
        assert min(plain.updated_us, plain.count, plain.previous, plain.fraction) >= 0
        assert max(plain.updated_us, plain.count, plain.previous, plain.fraction) <= MAX
        if answers[0] is not None:
            assert max(answers[0].remaining, answers[0].reset_after_us, answers[0].retry_after_us or 0) <= MAX


@both_cores
@pytest.mark.parametrize("operation", ["look", "spend", "take", "give_back", "count"])
@pytest.mark.parametrize(("hits", "now_us"), [(1, -1), (1, 2**63), (2**63, 0), (-(2**63), 0)])
def test_numbers_out_of_range_are_refused(core: ModuleType, operation: str, hits: int, now_us: int) -> None:
    state = State(count=1)
    with pytest.raises(OverflowError):
        getattr(core, operation)(Limit(Algorithm.FIXED_WINDOW, 5, 100), state, hits, now_us)
    assert state == State(count=1)


@both_cores
@pytest.mark.parametrize("operation", ["look", "spend", "take", "give_back"])
def test_a_negative_cost_is_refused(core: ModuleType, operation: str) -> None:
    with pytest.raises(OverflowError):
        getattr(core, operation)(Limit(Algorithm.FIXED_WINDOW, 5, 100), State(), -1, 0)


@pytest.mark.parametrize("numbers", [(2**63, 1, None), (1, 2**63, None), (1, 1, 2**63)])
def test_a_limit_refuses_numbers_that_no_twin_could_hold(numbers: tuple[int, int, int | None]) -> None:
    with pytest.raises(ValueError, match="must be at most"):
        Limit(Algorithm.TOKEN_BUCKET, *numbers)
