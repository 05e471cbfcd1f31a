"""The compiled twin of `native.table`: the same answers, from bounded memory.

An entry has 48 bytes, and there are 5 slots for each 4 counters: 62 bytes a counter, which become real as they are
used. Each different limit that counters are held to takes some 300 bytes more, as long as one is: few where rules say
what the limits are, and at most as many as counters where requests do. Which counter is given up may differ from the
plain table's choice. Safe for threads, also for those without the interpreter lock (`native/_table.pxd`).
"""

import secrets
from hashlib import blake2b

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from native._limits cimport decision_of
from native._registry cimport Registry, hash_texts
from native._request cimport (
    CElsewhere,
    CQuestion,
    decide_request,
    look_only,
    take_all,
)
from native._slots cimport (
    GROUP,
    CEntry,
    CShard,
    find_entry,
    hash128_t,
    pages_map,
    pages_unmap,
    shard_of,
    spin_lock,
    spin_unlock,
)

from native.request import NOWHERE, Verdict
from native.table import DEFAULT_CAPACITY as _DEFAULT_CAPACITY


cdef extern from "named.h":
    object make_verdict(object cls, bint admitted, object decisions)


cdef enum:
    FEW = 8
    MOST_SHARDS = 64
    SHARD_CAPACITY = 16_384


cdef int64_t check_time(int64_t number) except -1:
    if number < 0:
        raise OverflowError("times are from 0 to 2**63 - 1")
    return number


