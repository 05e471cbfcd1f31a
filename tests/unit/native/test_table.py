"""The table: bounded, gives up what matters least, and forgives nothing that is over its limit."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native.table
from native.limits import Algorithm, Decision, Limit, State, at, spend, used
from native.request import Mode, Question
from native.table import PROBES, Table
from tests.unit.native.twins import TABLES, AnyTable, both_tables

NOW_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
RULE = ("waypost", "address", "")
LIMIT = Limit(Algorithm.FIXED_WINDOW, 3, SECOND_US)


def hit(
    table: AnyTable,
    value: str,
    hits: int = 1,
    *,
    rule: tuple[str, ...] = RULE,
    limit: Limit = LIMIT,
    now_us: int = NOW_US,
) -> Decision:
    """One request."""
    return table.decide([Question(rule, ("address", value), limit, hits)], now_us).decisions[0]


def left(table: AnyTable, value: str, rule: tuple[str, ...], limit: Limit, now_us: int = NOW_US) -> int:
    """What a request would find left."""
    return table.look([Question(rule, ("address", value), limit, 0)], now_us)[0].remaining


@both_tables
def test_counters_are_apart(make: type[AnyTable]) -> None:
    table = make()
    assert hit(table, "a", 3).remaining == 0
    assert hit(table, "b").remaining == 2
    assert hit(table, "a", rule=("other",)).remaining == 2
    assert not hit(table, "a").allowed
    assert len(table) == 3


@both_tables
def test_a_look_adds_nothing(make: type[AnyTable]) -> None:
    table = make(2)
    assert left(table, "a", RULE, LIMIT) == 3
    assert not hit(table, "b", 4).allowed
    assert len(table) == 0


def test_texts_do_not_run_together() -> None:
    table = Table(seed=b"seed")
    texts = [(("a",), ("b",)), (("a", "b"), ()), ((), ("a", "b")), (("ab",), ()), (("a",), ("", "b")), (("a\0b",), ())]
    assert len({table.key(rule, values).digest for rule, values in texts}) == len(texts)
    assert table.key(("a",), ("b",)) == Table(seed=b"seed").key(("a",), ("b",))
    assert table.key(("a",), ("b",)) != Table().key(("a",), ("b",))


@both_tables
def test_the_dead_go_first(make: type[AnyTable]) -> None:
    table = make(3)
    hit(table, "used", 1)
    hit(table, "dead", 3, now_us=NOW_US - SECOND_US)
    hit(table, "spent", 3)
    hit(table, "new")
    assert (len(table), table.evictions, table.overflows) == (3, 0, 0)
    assert hit(table, "used").remaining == 1
    assert not hit(table, "spent").allowed


@both_tables
def test_then_the_least_used(make: type[AnyTable]) -> None:
    table = make(3)
    wide = Limit(Algorithm.FIXED_WINDOW, 100, SECOND_US)
    hit(table, "one third", 1)
    hit(table, "four hundredths", 4, rule=("wide",), limit=wide)
    hit(table, "spent", 3)
    hit(table, "new", 2)
    assert (len(table), table.evictions, table.overflows) == (3, 1, 0)
    assert hit(table, "one third").remaining == 1
    assert not hit(table, "spent").allowed
    # Gone, but what it held is not: every newcomer of its rule is taken for it.
    assert left(table, "another", ("wide",), wide) == 96


@both_tables
def test_what_has_used_half_of_its_limit_is_kept(make: type[AnyTable]) -> None:
    limit = Limit(Algorithm.TOKEN_BUCKET, 4, 4 * SECOND_US)
    table = make(1)
    hit(table, "a", 3, limit=limit)
    later = NOW_US + SECOND_US
    # Not spent any more, by one token.
    assert hit(table, "b", limit=limit, now_us=later).allowed
    assert (table.evictions, table.overflows) == (0, 1)
    assert hit(table, "a", limit=limit, now_us=later).remaining == 1
    assert hit(table, "c", rule=("other",), now_us=later + 2 * SECOND_US).allowed
    assert table.evictions == 1


@both_tables
def test_the_strictest_of_those_given_up_counts(make: type[AnyTable]) -> None:
    wide = Limit(Algorithm.FIXED_WINDOW, 100, SECOND_US)
    table = make(1)
    for name, hits in (("a", 40), ("b", 2), ("c", 5)):
        hit(table, name, hits, limit=wide)
    # The largest, not the sum; c began with it, b before a was given up.
    assert (table.evictions, left(table, "d", RULE, wide)) == (2, 60)
    assert hit(table, "c", 0, limit=wide).remaining == 55
    assert left(table, "d", RULE, wide, NOW_US + SECOND_US) == 100


@both_tables
def test_newcomers_share_the_overflow_when_all_are_spent(make: type[AnyTable]) -> None:
    table = make(2)
    hit(table, "a", 3)
    hit(table, "b", 3)
    assert hit(table, "c", 2).remaining == 1
    assert hit(table, "d").remaining == 0
    assert not hit(table, "e").allowed
    assert (len(table), table.evictions, table.overflows) == (2, 0, 3)
    assert not hit(table, "a").allowed
    # Another rule has an overflow of its own.
    assert hit(table, "c", rule=("other",)).remaining == 2


@both_tables
def test_what_was_spent_in_the_overflow_counts_on_when_there_is_room_again(make: type[AnyTable]) -> None:
    slow = Limit(Algorithm.FIXED_WINDOW, 3, 60 * SECOND_US)
    table = make(1)
    hit(table, "a", 3, rule=("fast",))
    hit(table, "b", 3, limit=slow)
    later = NOW_US + SECOND_US
    assert not hit(table, "b", limit=slow, now_us=later).allowed
    assert hit(table, "b", limit=slow, now_us=NOW_US + 60 * SECOND_US).allowed


def test_an_overflow_that_is_over_is_forgotten() -> None:
    table = Table(1)
    hit(table, "a", 3)
    hit(table, "b", 3)
    hit(table, "a", 3, now_us=NOW_US + SECOND_US)
    assert hit(table, "b", 1, rule=("other",), now_us=NOW_US + SECOND_US).remaining == 2
    assert list(table._overflow) == [("other",)]


@both_tables
def test_a_changed_limit_applies_to_counters_that_exist(make: type[AnyTable]) -> None:
    table = make(1)
    hit(table, "a", 3)
    wider = Limit(Algorithm.FIXED_WINDOW, 5, SECOND_US)
    assert hit(table, "a", limit=wider).remaining == 1
    widest = Limit(Algorithm.FIXED_WINDOW, 11, SECOND_US)
    assert hit(table, "a", limit=widest).remaining == 6
    # By the numbers that it was charged under last, less than half is used.
    assert hit(table, "b").allowed
    assert table.evictions == 1


@both_tables
def test_what_is_given_up_comes_back_by_the_slower_of_two_limits(make: type[AnyTable]) -> None:
    fast, slow = (Limit(Algorithm.TOKEN_BUCKET, rate, SECOND_US, burst=10) for rate in (10, 1))
    table = make(1)
    hit(table, "a", 4, limit=fast)
    hit(table, "b", 1, limit=slow)
    assert hit(table, "c", limit=slow).allowed
    assert left(table, "d", RULE, slow, NOW_US + SECOND_US) == 7


def test_overflow_counters_that_are_over_do_not_pile_up() -> None:
    table = Table(1)
    hit(table, "a", 3, limit=Limit(Algorithm.FIXED_WINDOW, 3, 1_000_000 * SECOND_US))
    for number in range(100):
        hit(table, "b", rule=(str(number),), now_us=NOW_US + number * SECOND_US)
    assert len(table._overflow) == 1


def test_an_access_looks_at_a_fixed_number_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(1000)
    for number in range(1000):
        hit(table, str(number), 3)
    looks = 0

    def counting_at(limit: Limit, state: State, now_us: int) -> State:
        nonlocal looks
        looks += 1
        return at(limit, state, now_us)

    monkeypatch.setattr(native.table, "at", counting_at)
    for number in range(1000, 1100):
        looks = 0
        hit(table, str(number))
        assert looks <= 2 * PROBES + 2
    assert len(table) == 1000


def test_room_among_spent_entries_is_found_within_a_round() -> None:
    table = Table(10 * PROBES)
    for number in range(10 * PROBES):
        hit(table, str(number), 1 if number == 9 * PROBES else 3)
    limit = Limit(Algorithm.FIXED_WINDOW, 1000, SECOND_US)
    for number in range(8):
        hit(table, f"new {number}", rule=("wide",), limit=limit)
    assert (table.overflows, table.evictions) == (8, 0)
    hit(table, "new", rule=("wide",), limit=limit)
    assert table.evictions == 1
    # What the others have spent in the overflow is taken to be this newcomer's.
    assert hit(table, "new", rule=("wide",), limit=limit).remaining == 990


@both_tables
def test_a_table_holds_something(make: type[AnyTable]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        make(0)


@both_tables
@given(
    st.sampled_from(Algorithm),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60_000)), max_size=80),
)
def test_nothing_over_its_limit_is_forgiven(
    make: type[AnyTable], algorithm: Algorithm, capacity: int, requests: list[tuple[int, int]]
) -> None:
    limit = Limit(algorithm, 2, SECOND_US)
    table = make(capacity)
    barred_until_us: dict[int, int] = {}
    now_us = NOW_US
    for client, gap_us in requests:
        now_us += gap_us
        decision = hit(table, str(client), limit=limit, now_us=now_us)
        if now_us < barred_until_us.get(client, 0):
            assert not decision.allowed
        if not decision.allowed:
            assert decision.retry_after_us is not None
            barred_until_us[client] = now_us + decision.retry_after_us
        assert len(table) <= capacity


LIMITS = [
    Limit(Algorithm.FIXED_WINDOW, 4, SECOND_US),
    Limit(Algorithm.SLIDING_WINDOW, 5, SECOND_US),
    Limit(Algorithm.TOKEN_BUCKET, 5, SECOND_US, burst=9),
    Limit(Algorithm.TOKEN_BUCKET, 7, 3 * SECOND_US, burst=3),
]


@both_tables
@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from(LIMITS),
            st.integers(1, 3),
            st.sampled_from([0, 0, 0, 1000, 100_000, 150_000, 400_000]),
        ),
        min_size=30,
        max_size=60,
    ),
)
def test_a_client_is_admitted_nothing_that_a_counter_of_its_own_would_refuse(
    make: type[AnyTable], capacity: int, requests: list[tuple[int, Limit, int, int]]
) -> None:
    """The bound of the module's docstring: eviction forgives nothing, whoever sends what."""
    table = make(capacity)
    own: dict[tuple[int, Limit], State] = {}
    now_us = NOW_US
    for client, limit, hits, gap_us in requests:
        now_us += gap_us
        rule = (str(LIMITS.index(limit)),)
        if hit(table, str(client), hits, rule=rule, limit=limit, now_us=now_us).allowed:
            assert spend(limit, own.setdefault((client, limit), State()), hits, now_us).allowed
        assert len(table) <= capacity


