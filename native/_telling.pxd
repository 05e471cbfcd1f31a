"""What a request is told, put together from what was decided on each of its limits, and counted.

The same answers as `ratelimiter.results` gives.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from native._limits cimport CDecision
from native._plan cimport (
    ALLOWED,
    REFUSED,
    SHADOW_REFUSED,
    CAsked,
    COutcome,
    CPlan,
    CPlannedLimit,
    CPlannedRule,
)
from native._request cimport SHADOW, CElsewhere, CQuestion, decide_request
from native._rls cimport rls_answer, rls_request, rls_status
from native._slots cimport CTable


cdef extern from "shared.h" nogil:
    uint64_t count_add(uint64_t *counter, uint64_t more)


cdef enum:
    # Of a descriptor whose rule is unlimited: `ratelimiter.results.UNLIMITED`.
    UNLIMITED = 0xffffffff


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
