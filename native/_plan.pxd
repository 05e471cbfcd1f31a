"""What the rate limiter decides by without the interpreter lock, and what of it a request meets.

The same questions as `ratelimiter.asking` has, for what a plan calls fit; the rest is left to it. A plan is not changed
while it is in force, but for its counts.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from native._overridden cimport COverridden, is_overridden
from native._request cimport CQuestion
from native._rls cimport RLS_DESCRIPTORS, RLS_ENTRIES, rls_descriptor, rls_request, rls_rule
from native._rules cimport RuleTree
from native._slots cimport CTable, hash128_t, prefetch_counter, siphash
from native._table cimport Table
from native._tree cimport CEntryTexts, CNode, CRuleTree, CText, find_below, root_of


cdef enum:
    # Of one request; what has more goes up.
    QUESTIONS = 32


cdef enum COutcome:
    """What became of a descriptor, as metrics have it."""
    ALLOWED
    REFUSED
    SHADOW_REFUSED
    OUTCOMES


cdef struct CPlannedLimit:
    # The rule's in the table's registry.
    hash128_t digest
    # Indices there; the plan pins them.
    uint32_t rule
    uint32_t limit
    uint32_t mode
    int32_t unit
    int64_t requests
    int64_t window_us
    # Whether they are: those that a store counts are not in the table.
    bint pinned
    # How its counters begin in a store, and how many bytes may follow.
    CText key
    size_t room
    # Its algorithm, requests, window and capacity, as the store's script is told them.
    double numbers[4]


cdef struct CPlannedRule:
    rls_rule told
    const CPlannedLimit *limits
    uint32_t limit_count
    # Else requests that meet it go up.
    bint fit
    # A store counts; not fit.
    bint strict
    uint64_t counts[3]
    # Of those that the store decided.
    uint64_t store_counts[3]


cdef struct CPlan:
    const CRuleTree *tree
    # By the tree's numbers; one more counts descriptors that met none.
    CPlannedRule *rules
    uint32_t rule_count
    uint64_t serial


# What is in force.
cdef struct CView:
    CPlan *plan
    # Descriptors that have overrides, which go up.
    COverridden overridden


cdef struct CFinder:
    const CView *view
    const rls_request *request
    CText domain
    # Of its rules; NULL: there are none.
    const CNode *root
    # Whether some of its descriptors may have them.
    bint overrides


cdef struct CAsked:
    # Of each descriptor; NULL: it met none.
    CPlannedRule *rules[RLS_DESCRIPTORS]
    CQuestion questions[QUESTIONS]
    const CPlannedLimit *limits[QUESTIONS]
    Py_ssize_t count


cdef class Plan:
    cdef CPlan plan
    cdef CPlannedLimit *limits
    cdef uint32_t filled
    cdef RuleTree tree
    cdef Table table
    cdef bytes texts

    cdef int _fill(self, list rules, int64_t now_us) except -1
    cdef int _fill_limit(self, CPlannedLimit *limit, object one, bint strict, int64_t now_us) except -1


cdef class View:
    cdef CView view
    cdef Plan plan
    cdef RuleTree domains
    cdef bytes digests
    # Questions of the store that were asked by it and are there still.
    cdef int waiting


cdef inline hash128_t counter_of(
    hash128_t digest, const CEntryTexts *entries, const CText *counted, uint32_t count
) noexcept nogil:
    """`native._registry.hash_texts` of each key and what is counted for its value."""
    cdef uint32_t index
    cdef uint64_t left = 2 * <uint64_t> count
    for index in range(count):
        digest = siphash(digest, left, entries[index].key.start, entries[index].key.size)
        digest = siphash(digest, left - 1, counted[index].start, counted[index].size)
        left -= 2
    return digest


cdef inline CFinder finder_of(const CView *view, const rls_request *request) noexcept nogil:
    cdef CFinder finder
    finder.view = view
    finder.request = request
    finder.domain = CText(request.domain.start, request.domain.size)
    finder.root = root_of(view.plan.tree, finder.domain)
    finder.overrides = view.overridden.domains != NULL and root_of(view.overridden.domains, finder.domain) != NULL
    return finder


cdef inline bint find_planned(
    const CFinder *finder, uint32_t index, CEntryTexts *entries, CText *counted, CPlannedRule **rule
) noexcept nogil:
    """Finds the rule of a descriptor (NULL: it meets none), and its texts. False: others decide on it."""
    cdef const rls_request *request = finder.request
    cdef const rls_descriptor *descriptor = request.descriptor + index
    cdef const CView *view = finder.view
    cdef uint32_t number, first = descriptor.first_entry
    cdef int32_t found = -1
    for number in range(descriptor.entries):
        entries[number].key = CText(request.entry[first + number].key.start, request.entry[first + number].key.size)
        entries[number].value = CText(
            request.entry[first + number].value.start, request.entry[first + number].value.size
        )
    if finder.overrides and is_overridden(&view.overridden, finder.domain, entries, descriptor.entries):
        return False
    if finder.root != NULL:
        found = find_below(view.plan.tree, finder.root, entries, descriptor.entries, counted)
    rule[0] = view.plan.rules + found if found >= 0 else NULL
    return True


cdef inline bint ask(
    const CView *view, const CTable *table, const rls_request *request, CAsked *asked
) noexcept nogil:
    """Finds the rules of a request, and what to ask the table. False: it goes up."""
    cdef const rls_descriptor *descriptor
    cdef const CPlannedLimit *limit
    cdef CPlannedRule *rule
    cdef CQuestion *question
    cdef CEntryTexts entries[RLS_ENTRIES]
    cdef CText counted[RLS_ENTRIES]
    cdef CFinder finder = finder_of(view, request)
    cdef uint32_t index, number
    asked.count = 0
    for index in range(request.descriptors):
        descriptor = request.descriptor + index
        if not find_planned(&finder, index, entries, counted, &rule):
            return False
        asked.rules[index] = rule
        if rule == NULL:
            continue
        if not rule.fit or asked.count + rule.limit_count > QUESTIONS:
            return False
        for number in range(rule.limit_count):
            limit = rule.limits + number
            question = asked.questions + asked.count
            question.key = counter_of(limit.digest, entries, counted, descriptor.entries)
            prefetch_counter(table, &question.key)
            question.rule = limit.rule
            question.limit = limit.limit
            question.hits = descriptor.hits if descriptor.has_hits else request.hits
            question.descriptor = index
            question.mode = limit.mode
            asked.limits[asked.count] = limit
            asked.count += 1
    return True