@both_tables
@pytest.mark.parametrize("flooding_rule", [RULE, ("other",)])
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("spent", [1, 2, 3])
@pytest.mark.parametrize("wait_us", [0, 100_000, 150_000, 500_000])
def test_filling_the_table_gains_nothing(
    make: type[AnyTable], limit: Limit, flooding_rule: tuple[str, ...], spent: int, wait_us: int
) -> None:
    """An attacker spends, floods with other keys and spends again, over and over."""
    table = make(2 * PROBES)
    own = State()
    flood = 0
    for round_number in range(40):
        now_us = NOW_US + round_number * wait_us
        for _ in range(spent):
            if hit(table, "attacker", limit=limit, now_us=now_us).allowed:
                assert spend(limit, own, 1, now_us).allowed
        for _ in range(3 * PROBES):
            flood += 1
            hit(table, f"flood {flood}", rule=flooding_rule, limit=limit, now_us=now_us)
    assert used(limit, at(limit, own, NOW_US)) <= limit.capacity


@both_tables
def test_a_request_may_give_up_its_own_counters(make: type[AnyTable]) -> None:
    table = make(2)
    wide = Limit(Algorithm.FIXED_WINDOW, 100, SECOND_US)
    questions = [Question(RULE, (str(number),), wide, 5, number) for number in range(6)]
    assert table.decide(questions, NOW_US).admitted
    assert (len(table), table.evictions) == (2, 4)
    # What they held counts against whoever comes.
    assert left(table, "new", RULE, wide) <= 95
    assert table.decide([*questions, *questions], NOW_US).admitted
    assert not table.decide([question._replace(hits=100) for question in questions[:1]], NOW_US).admitted


