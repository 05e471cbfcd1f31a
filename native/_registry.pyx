"""Numbers for the rules and limits that a table's counters refer to.

An entry of the table has four bytes for each. When the registry is full, numbers that nothing refers to any more are
given to others, and it grows if that frees less than half of them: rules that a reload dropped do not stay for ever.
"""

from sys import getsizeof

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from native._counters cimport used_at
from native._limits cimport CLimit, limit_of
from native._slots cimport (
    GROUP,
    CEntry,
    CHeldLimit,
    CRule,
    CShard,
    CState,
    CTable,
    hash128_t,
    lowest_bit,
    siphash,
    spin_lock,
    spin_unlock,
    tags_equal,
)


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef enum:
    FIRST_ROOM = 64
    SEEN = 256
    # Bytes of CPython's objects, as its allocator hands them out.
    INTEGER = 32
    TUPLE_OF_FOUR = 96


cdef class _Pair:
    """A rule and a limit that were registered, and their indices."""

    cdef object rule
    cdef object limit
    cdef uint32_t rule_index
    cdef uint32_t limit_index


@cython.no_gc_clear
cdef class Registry:
    def __cinit__(self):
        self._rules = {}
        self._limits = {}
        self._free_rules = []
        self._free_limits = []
        self._seen = [None] * SEEN

    cdef int begin(self, CTable *table, hash128_t seed) except -1:
        """Serves `table`, which frees the arrays that are made for it."""
        self._table = table
        self._seed = seed
        self._grow_rules()
        self._grow_limits()
        # Stands for "none" in the table.
        self._free_limits.remove(0)
        return 0

    cdef int pin(
        self, object rule, object limit, int64_t now_us, uint32_t *rule_index, uint32_t *limit_index
    ) except -1:
        """Sets the indices of a rule and a limit, which nobody else gets before they are unpinned."""
        cdef uint64_t place = (<uintptr_t> <void *> rule >> 4) * 31 + (<uintptr_t> <void *> limit >> 4)
        cdef object seen = self._seen[place % SEEN]
        cdef _Pair pair
        if seen is not None:
            pair = <_Pair> seen
            if pair.rule is rule and pair.limit is limit:
                rule_index[0] = pair.rule_index
                limit_index[0] = pair.limit_index
                self._table.rules[pair.rule_index].pins += 1
                self._table.limits[pair.limit_index].pins += 1
                return 0
        pair = _Pair.__new__(_Pair)
        pair.rule = rule
        pair.limit = limit
        pair.rule_index = self._register_rule(rule, now_us)
        # At once: making room for the limit may free what is not pinned.
        self._table.rules[pair.rule_index].pins += 1
        try:
            pair.limit_index = self._register_limit(limit, now_us)
        except BaseException:
            self._table.rules[pair.rule_index].pins -= 1
            raise
        self._table.limits[pair.limit_index].pins += 1
        self._seen[place % SEEN] = pair
        rule_index[0] = pair.rule_index
        limit_index[0] = pair.limit_index
        return 0

    cdef void unpin(self, uint32_t rule_index, uint32_t limit_index) noexcept:
        self._table.rules[rule_index].pins -= 1
        self._table.limits[limit_index].pins -= 1

    cdef object rule_index(self, object rule):
        """None if the rule is not registered."""
        return self._rules.get(rule)

    cdef size_t size(self) noexcept:
        """Bytes of the arrays, and of the objects by which numbers are found; the names of rules are the rules' own."""
        cdef size_t arrays = self._rule_room * sizeof(CRule) + self._limit_room * sizeof(CHeldLimit)
        cdef size_t indices = <size_t> (self._rule_room + self._limit_room) * INTEGER
        cdef size_t names = len(self._limits) * (TUPLE_OF_FOUR + 2 * INTEGER)
        cdef size_t containers = (
            getsizeof(self._rules)
            + getsizeof(self._limits)
            + getsizeof(self._free_rules)
            + getsizeof(self._free_limits)
        )
        return arrays + indices + names + containers

    cdef uint32_t _register_rule(self, object rule, int64_t now_us) except? 0xffffffff:
        cdef hash128_t digest = self._seed
        cdef CRule *held
        cdef uint32_t index
        known = self._rules.get(rule)
        if known is None and not self._free_rules:
            self._make_room(now_us)
            # Which may have let another thread in before it began.
            known = self._rules.get(rule)
        if known is not None:
            return known
        hash_texts(&digest, rule)
        index = self._free_rules.pop()
        held = self._table.rules + index
        held.digest = digest
        held.overflow = CState(0, 0, 0)
        held.overflow_limit = 0
        held.pins = 0
        self._rules[rule] = index
        return index

    cdef uint32_t _register_limit(self, object limit, int64_t now_us) except? 0xffffffff:
        cdef uint32_t index
        cdef CLimit c_limit = limit_of(limit)
        # Of plain numbers: the hash of an algorithm runs Python, which may let another thread in.
        cdef tuple numbers = (c_limit.algorithm, c_limit.limit, c_limit.window_us, c_limit.burst)
        known = self._limits.get(numbers)
        if known is None and not self._free_limits:
            self._make_room(now_us)
            known = self._limits.get(numbers)
        if known is not None:
            return known
        index = self._free_limits.pop()
        self._table.limits[index].limit = c_limit
        self._table.limits[index].pins = 0
        self._limits[numbers] = index
        return index

    cdef int _make_room(self, int64_t now_us) except -1:
        """Frees what nothing refers to; then grows what is still more than half full."""
        cdef list rules_dropped = []
        cdef list limits_dropped = []
        cdef bytearray rules_used, limits_used
        cdef uint8_t *limit_marks
        self._seen = [None] * SEEN
        # From here on nothing is made that the collector tracks, and the interpreter lock is held: whoever was let in
        # between might pin, or refer to, what is about to be dropped.
        rules_used = bytearray(self._rule_room)
        limits_used = bytearray(self._limit_room)
        limit_marks = <uint8_t *> <char *> limits_used
        limit_marks[0] = 1
        lock_all(self._table)
        mark_used(
            self._table, <uint8_t *> <char *> rules_used, self._rule_room, limit_marks, self._limit_room, now_us
        )
        unlock_all(self._table)
        _drop_unused(self._rules, self._free_rules, rules_used, rules_dropped)
        _drop_unused(self._limits, self._free_limits, limits_used, limits_dropped)
        if 2 * len(self._free_rules) < self._rule_room:
            self._grow_rules()
        if 2 * len(self._free_limits) < self._limit_room:
            self._grow_limits()
        return 0

    cdef int _grow_rules(self) except -1:
        cdef CRule *old = self._table.rules
        cdef uint32_t room = max(<uint32_t> FIRST_ROOM, 2 * self._rule_room)
        cdef CRule *rules = <CRule *> calloc(room, sizeof(CRule))
        if rules == NULL:
            raise MemoryError
        lock_all(self._table)
        if old != NULL:
            memcpy(rules, old, self._rule_room * sizeof(CRule))
        self._table.rules = rules
        unlock_all(self._table)
        free(old)
        self._free_rules += range(room - 1, <int64_t> self._rule_room - 1, -1)
        self._rule_room = room
        return 0

    cdef int _grow_limits(self) except -1:
        cdef CHeldLimit *old = self._table.limits
        cdef uint32_t room = max(<uint32_t> FIRST_ROOM, 2 * self._limit_room)
        cdef CHeldLimit *limits = <CHeldLimit *> calloc(room, sizeof(CHeldLimit))
        if limits == NULL:
            raise MemoryError
        lock_all(self._table)
        if old != NULL:
            memcpy(limits, old, self._limit_room * sizeof(CHeldLimit))
        self._table.limits = limits
        unlock_all(self._table)
        free(old)
        self._free_limits += range(room - 1, <int64_t> self._limit_room - 1, -1)
        self._limit_room = room
        return 0


