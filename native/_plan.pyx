"""A plan: the rules of a tree made ready for threads that decide by them without the interpreter lock."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from native._rls cimport rls_text
from native._rules cimport RuleTree
from native._table cimport Table


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
        cdef const char *at
        cdef size_t number
        for rule in rules:
            if rule is not None:
                texts += (rule.place.encode(), rule.name.encode(), rule.quoted.encode())
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
            own.limits = self.limits + self.pinned
            own.limit_count = len(rule.limits)
            for one in rule.limits:
                limit = self.limits + self.pinned
                limit.requests = one.limit.limit
                limit.window_us = one.limit.window_us
                limit.mode = one.mode
                limit.unit = one.unit
                self.table.registry.pin(one.identity, one.limit, now_us, &limit.rule, &limit.limit)
                self.pinned += 1
                limit.digest = self.table.table.rules[limit.rule].digest
            own.fit = True
        return 0

    def __dealloc__(self):
        cdef uint32_t index
        for index in range(self.pinned):
            self.table.registry.unpin(self.limits[index].rule, self.limits[index].limit)
        free(self.limits)
        free(self.plan.rules)

    @property
    def serial(self):
        return self.plan.serial

    def take_counts(self):
        cdef list found = []
        cdef uint64_t counts[3]
        cdef CPlannedRule *rule
        cdef uint32_t number
        cdef int outcome
        for number in range(self.plan.rule_count + 1):
            rule = self.plan.rules + number
            for outcome in range(<int> OUTCOMES):
                counts[outcome] = count_take(&rule.counts[outcome])
            if counts[0] or counts[1] or counts[2]:
                found.append((number, counts[0], counts[1], counts[2]))
        return found
