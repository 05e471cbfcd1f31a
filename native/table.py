"""The bounded table of counters in this process' memory.

A counter is known by a rule and the values of a request, of which the table keeps a 128-bit keyed hash: an entry has
the same size whatever a caller sends, and nobody without the seed can aim two requests at one counter.

When the table is full, a newcomer takes the place of the least used of the next few entries (CLOCK, Corbató 1968, with
the share of the limit in use in place of the reference bit): of a dead one, back at zero, if there is one, never of one
that has used half of its limit or more. If all of them have, newcomers of a rule share one overflow counter, under the
same limit, until there is room. So memory stays at its cap and an access looks at a fixed number of entries.

Nothing is forgiven. A counter that is given up alive leaves what it held to its rule's overflow counter, which becomes
at least as strict (`native.limits.stricter`), and every newcomer of that rule begins with what the overflow counter
holds. So whatever a client's own counter would refuse in a table without end, this table refuses: what one client is
admitted stays within the bounds of its limit's algorithm exactly, however many other keys are sent. It holds while a
rule's numbers stay as they are and time does not go back. The price is paid by the others, who may begin with less than
their whole limit: by evictions alone with more than half of it, or of a sliding window with some of it. And what would
be given back to an overflow counter stays counted there, since it may be another's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

from native.limits import Decision, Limit, State, at, check, give_back, look, stricter, take, used
from native.request import NOWHERE, Elsewhere, Question, Verdict, decide

DEFAULT_CAPACITY = 65_536
PROBES = 8
"""How many entries a newcomer looks at for one to replace; a table no larger than this is searched in full."""
ENTRY_BYTES = 700
"""About what a counter takes of Python's memory."""
SWEEP = 2
"""How many overflow counters a new one looks at for dead ones; more than one, so that they get fewer."""


class CounterKey(NamedTuple):
    """Names one counter: the rule's identity and the hash of rule and values.

    The counters of one rule have one algorithm and one window.
    """

    rule: tuple[str, ...]
    digest: bytes


@dataclass(slots=True)
class _Entry:
    key: CounterKey
    limit: Limit
    state: State