@both_tables
def test_a_counter_that_is_reset_begins_afresh(make: type[AnyTable]) -> None:
    table = make()
    hit(table, "a", 3)
    assert table.reset(RULE, ("address", "a"))
    assert not table.reset(RULE, ("address", "b"))
    assert not table.reset(("unknown",), ("address", "a"))
    assert hit(table, "a", 3).allowed


@both_tables
def test_what_is_taken_is_charged_whatever_the_limit_says(make: type[AnyTable]) -> None:
    table = make()
    question = Question(RULE, ("address", "a"), LIMIT, 2)
    table.take([question, question], NOW_US)
    assert left(table, "a", RULE, LIMIT) == 0
    table.take([question._replace(hits=-1)], NOW_US)
    assert left(table, "a", RULE, LIMIT) == 1


@both_tables
def test_a_counter_in_the_overflow_counts_uncapped_in_reference_mode(make: type[AnyTable]) -> None:
    table = make(1)
    hit(table, "a", 3)
    question = Question(("reference",), ("b",), LIMIT, 5, mode=Mode.REFERENCE)
    assert not table.decide([question], NOW_US).admitted
    # Another newcomer meets the same counter, from which nothing is given back.
    for hits, remaining in ((-1, 0), (-4, 2), (-4, 2), (-1, 0)):
        verdict = table.decide([question._replace(hits=hits, values=("c",))], NOW_US)
        assert verdict.decisions[0].remaining == remaining


