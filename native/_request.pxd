"""`native.request.decide` on plain structs: one request that meets several counters is one decision, also for threads
without the interpreter lock."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from native._counters cimport counter_to_change, find_counter, keep_counter
from native._limits cimport (
    CDecision,
    CLimit,
    CState,
    add_saturating,
    limit_allow,
    limit_count,
    limit_give_back,
    limit_look,
    limit_spend,
    limit_take,
)
from native._slots cimport CEntry, CTable, find_entry, hash128_t, lowest_bit, shard_of, spin_lock, spin_unlock


cdef enum CMode:
    """The numbers of `native.request.Mode`."""
    SHADOW = 1
    QUOTA = 2
    COUNT_REJECTED = 4
    REFERENCE = 8


cdef struct CQuestion:
    hash128_t key
    # Indices in the table that is asked; who uses them pins them.
    uint32_t rule
    uint32_t limit
    # More than -2**63.
    int64_t hits
    int32_t descriptor
    uint32_t mode
    # What the decision on the request leaves here.
    CDecision decision
    # Whether its whole descriptor does.
    bint admits


cdef struct CElsewhere:
    int64_t quotas
    int64_t quotas_refusing
    bint refused


cdef struct CLocks:
    # A bit for each shard.
    uint64_t shards
    bint newcomers


cdef inline CLocks lock_counters(CTable *table, const CQuestion *questions, Py_ssize_t count) noexcept nogil:
    """Locks what these questions meet: shards in ascending order, then, if some counter is not there, newcomers."""
    cdef CLocks locks = CLocks(0, False)
    cdef uint64_t left
    cdef Py_ssize_t index
    for index in range(count):
        locks.shards |= (<uint64_t> 1) << shard_of(table, &questions[index].key)
    left = locks.shards
    while left:
        spin_lock(&table.shards[lowest_bit(left)].lock)
        left &= left - 1
    for index in range(count):
        if find_entry(table, &questions[index].key) == NULL:
            locks.newcomers = True
            spin_lock(&table.newcomers)
            break
    return locks


cdef inline void unlock_counters(CTable *table, CLocks locks) noexcept nogil:
    if locks.newcomers:
        spin_unlock(&table.newcomers)
    while locks.shards:
        spin_unlock(&table.shards[lowest_bit(locks.shards)].lock)
        locks.shards &= locks.shards - 1


cdef inline CDecision look_for_refund(const CLimit *limit, const CState *state, int64_t now_us) noexcept nogil:
    cdef CDecision decision = limit_look(limit, state, 0, now_us)
    decision.allowed = True
    decision.retry_after_us = 0
    return decision


cdef inline int64_t hits_before(const CQuestion *questions, Py_ssize_t index) noexcept nogil:
    """What earlier questions with the counter of this one would take."""
    cdef const CQuestion *question = questions + index
    cdef const CQuestion *earlier
    cdef int64_t hits = 0
    cdef Py_ssize_t other
    for other in range(index):
        earlier = questions + other
        if (
            earlier.key.low == question.key.low
            and earlier.key.high == question.key.high
            and earlier.hits > 0
            and earlier.decision.allowed
            and not earlier.mode & REFERENCE
        ):
            hits = add_saturating(hits, earlier.hits)
    return hits


cdef inline void look_at_all(CTable *table, CQuestion *questions, Py_ssize_t count, int64_t now_us) noexcept nogil:
    """What each question by itself is answered, after those before it."""
    cdef CQuestion *question
    cdef const CLimit *limit
    cdef CState state
    cdef Py_ssize_t index
    for index in range(count):
        question = questions + index
        limit = &table.limits[question.limit].limit
        if question.mode & REFERENCE:
            question.decision = limit_count(
                limit,
                counter_to_change(
                    table, question.rule, question.limit, &question.key, question.hits, now_us, &state
                ),
                question.hits,
                now_us,
            )
            continue
        state = find_counter(table, question.rule, &question.key, now_us)
        if question.hits < 0:
            question.decision = look_for_refund(limit, &state, now_us)
        else:
            question.decision = limit_look(
                limit, &state, add_saturating(question.hits, hits_before(questions, index)), now_us
            )


cdef inline bint is_admitted(CQuestion *questions, Py_ssize_t count, CElsewhere elsewhere) noexcept nogil:
    """Whether the request is; sets each question's `admits`."""
    cdef Py_ssize_t first = 0
    cdef Py_ssize_t last, index
    cdef bint admits
    cdef bint refused = elsewhere.refused
    while first < count:
        admits = True
        last = first
        for index in range(first, count):
            if questions[index].descriptor != questions[first].descriptor:
                break
            admits = admits and questions[index].decision.allowed
            last = index
        for index in range(first, last + 1):
            questions[index].admits = admits
        admits = admits or questions[last].mode & SHADOW
        if questions[last].mode & QUOTA:
            elsewhere.quotas += 1
            elsewhere.quotas_refusing += not admits
        elif not admits:
            refused = True
        first = last + 1
    return not refused and (elsewhere.quotas == 0 or elsewhere.quotas_refusing < elsewhere.quotas)