class Table:
    """At most `capacity` counters, and an overflow counter for each rule that needs one. Not safe for threads.

    Times are passed in, in microseconds since the epoch. `find` and `keep` are for the definitions and their tests; who
    only decides uses the other methods, which the compiled twin has too.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY, seed: bytes | None = None) -> None:
        if capacity < 1:
            raise ValueError("a table holds at least one counter")
        self._capacity = capacity
        self._seed = secrets.token_bytes(16) if seed is None else seed
        self._entries: dict[bytes, _Entry] = {}
        self._slots: list[_Entry] = []
        self._hand = 0
        self._overflow: dict[tuple[str, ...], tuple[Limit, State]] = {}
        self.overflows = 0
        """How many times a newcomer was sent to its rule's overflow counter."""
        self.evictions = 0
        """How many counters were given up alive, that is with part of their limit in use."""

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """The most counters that are held at a time."""
        return self._capacity

    @property
    def memory_bytes(self) -> int:
        """The most memory that the counters take, about."""
        return self._capacity * ENTRY_BYTES

    def key(self, rule: tuple[str, ...], values: Sequence[str]) -> CounterKey:
        """The key of the counter of `values` under `rule`; each text is hashed with its length."""
        digest = blake2b(digest_size=16, key=self._seed)
        for texts in (rule, values):
            digest.update(len(texts).to_bytes(4, "little"))
            for text in texts:
                data = text.encode()
                digest.update(len(data).to_bytes(4, "little") + data)
        return CounterKey(rule, digest.digest())

    def decide(self, questions: Sequence[Question], now_us: int, elsewhere: Elsewhere = NOWHERE) -> Verdict:
        """Decides on a request and charges what it has to: `native.request.decide`."""
        return decide(
            questions,
            now_us,
            lambda question: self.find(self.key(question.rule, question.values), now_us),
            lambda question: self._to_change(question, now_us),
            elsewhere,
        )

    def look(self, questions: Sequence[Question], now_us: int) -> tuple[Decision, ...]:
        """What each question by itself would be answered; charges nothing."""
        return tuple(
            look(q.limit, self.find(self.key(q.rule, q.values), now_us), max(0, q.hits), now_us) for q in questions
        )

    def take(self, questions: Sequence[Question], now_us: int) -> None:
        """Charges each question's hits, or what is left, whatever the limit says; negative ones are given back."""
        for q in questions:
            check(abs(q.hits), now_us)
        for q in questions:
            state = self._to_change(q, now_us)
            if q.hits < 0:
                give_back(q.limit, state, -q.hits, now_us)
            else:
                take(q.limit, state, q.hits, now_us)

    def reset(self, rule: tuple[str, ...], values: tuple[str, ...]) -> bool:
        """Forgets one counter; whether there was one. What newcomers of its rule share is kept."""
        entry = self._entries.get(self.key(rule, values).digest)
        if entry is None:
            return False
        entry.state = State()
        return True

    def limiter(self, rule: tuple[str, ...], limit: Limit) -> KeyedLimiter:
        """The shortest way to counters of one rule and one value each; they are those of `(rule, (key,))`."""
        return KeyedLimiter(self, rule, limit)

    def find(self, key: CounterKey, now_us: int) -> State:
        """The state to look at for `key`; adds no counter and removes none. To change the state, ask `keep` for it."""
        entry = self._entries.get(key.digest)
        if entry is not None:
            return entry.state
        if len(self._slots) < self._capacity or self._victim(now_us) is not None:
            return self._newcomer(key.rule, now_us)
        # The next newcomer looks at other entries.
        self._hand = (self._hand + PROBES) % len(self._slots)
        self.overflows += 1
        overflow = self._overflow.get(key.rule)
        return State() if overflow is None else overflow[1]

    def keep(self, key: CounterKey, limit: Limit, now_us: int) -> State:
        """The state to spend from for `key`, added to the table if it is not there."""
        entry = self._entries.get(key.digest)
        if entry is not None:
            entry.limit = limit
            return entry.state
        if len(self._slots) < self._capacity:
            entry = _Entry(key, limit, self._newcomer(key.rule, now_us))
            self._slots.append(entry)
        else:
            index = self._victim(now_us)
            if index is None:
                return self._spill(key.rule, limit, now_us)
            # Before the victim leaves what it held: that is not this newcomer's, and `find` did not count it either.
            entry = _Entry(key, limit, self._newcomer(key.rule, now_us))
            self._evict(self._slots[index], now_us)
            self._slots[index] = entry
            self._hand = (index + 1) % len(self._slots)
        self._entries[key.digest] = entry
        return entry.state

    def _to_change(self, question: Question, now_us: int) -> State:
        """The state that a question's hits go to; of what newcomers share a copy, if they are given back.

        What one gives back there may have been spent by another, who would be admitted it once more.
        """
        key = self.key(question.rule, question.values)
        state = self.keep(key, question.limit, now_us)
        return replace(state) if question.hits < 0 and key.digest not in self._entries else state

    def _victim(self, now_us: int) -> int | None:
        """Where the least used of the next entries stands; None if each of them has used half or more."""
        best: tuple[int, int, int] | None = None
        for step in range(min(PROBES, len(self._slots))):
            index = (self._hand + step) % len(self._slots)
            entry = self._slots[index]
            capacity = entry.limit.capacity
            in_use = _used(entry.limit, entry.state, now_us)
            if in_use == 0:
                return index
            # Shares of the limit, compared without division.
            if 2 * in_use < capacity and (best is None or in_use * best[1] < best[0] * capacity):
                best = (in_use, capacity, index)
        return None if best is None else best[2]

    def _evict(self, victim: _Entry, now_us: int) -> None:
        """Gives `victim` up; what it holds passes to its rule's overflow counter."""
        del self._entries[victim.key.digest]
        if _used(victim.limit, victim.state, now_us) == 0:
            return
        self.evictions += 1
        rule, limit = victim.key.rule, victim.limit
        overflow = self._overflow.get(rule)
        if overflow is None:
            self._add_overflow(rule, limit, at(limit, victim.state, now_us), now_us)
            return
        # If the rule's numbers have changed in between, by the slower of the two.
        slower = min(limit, overflow[0], key=lambda limit: limit.limit)
        # One time for both, also if the clock has gone back since one of them was changed.
        now_us = max(now_us, victim.state.updated_us, overflow[1].updated_us)
        self._overflow[rule] = (slower, stricter(at(*overflow, now_us), at(limit, victim.state, now_us)))

    def _newcomer(self, rule: tuple[str, ...], now_us: int) -> State:
        """A new counter's state: what the rule's overflow counter still holds, since this key may have spent it."""
        overflow = self._overflow.get(rule)
        return State() if overflow is None else at(*overflow, now_us)

    def _spill(self, rule: tuple[str, ...], limit: Limit, now_us: int) -> State:
        """The state of the rule's overflow counter, which is made if there is none."""
        overflow = self._overflow.get(rule)
        if overflow is None:
            state = State()
            self._add_overflow(rule, limit, state, now_us)
            return state
        self._overflow[rule] = (limit, overflow[1])
        return overflow[1]

    def _add_overflow(self, rule: tuple[str, ...], limit: Limit, state: State, now_us: int) -> None:
        """Adds an overflow counter, and clears away those among the oldest that have come back to zero."""
        for _ in range(min(SWEEP, len(self._overflow))):
            oldest = next(iter(self._overflow))
            overflow = self._overflow.pop(oldest)
            if _used(*overflow, now_us) > 0:
                self._overflow[oldest] = overflow
        self._overflow[rule] = (limit, state)