cdef int _drop_unused(dict indices, list freed, bytearray used, list dropped) except -1:
    """`dropped` is empty, and left with the names."""
    for name, index in indices.items():
        if not used[index]:
            dropped.append(name)
            freed.append(index)
    for name in dropped:
        del indices[name]
    return 0


def digest(texts, bytes seed not None):
    """For tests: what names the counters of a rule under a seed of 16 bytes."""
    cdef hash128_t words
    words.low = int.from_bytes(seed[:8], "little")
    words.high = int.from_bytes(seed[8:16], "little")
    hash_texts(&words, texts)
    return words.low.to_bytes(8, "little") + words.high.to_bytes(8, "little")


cdef int hash_texts(hash128_t *digest, object texts) except -1:
    """Carries `digest` on over `texts`: each is hashed with how many follow, under a key that those before it give."""
    cdef Py_ssize_t left = len(texts)
    cdef Py_ssize_t length
    cdef const char *data
    if left == 0:
        digest[0] = siphash(digest[0], 0, NULL, 0)
    for text in texts:
        data = PyUnicode_AsUTF8AndSize(text, &length)
        digest[0] = siphash(digest[0], left, data, length)
        left -= 1
    return 0


cdef void lock_all(CTable *table) noexcept nogil:
    cdef uint32_t shard
    for shard in range(table.shard_count):
        spin_lock(&table.shards[shard].lock)
    spin_lock(&table.newcomers)


cdef void unlock_all(CTable *table) noexcept nogil:
    cdef uint32_t shard
    spin_unlock(&table.newcomers)
    for shard in range(table.shard_count):
        spin_unlock(&table.shards[shard].lock)


cdef void mark_used(
    CTable *table, uint8_t *rules, uint32_t rule_room, uint8_t *limits, uint32_t limit_room, int64_t now_us
) noexcept nogil:
    """Marks what entries, overflow counters and pins refer to; drops overflow counters that are over."""
    cdef const CShard *shard
    cdef const CEntry *entry
    cdef CRule *rule
    cdef uint32_t number, taken
    cdef uint64_t group
    for number in range(table.shard_count):
        shard = table.shards + number
        for group in range(table.groups):
            taken = ~tags_equal(shard.tags + group * GROUP, 0) & 0xffff
            while taken:
                entry = shard.entries + group * GROUP + lowest_bit(taken)
                taken &= taken - 1
                rules[entry.rule] = 1
                limits[entry.limit] = 1
    for number in range(rule_room):
        rule = table.rules + number
        if rule.overflow_limit != 0:
            if used_at(table, rule.overflow_limit, &rule.overflow, now_us) == 0:
                rule.overflow_limit = 0
            else:
                rules[number] = 1
                limits[rule.overflow_limit] = 1
        if rule.pins:
            rules[number] = 1
    for number in range(limit_room):
        if table.limits[number].pins:
            limits[number] = 1
