"""A request of the rate limiter decided without the interpreter lock: its rules found, asked of the table, told.

The same answers as `ratelimiter.asking` and `ratelimiter.results` give, for what a plan calls fit; the rest is left to
them. A plan is not changed while it is in force, but for its counts.
"""

from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint32_t, uint64_t

from native._limits cimport CDecision
from native._overridden cimport COverridden, is_overridden
from native._request cimport QUOTA, SHADOW, CElsewhere, CQuestion, decide_request
from native._rls cimport RLS_DESCRIPTORS, RLS_ENTRIES, rls_answer, rls_descriptor, rls_request, rls_rule, rls_status
from native._rules cimport RuleTree
from native._slots cimport CTable, hash128_t, prefetch_counter, siphash
from native._table cimport Table
from native._tree cimport CEntryTexts, CNode, CRuleTree, CText, find_below, root_of


cdef extern from "shared.h" nogil:
    uint64_t count_add(uint64_t *counter, uint64_t more)
    uint64_t count_take(uint64_t *counter)


cdef enum:
    # Of one request; what has more goes up.
    QUESTIONS = 32
    # Of a descriptor whose rule is unlimited: `ratelimiter.results.UNLIMITED`.
    UNLIMITED = 0xffffffff


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


cdef inline uint64_t wait_of(const CDecision *decision) noexcept nogil:
    """For comparisons: no wait that helps (-1) is longer than all."""
    return <uint64_t> decision.retry_after_us


cdef inline bint is_tighter(const CDecision *one, const CDecision *other) noexcept nogil:
    """Refusals first, of these the one that takes longest; else what has the least left."""
    if one.allowed != other.allowed:
        return not one.allowed
    if wait_of(one) != wait_of(other):
        return wait_of(one) > wait_of(other)
    return one.remaining < other.remaining


cdef inline void tell(rls_status *status, const CPlannedLimit *limit, const CQuestion *question) noexcept nogil:
    cdef const CDecision *decision = &question.decision
    status.limited = True
    status.limit = limit.requests
    status.window_us = limit.window_us
    status.unit = limit.unit
    status.remaining = decision.remaining
    status.reset_after_us = decision.reset_after_us
    status.retry_after_us = decision.retry_after_us
    status.over_limit = not decision.allowed
    status.allowed = decision.allowed or question.mode & SHADOW != 0


cdef inline int64_t retry_after(const rls_answer *answer) noexcept nogil:
    """When all that refuse admit; of quota rules, if all refuse, when one of them does. -1: never."""
    cdef const rls_status *status
    cdef uint32_t index
    cdef int64_t longest = -1
    cdef int64_t soonest = -1
    cdef bint never = False
    cdef bint quotas = False
    cdef bint quotas_refuse = True
    for index in range(answer.statuses):
        status = answer.status + index
        if status.rule != NULL and status.rule.quota_mode and status.limited:
            quotas = True
            quotas_refuse = quotas_refuse and not status.allowed
            if status.retry_after_us >= 0 and (soonest < 0 or status.retry_after_us < soonest):
                soonest = status.retry_after_us
        elif not status.allowed:
            never = never or status.retry_after_us < 0
            longest = max(longest, status.retry_after_us)
    if quotas and quotas_refuse:
        never = never or soonest < 0
        longest = max(longest, soonest)
    return -1 if never else longest


cdef inline void count_status(CPlan *plan, CPlannedRule *rule, const rls_status *status) noexcept nogil:
    cdef COutcome outcome = ALLOWED
    if status.over_limit:
        outcome = SHADOW_REFUSED if status.allowed else REFUSED
    if rule == NULL:
        rule = plan.rules + plan.rule_count
    if rule.strict and status.limited:
        count_add(&rule.store_counts[<int> outcome], 1)
    else:
        count_add(&rule.counts[<int> outcome], 1)


cdef inline uint32_t decide(
    CPlan *plan, CTable *table, const rls_request *request, CAsked *asked, int64_t now_us, rls_answer *answer
) noexcept nogil:
    """Decides on what was asked, charges it and counts it. A bit for each descriptor that refused, if the request was."""
    cdef bint admitted = decide_request(table, asked.questions, asked.count, now_us, CElsewhere(0, 0, False))
    return tell_all(plan, request.descriptors, asked, admitted, answer)


cdef inline uint32_t tell_all(
    CPlan *plan, uint32_t descriptors, CAsked *asked, bint admitted, rls_answer *answer
) noexcept nogil:
    """Puts together what was decided, and counts it. A bit for each descriptor that refused, if the request was."""
    cdef rls_status *status
    cdef CPlannedRule *rule
    cdef CQuestion *question
    cdef Py_ssize_t tightest, following = 0
    cdef uint32_t index, refused = 0
    answer.allowed = admitted
    answer.statuses = descriptors
    for index in range(descriptors):
        rule = asked.rules[index]
        status = answer.status + index
        status.rule = NULL if rule == NULL else &rule.told
        if rule != NULL and rule.limit_count:
            tightest = following
            following += 1
            while following < asked.count and asked.questions[following].descriptor == <int32_t> index:
                question = asked.questions + following
                if is_tighter(&question.decision, &asked.questions[tightest].decision):
                    tightest = following
                following += 1
            tell(status, asked.limits[tightest], asked.questions + tightest)
        else:
            status.limited = status.over_limit = False
            status.limit = status.window_us = status.reset_after_us = status.retry_after_us = 0
            status.unit = 0
            status.remaining = 0 if rule == NULL else UNLIMITED
            status.allowed = True
        count_status(plan, rule, status)
        if not status.allowed:
            refused |= (<uint32_t> 1) << index
    answer.retry_after_us = -1 if answer.allowed else retry_after(answer)
    return 0 if answer.allowed else refused