@both_tables
@pytest.mark.parametrize("way", ["decide", "take"])
def test_what_one_gives_back_to_the_overflow_counter_is_not_anothers(make: type[AnyTable], way: str) -> None:
    limit = Limit(Algorithm.FIXED_WINDOW, 10, SECOND_US)
    table = make(1)
    assert hit(table, "a", 4, limit=limit).allowed
    assert hit(table, "b", 9, limit=limit).allowed
    assert (table.evictions, table.overflows) == (1, 0)
    back = [Question(RULE, ("address", "c"), limit, -10)]
    assert table.decide(back, NOW_US).admitted if way == "decide" else table.take(back, NOW_US) is None
    assert sum(hit(table, "a", limit=limit).allowed for _ in range(10)) == 6
    # A counter of one's own is given back to.
    assert table.decide([back[0]._replace(values=("address", "b"))], NOW_US).decisions[0].remaining == 10


@both_tables
def test_a_table_knows_its_size(make: type[AnyTable]) -> None:
    table = make(1000)
    assert table.capacity == 1000
    assert 48_000 < table.memory_bytes < 1_000_000
    with pytest.raises(TypeError):
        make("many")  # type: ignore[arg-type]


@given(st.integers(0, 2**32))
def test_a_full_compiled_table_forgives_nothing(seed: int) -> None:
    """As above, in a table of several groups, in which most keys have nowhere to go."""
    if "compiled" not in TABLES:
        pytest.skip("the compiled core is not there")
    random = Random(seed)
    table = TABLES["compiled"](40)
    own: dict[tuple[int, int], State] = {}
    now_us = NOW_US
    for _ in range(400):
        now_us += random.choice([0, 0, 0, 1000, 50_000])
        client, kind = random.randrange(30), random.randrange(len(LIMITS))
        value = f"{client}" if random.random() < 0.5 else f"flood {random.random()}"
        hits = random.randint(1, 3)
        if hit(table, value, hits, rule=(str(kind),), limit=LIMITS[kind], now_us=now_us).allowed and value.isdigit():
            assert spend(LIMITS[kind], own.setdefault((client, kind), State()), hits, now_us).allowed
        assert len(table) <= 40