# A collector that cleared it before the limiters that are made of it would leave those nothing to unpin from.
@cython.no_gc_clear
cdef class Table:
    def __cinit__(self, capacity=_DEFAULT_CAPACITY, seed=None):
        if capacity < 1:
            raise ValueError("a table holds at least one counter")
        if capacity > 2**40:
            raise MemoryError
        self._allocate(capacity)
        cdef bytes key = blake2b(secrets.token_bytes(16) if seed is None else seed, digest_size=16).digest()
        cdef hash128_t words
        words.low = int.from_bytes(key[:8], "little")
        words.high = int.from_bytes(key[8:], "little")
        self.registry = Registry.__new__(Registry)
        self.registry.begin(&self.table, words)

    cdef int _allocate(self, int64_t capacity) except -1:
        """One shard for small tables, so that all of their room can be used by any key."""
        cdef uint32_t shards = 1
        cdef uint32_t index
        cdef uint64_t slots
        cdef uint8_t *tags
        cdef CEntry *entries
        while shards < MOST_SHARDS and 2 * shards * SHARD_CAPACITY <= capacity:
            shards *= 2
        # A quarter more than counters, in whole groups.
        self.table.groups = (capacity + capacity // 4 + GROUP * shards - 1) // (GROUP * shards)
        self.table.capacity = capacity
        self.table.shards = <CShard *> calloc(shards, sizeof(CShard))
        if self.table.shards == NULL:
            raise MemoryError
        self.table.shard_count = shards
        slots = <uint64_t> self.table.groups * GROUP
        self.tags_size = slots * shards
        self.entries_size = slots * shards * sizeof(CEntry)
        tags = <uint8_t *> pages_map(self.tags_size)
        entries = <CEntry *> pages_map(self.entries_size)
        for index in range(shards):
            self.table.shards[index].tags = tags + index * slots if tags != NULL else NULL
            self.table.shards[index].entries = entries + index * slots if entries != NULL else NULL
        if tags == NULL or entries == NULL:
            raise MemoryError
        return 0

    def __dealloc__(self):
        if self.table.shards != NULL:
            pages_unmap(self.table.shards[0].tags, self.tags_size)
            pages_unmap(self.table.shards[0].entries, self.entries_size)
        free(self.table.shards)
        free(self.table.rules)
        free(self.table.limits)

    def __len__(self):
        return self.table.length

    @property
    def capacity(self):
        return self.table.capacity

    @property
    def overflows(self):
        return self.table.overflows

    @property
    def evictions(self):
        return self.table.evictions

    @property
    def memory_bytes(self):
        return (
            self.tags_size + self.entries_size + self.table.shard_count * sizeof(CShard) + self.registry.size()
        )

    def decide(self, questions, int64_t now_us, elsewhere=NOWHERE):
        cdef CQuestion few[FEW]
        cdef CQuestion *asked = few
        cdef Py_ssize_t count = 0
        cdef bint admitted
        cdef CElsewhere others = CElsewhere(0, 0, False)
        if elsewhere is not NOWHERE:
            others.refused, others.quotas, others.quotas_refusing = elsewhere
        questions = tuple(questions)
        try:
            asked = self._ask(questions, few, &count, now_us)
            admitted = decide_request(&self.table, asked, count, now_us, others)
            return make_verdict(Verdict, admitted, _decisions(asked, count))
        finally:
            self._release(asked, few, count)

    def look(self, questions, int64_t now_us):
        cdef CQuestion few[FEW]
        cdef CQuestion *asked = few
        cdef Py_ssize_t count = 0
        questions = tuple(questions)
        try:
            asked = self._ask(questions, few, &count, now_us)
            look_only(&self.table, asked, count, now_us)
            return _decisions(asked, count)
        finally:
            self._release(asked, few, count)

    def take(self, questions, int64_t now_us):
        cdef CQuestion few[FEW]
        cdef CQuestion *asked = few
        cdef Py_ssize_t count = 0
        questions = tuple(questions)
        try:
            asked = self._ask(questions, few, &count, now_us)
            take_all(&self.table, asked, count, now_us)
        finally:
            self._release(asked, few, count)

    def decide_without_gil(self, questions, int64_t now_us, int64_t times):
        cdef CQuestion few[FEW]
        cdef CQuestion *asked = few
        cdef Py_ssize_t count = 0
        cdef int64_t admitted = 0
        questions = tuple(questions)
        try:
            asked = self._ask(questions, few, &count, now_us)
            with nogil:
                for _ in range(times):
                    admitted += decide_request(&self.table, asked, count, now_us, CElsewhere(0, 0, False))
            return admitted
        finally:
            self._release(asked, few, count)

    def reset(self, tuple rule not None, tuple values not None):
        cdef CEntry *entry
        cdef CShard *shard
        cdef hash128_t key
        index = self.registry.rule_index(rule)
        if index is None:
            return False
        key = self.table.rules[<uint32_t> index].digest
        hash_texts(&key, values)
        shard = self.table.shards + shard_of(&self.table, &key)
        spin_lock(&shard.lock)
        entry = find_entry(&self.table, &key)
        if entry != NULL:
            memset(&entry.state, 0, sizeof(entry.state))
        spin_unlock(&shard.lock)
        return entry != NULL

    def limiter(self, tuple rule not None, limit):
        # Which is made of this module.
        from native._keyed import KeyedLimiter

        return KeyedLimiter(self, rule, limit)

    cdef CQuestion *_ask(
        self, tuple questions, CQuestion *few, Py_ssize_t *count, int64_t now_us
    ) except NULL:
        """These questions, with their rules and limits pinned; `count` is how many are, also if one is wrong."""
        cdef CQuestion *asked = few
        cdef CQuestion *one
        check_time(now_us)
        if len(questions) > FEW:
            asked = <CQuestion *> PyMem_Malloc(len(questions) * sizeof(CQuestion))
            if asked == NULL:
                raise MemoryError
        try:
            for question in questions:
                one = asked + count[0]
                if not isinstance(question, tuple):
                    raise TypeError("questions are native.request.Question")
                rule, values, limit, hits, descriptor, mode = <tuple> question
                one.hits = hits
                one.descriptor = descriptor
                one.mode = mode
                if one.hits < -INT64_MAX:
                    raise OverflowError("hits are from -(2**63 - 1) to 2**63 - 1")
                self.registry.pin(rule, limit, now_us, &one.rule, &one.limit)
                count[0] += 1
                one.key = self.table.rules[one.rule].digest
                hash_texts(&one.key, values)
        except BaseException:
            self._release(asked, few, count[0])
            count[0] = 0
            raise
        return asked

    cdef int _release(self, CQuestion *asked, CQuestion *few, Py_ssize_t count) except -1:
        cdef Py_ssize_t index
        for index in range(count):
            self.registry.unpin(asked[index].rule, asked[index].limit)
        if asked != few:
            PyMem_Free(asked)
        return 0


cdef tuple _decisions(CQuestion *asked, Py_ssize_t count):
    cdef tuple decisions = PyTuple_New(count)
    cdef Py_ssize_t index
    for index in range(count):
        decision = decision_of(&asked[index].decision)
        Py_INCREF(decision)
        PyTuple_SET_ITEM(decisions, index, decision)
    return decisions