cdef inline void charge(CTable *table, CQuestion *question, int64_t now_us) noexcept nogil:
    """Charges a question that admits, of a request that is admitted."""
    cdef const CLimit *limit = &table.limits[question.limit].limit
    cdef CState copy
    cdef CState *state = counter_to_change(
        table, question.rule, question.limit, &question.key, question.hits, now_us, &copy
    )
    cdef CDecision spent
    if question.hits < 0:
        limit_give_back(limit, state, -question.hits, now_us)
        question.decision = look_for_refund(limit, state, now_us)
        return
    spent = limit_spend(limit, state, question.hits, now_us)
    if spent.allowed:
        question.decision = spent
    else:
        # Other counters of this very request have taken room in the table since the look.
        limit_take(limit, state, question.hits, now_us)


cdef inline void charge_rejected(CTable *table, CQuestion *question, int64_t now_us) noexcept nogil:
    cdef const CLimit *limit = &table.limits[question.limit].limit
    cdef CState *state = keep_counter(table, question.rule, question.limit, &question.key, now_us)
    cdef bint allowed = question.decision.allowed
    limit_take(limit, state, question.hits, now_us)
    question.decision = limit_look(limit, state, question.hits, now_us)
    question.decision.allowed = allowed


cdef inline bint decide_request(
    CTable *table, CQuestion *questions, Py_ssize_t count, int64_t now_us, CElsewhere elsewhere
) noexcept nogil:
    """Decides on a request and charges what it has to; answers are in each question's `decision`."""
    cdef CLocks locks = lock_counters(table, questions, count)
    cdef CQuestion *question
    cdef Py_ssize_t index
    cdef bint admitted
    look_at_all(table, questions, count, now_us)
    admitted = is_admitted(questions, count, elsewhere)
    for index in range(count):
        question = questions + index
        if question.mode & REFERENCE or question.hits == 0:
            continue
        if admitted and question.admits:
            charge(table, question, now_us)
        elif question.mode & COUNT_REJECTED and question.hits > 0:
            charge_rejected(table, question, now_us)
    unlock_counters(table, locks)
    return admitted


cdef inline void look_only(CTable *table, CQuestion *questions, Py_ssize_t count, int64_t now_us) noexcept nogil:
    """What each question by itself would be answered; charges nothing."""
    cdef CLocks locks = lock_counters(table, questions, count)
    cdef CQuestion *question
    cdef CState state
    cdef Py_ssize_t index
    for index in range(count):
        question = questions + index
        state = find_counter(table, question.rule, &question.key, now_us)
        question.decision = limit_look(
            &table.limits[question.limit].limit, &state, max(<int64_t> 0, question.hits), now_us
        )
    unlock_counters(table, locks)


cdef inline void take_all(CTable *table, CQuestion *questions, Py_ssize_t count, int64_t now_us) noexcept nogil:
    """Charges each question's hits, or what is left; negative ones are given back."""
    cdef CLocks locks = lock_counters(table, questions, count)
    cdef CQuestion *question
    cdef const CLimit *limit
    cdef CState copy
    cdef CState *state
    cdef Py_ssize_t index
    for index in range(count):
        question = questions + index
        limit = &table.limits[question.limit].limit
        state = counter_to_change(
            table, question.rule, question.limit, &question.key, question.hits, now_us, &copy
        )
        if question.hits < 0:
            limit_give_back(limit, state, -question.hits, now_us)
        else:
            limit_take(limit, state, question.hits, now_us)
    unlock_counters(table, locks)


cdef inline CDecision spend_from_one(CTable *table, CQuestion *question, int64_t now_us) noexcept nogil:
    """`decide_request` of one plain question with hits from 0, which most often has a counter."""
    cdef uint32_t *lock = &table.shards[shard_of(table, &question.key)].lock
    cdef CEntry *entry
    cdef CDecision decision
    spin_lock(lock)
    entry = find_entry(table, &question.key)
    if entry != NULL:
        decision = limit_spend(&table.limits[question.limit].limit, &entry.state, question.hits, now_us)
        if decision.allowed and question.hits != 0:
            entry.limit = question.limit
        spin_unlock(lock)
        return decision
    spin_unlock(lock)
    decide_request(table, question, 1, now_us, CElsewhere(0, 0, False))
    return question.decision


cdef inline bint allowed_by_one(CTable *table, CQuestion *question, int64_t now_us) noexcept nogil:
    """`spend_from_one` of hits from 1, for who wants to know no more than whether it admits."""
    cdef uint32_t *lock = &table.shards[shard_of(table, &question.key)].lock
    cdef CEntry *entry
    cdef bint allowed
    spin_lock(lock)
    entry = find_entry(table, &question.key)
    if entry != NULL:
        allowed = limit_allow(&table.limits[question.limit].limit, &entry.state, question.hits, now_us)
        if allowed:
            entry.limit = question.limit
        spin_unlock(lock)
        return allowed
    spin_unlock(lock)
    return decide_request(table, question, 1, now_us, CElsewhere(0, 0, False))
