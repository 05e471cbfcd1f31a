"""What a request was charged here is given back when the store refuses it, and not a token more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import Table
from native.limits import Algorithm, Limit
from native.request import Question
from ratelimiter.mixed import LocalPart

SECOND_US = 1_000_000
START_US = 1_700_000_000_000_000
RULE, VALUES = ("test", "bucket"), ("value",)


class World:
    """One bucket, what others take from it, and requests that wait for the store."""

    def __init__(self, limit: Limit) -> None:
        self.now_us = START_US
        self.limit = limit
        self.table = Table()
        self.admitted: list[tuple[int, int]] = []
        """When others were admitted, and how many hits."""

    def spend(self, hits: int = 1) -> bool:
        allowed = self.table.decide([self.question(hits)], self.now_us).admitted
        if allowed:
            self.admitted.append((self.now_us, hits))
        return allowed

    def charge(self, *hits: int) -> LocalPart:
        part = LocalPart(self.table, lambda: self.now_us, [self.question(one, at) for at, one in enumerate(hits)])
        part.charge(quota_elsewhere=False)
        return part

    def question(self, hits: int, descriptor: int = 0) -> Question:
        return Question(RULE, VALUES, self.limit, hits, descriptor)

    @property
    def left(self) -> int:
        return self.table.look([self.question(0)], self.now_us)[0].remaining

    def most_above_the_bound(self) -> int:
        """By how much the worst span is above `burst + limit * span / window` hits; in parts of a token."""
        limit, worst = self.limit, 0
        for first, (since_us, _) in enumerate(self.admitted):
            hits = 0
            for until_us, more in self.admitted[first:]:
                hits += more
                bound = limit.capacity * limit.window_us + limit.limit * (until_us - since_us)
                worst = max(worst, hits * limit.window_us - bound)
        return worst


def bucket(per_second: int, burst: int) -> Limit:
    return Limit(Algorithm.TOKEN_BUCKET, per_second, SECOND_US, burst)


def test_a_part_of_a_token_that_came_back_is_not_given_back_with_the_rest() -> None:
    world = World(bucket(1, 2))
    part = world.charge(1)
    world.now_us += SECOND_US // 2
    assert world.spend()
    # Half of the request's token is back, and the bucket would have been full without it: half of it is nobody's.
    part.settle(admitted=False)
    assert not world.spend()
    world.now_us += SECOND_US // 2
    assert world.spend()
    world.now_us += SECOND_US
    assert world.spend()
    assert not world.spend()
    assert world.most_above_the_bound() == 0


def test_a_token_that_had_begun_to_come_back_before_the_request_counts_as_begun() -> None:
    world = World(bucket(1, 4))
    assert world.spend(2)
    world.now_us += SECOND_US * 9 // 10
    # One tenth of a token, and one, are still missing of what others took.
    part = world.charge(2)
    world.now_us += SECOND_US * 12 // 10
    assert world.spend(1)
    # Without the request the bucket was full a tenth of a second ago: of its two tokens 1.9 are missing.
    part.settle(admitted=False)
    assert world.left == 2
    assert not world.spend(3)


@pytest.mark.parametrize("later_us", [0, 1, SECOND_US // 2, 3 * SECOND_US // 2, 9 * SECOND_US])
def test_where_nobody_else_spends_a_refused_request_costs_nothing(later_us: int) -> None:
    for hits in ((3,), (1, 2), (2, 1)):
        world, untouched = World(bucket(1, 5)), World(bucket(1, 5))
        for one in (world, untouched):
            assert one.spend(1)
            one.now_us += 7
        part = world.charge(*hits)
        for one in (world, untouched):
            one.now_us += later_us
        part.settle(admitted=False)
        assert world.left == untouched.left
        # And to the microsecond.
        waits = [one.table.look([one.question(5)], one.now_us)[0].retry_after_us for one in (world, untouched)]
        assert waits[0] == waits[1]


gaps = st.one_of(st.integers(0, 5), st.integers(0, 2 * SECOND_US))


@given(
    per_second=st.integers(1, 7),
    burst=st.integers(1, 6),
    before=st.integers(0, 6),
    charged=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    taken=st.lists(st.tuples(gaps, st.integers(1, 3)), max_size=3),
    wait_us=gaps,
)
def test_others_never_get_more_than_their_bucket_holds(
    per_second: int, burst: int, before: int, charged: list[int], taken: list[tuple[int, int]], wait_us: int
) -> None:
    world = World(bucket(per_second, burst))
    if before:
        world.spend(before)
    world.now_us += wait_us
    part = world.charge(*charged)
    for gap_us, hits in taken:
        world.now_us += gap_us
        world.spend(hits)
    part.settle(admitted=False)
    # As much as others can get from then on.
    for _ in range(3):
        while world.spend():
            pass
        world.now_us += world.table.look([world.question(1)], world.now_us)[0].retry_after_us or 0
    assert world.most_above_the_bound() <= 0
