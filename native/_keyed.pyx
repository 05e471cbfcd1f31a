"""The compiled twin of `native.table.KeyedLimiter`: one limit for each key, by the shortest way."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint8_t

from native._limits cimport decision_of
from native._request cimport CElsewhere, CQuestion, allowed_by_one, decide_request, look_only, spend_from_one, take_all
from native._slots cimport (
    CTable,
    elapsed_us,
    hash128_t,
    prefetch_counter,
    prefetch_entry,
    prefetch_tags,
    siphash,
    wall_us,
)
from native._table cimport Table, check_time


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef enum:
    BATCH = 32


# As a steady clock has it: the time of day at the start, carried on by a clock that nobody sets.
cdef int64_t _epoch_us = wall_us() - elapsed_us()


cdef int64_t _time(object now_us) except -1:
    if now_us is None:
        return _epoch_us + elapsed_us()
    return check_time(now_us)


@cython.no_gc_clear
cdef class KeyedLimiter:
    def __cinit__(self, Table table not None, tuple rule not None, limit):
        table.registry.pin(rule, limit, _time(None), &self._rule, &self._limit)
        self._table = table
        self._digest = table.table.rules[self._rule].digest

    def __dealloc__(self):
        if self._table is not None:
            self._table.registry.unpin(self._rule, self._limit)

    cdef int _ask(self, CQuestion *question, str key, int64_t hits) except -1:
        cdef Py_ssize_t length
        cdef const char *text = PyUnicode_AsUTF8AndSize(key, &length)
        if hits < -INT64_MAX:
            raise OverflowError("hits are from -(2**63 - 1) to 2**63 - 1")
        question.key = siphash(self._digest, 1, text, length)
        prefetch_counter(&self._table.table, &question.key)
        question.rule = self._rule
        question.limit = self._limit
        question.hits = hits
        question.descriptor = 0
        question.mode = 0
        return 0

    def spend(self, str key not None, now_us=None, int64_t hits=1):
        cdef CQuestion question
        # Before the time, which is read while memory is fetched.
        self._ask(&question, key, hits)
        cdef int64_t time_us = _time(now_us)
        if hits >= 0:
            question.decision = spend_from_one(&self._table.table, &question, time_us)
        else:
            decide_request(&self._table.table, &question, 1, time_us, CElsewhere(0, 0, False))
        return decision_of(&question.decision)

    def allow(self, str key not None, now_us=None, int64_t hits=1):
        cdef CQuestion question
        # Before the time, which is read while memory is fetched.
        self._ask(&question, key, hits)
        cdef int64_t time_us = _time(now_us)
        if hits > 0:
            return allowed_by_one(&self._table.table, &question, time_us)
        return decide_request(&self._table.table, &question, 1, time_us, CElsewhere(0, 0, False))

    def look(self, str key not None, now_us=None, int64_t hits=1):
        cdef CQuestion question
        # Before the time, which is read while memory is fetched.
        self._ask(&question, key, hits)
        cdef int64_t time_us = _time(now_us)
        look_only(&self._table.table, &question, 1, time_us)
        return decision_of(&question.decision)

    def take(self, str key not None, now_us=None, int64_t hits=1):
        cdef CQuestion question
        # Before the time, which is read while memory is fetched.
        self._ask(&question, key, hits)
        cdef int64_t time_us = _time(now_us)
        take_all(&self._table.table, &question, 1, time_us)

    def allow_many(self, bytes keys not None, Py_ssize_t width, now_us=None, int64_t hits=1):
        cdef CQuestion question
        cdef int64_t time_us = _time(now_us)
        if width < 1 or len(keys) % width or hits < 1:
            raise ValueError("keys are of one width, at least 1 byte, and their cost at least 1")
        cdef CKeys texts = CKeys(PyBytes_AS_STRING(keys), width, len(keys) // width)
        cdef bytes allowed = PyBytes_FromStringAndSize(NULL, texts.count)
        cdef uint8_t *answers = <uint8_t *> PyBytes_AS_STRING(allowed)
        self._ask(&question, "", hits)
        with nogil:
            _allow_many(&self._table.table, self._digest, &question, &texts, time_us, answers)
        return allowed


cdef struct CKeys:
    # Texts of one width, one behind the other.
    const char *start
    Py_ssize_t width
    Py_ssize_t count


cdef Py_ssize_t _hash_batch(
    const CTable *table, hash128_t digest, const CKeys *keys, Py_ssize_t first, hash128_t *hashes
) noexcept nogil:
    """Hashes the next keys from `first` on, has their tags fetched, and returns how many there were."""
    cdef Py_ssize_t size = min(<Py_ssize_t> BATCH, keys.count - first)
    cdef Py_ssize_t index
    for index in range(size):
        hashes[index] = siphash(digest, 1, keys.start + (first + index) * keys.width, keys.width)
        prefetch_tags(table, &hashes[index])
    return size


cdef void _allow_many(
    CTable *table, hash128_t digest, CQuestion *question, const CKeys *keys, int64_t now_us, uint8_t *answers
) noexcept nogil:
    """In batches: while the entries of one are fetched from memory, the next one is hashed."""
    cdef hash128_t hashes[2][BATCH]
    cdef hash128_t *batch = hashes[0]
    cdef hash128_t *following = hashes[1]
    cdef Py_ssize_t first = 0
    cdef Py_ssize_t size = _hash_batch(table, digest, keys, 0, batch)
    cdef Py_ssize_t index, next_size
    while size > 0:
        for index in range(size):
            prefetch_entry(table, &batch[index])
        next_size = _hash_batch(table, digest, keys, first + size, following)
        for index in range(size):
            question.key = batch[index]
            answers[first + index] = allowed_by_one(table, question, now_us)
        first += size
        size = next_size
        batch, following = following, batch
