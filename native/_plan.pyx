"""A plan: the rules of a tree made ready for threads that decide by them without the interpreter lock; and its view."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from native._overridden cimport BLAKE2B_DIGEST
from native._rls cimport rls_text
from native._rules cimport RuleTree
from native._table cimport Table
from native._tree cimport CText

from native.limits import Algorithm


cdef extern from "shared.h" nogil:
    uint64_t count_take(uint64_t *counter)


# As the script in the store has them: `waypost.adapters.redis_script`.
cdef dict ALGORITHMS = {Algorithm.FIXED_WINDOW: 0, Algorithm.SLIDING_WINDOW: 1, Algorithm.TOKEN_BUCKET: 2}
cdef object LARGEST = 2**53 - 1


cdef enum:
    # Rules that are made ready before other threads get their turn.
    AT_ONCE = 256


# Plans are numbered, all of a process.
cdef uint64_t _plans = 0


cdef inline const char *put_text(rls_text *text, const char *at, bytes words) noexcept:
    """Has `text` be what stands at `at`; returns what is behind it."""
    text.start = at
    text.size = len(words)
    return at + text.size


# The table outlives its plans, which unpin what is theirs in it.
@cython.no_gc_clear
cdef class Plan:
    """The rules of a tree, by its numbers, ready to decide by; None: requests that meet that rule go up.

    Their limits are pinned in the table's registry for as long as the plan lives. May be made in any thread.
    """

    def __cinit__(self, Table table not None, RuleTree tree not None, rules, int64_t now_us):
        global _plans
        cdef list planned = list(rules)
        cdef size_t limits = 0
        self.table = table
        self.tree = tree
        _plans += 1
        self.plan.serial = _plans
        self.plan.tree = &tree.tree
        self.plan.rule_count = len(planned)
        for rule in planned:
            if rule is not None:
                limits += len(rule.limits)
        # One more each: for descriptors without a rule, and since there are no arrays of size 0.
        self.plan.rules = <CPlannedRule *> calloc(len(planned) + 1, sizeof(CPlannedRule))
        self.limits = <CPlannedLimit *> calloc(limits + 1, sizeof(CPlannedLimit))
        if self.plan.rules == NULL or self.limits == NULL:
            raise MemoryError
        self._fill(planned, now_us)

    cdef int _fill(self, list rules, int64_t now_us) except -1:
        cdef list texts = []
        cdef CPlannedRule *own
        cdef CPlannedLimit *limit
        cdef rls_text key
        cdef const char *at
        cdef size_t number
        for rule in rules:
            if rule is not None:
                texts += (rule.place.encode(), rule.name.encode(), rule.quoted.encode())
                texts += (limit.key for limit in rule.limits)
        self.texts = b"".join(texts)
        at = PyBytes_AS_STRING(self.texts)
        following = iter(texts)
        for number, rule in enumerate(rules):
            own = self.plan.rules + number
            if number % AT_ONCE == AT_ONCE - 1:
                # Others wait for the interpreter, and nothing below lets them in.
                with nogil:
                    pass
            if rule is None:
                continue
            at = put_text(&own.told.place, at, next(following))
            at = put_text(&own.told.name, at, next(following))
            at = put_text(&own.told.quoted, at, next(following))
            own.told.shadow_mode = rule.shadow_mode
            own.told.quota_mode = rule.quota_mode
            own.limits = self.limits + self.filled
            own.limit_count = len(rule.limits)
            for one in rule.limits:
                limit = self.limits + self.filled
                at = put_text(&key, at, next(following))
                limit.key = CText(key.start, key.size)
                self._fill_limit(limit, one, rule.strict, now_us)
                self.filled += 1
            own.strict = rule.strict
            own.fit = not rule.strict
        return 0

    cdef int _fill_limit(self, CPlannedLimit *limit, object one, bint strict, int64_t now_us) except -1:
        cdef object told = one.limit
        limit.requests = told.limit
        limit.window_us = told.window_us
        limit.mode = one.mode
        limit.unit = one.unit
        if strict:
            limit.room = one.room
            limit.numbers[0] = ALGORITHMS[told.algorithm]
            limit.numbers[1] = min(told.limit, LARGEST)
            limit.numbers[2] = min(told.window_us, LARGEST)
            limit.numbers[3] = min(told.capacity, LARGEST)
            return 0
        self.table.registry.pin(one.identity, told, now_us, &limit.rule, &limit.limit)
        limit.pinned = True
        limit.digest = self.table.table.rules[limit.rule].digest
        return 0

    def __dealloc__(self):
        cdef uint32_t index
        for index in range(self.filled):
            if self.limits[index].pinned:
                self.table.registry.unpin(self.limits[index].rule, self.limits[index].limit)
        free(self.limits)
        free(self.plan.rules)

    @property
    def serial(self):
        return self.plan.serial

    def take_counts(self, bint store=False):
        cdef list found = []
        cdef uint64_t counts[3]
        cdef uint64_t *kept
        cdef uint32_t number
        cdef int outcome
        for number in range(self.plan.rule_count + 1):
            kept = &self.plan.rules[number].store_counts[0] if store else &self.plan.rules[number].counts[0]
            for outcome in range(<int> OUTCOMES):
                counts[outcome] = count_take(kept + outcome)
            if counts[0] or counts[1] or counts[2]:
                found.append((number, counts[0], counts[1], counts[2]))
        return found


@cython.no_gc_clear
cdef class View:
    """A plan and what has overrides, which are in force together.

    Overridden are descriptors of these domains that have one of these digests, one behind the other in ascending order.
    """

    def __cinit__(self, Plan plan not None, RuleTree domains=None, bytes digests not None=b""):
        self.plan = plan
        self.domains = domains
        self.digests = digests
        self.view.plan = &plan.plan
        self.view.overridden.domains = NULL if domains is None else &domains.tree
        self.view.overridden.digests = <const unsigned char *> PyBytes_AS_STRING(digests)
        self.view.overridden.count = len(digests) // BLAKE2B_DIGEST

    @property
    def serial(self):
        return self.plan.plan.serial