class KeyedLimiter:
    """One limit for each key: a table's counters of one rule.

    `now_us` is the time in microseconds since the epoch, as a steady clock has it where it is not given; a table that
    is asked with times of another clock too is better given all of them.
    """

    def __init__(self, table: Table, rule: tuple[str, ...], limit: Limit) -> None:
        self._table = table
        self._rule = rule
        self._limit = limit

    def spend(self, key: str, now_us: int | None = None, hits: int = 1) -> Decision:
        """Decides on `hits` and, if they are admitted, takes them; negative ones are given back."""
        return self._table.decide([self._question(key, hits)], _time(now_us)).decisions[0]

    def allow(self, key: str, now_us: int | None = None, hits: int = 1) -> bool:
        """Spends, and says no more than whether it was admitted."""
        return self.spend(key, now_us, hits).allowed

    def look(self, key: str, now_us: int | None = None, hits: int = 1) -> Decision:
        """What a spend would be answered; takes nothing."""
        return self._table.look([self._question(key, hits)], _time(now_us))[0]

    def take(self, key: str, now_us: int | None = None, hits: int = 1) -> None:
        """Takes `hits`, or what is left; negative ones are given back."""
        self._table.take([self._question(key, hits)], _time(now_us))

    def allow_many(self, keys: bytes, width: int, now_us: int | None = None, hits: int = 1) -> bytes:
        """Spends for each of many keys, one after the other: a byte for each, 1 if it was admitted and else 0.

        The keys stand one behind the other in UTF-8, each `width` bytes long. The compiled twin does it without the
        interpreter lock. Raises ValueError for keys of another width and for hits below 1.
        """
        if width < 1 or len(keys) % width or hits < 1:
            raise ValueError("keys are of one width, at least 1 byte, and their cost at least 1")
        texts = (keys[start : start + width].decode() for start in range(0, len(keys), width))
        now_us = _time(now_us)
        return bytes(self.allow(text, now_us, hits) for text in texts)

    def _question(self, key: str, hits: int) -> Question:
        return Question(self._rule, (key,), self._limit, hits)


def _elapsed_ns() -> int:
    # Counts while the machine sleeps too, where the system has such a clock.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


_EPOCH_NS = time.time_ns() - _elapsed_ns()


def _time(now_us: int | None) -> int:
    """The time of day at the start, carried on by a clock that nobody sets."""
    return (_EPOCH_NS + _elapsed_ns()) // 1000 if now_us is None else now_us


def _used(limit: Limit, state: State, now_us: int) -> int:
    return used(limit, at(limit, state, now_us))
