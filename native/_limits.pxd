"""The algorithms of `native.limits` on plain structs, inlined into whoever cimports them.

Every number is from 0 to 2**63 - 1, as `native.limits` has it; sums and quotients that would leave that range are cut
off at its end. No clock, no input or output, no interpreter lock.
"""

from libc.stdint cimport int32_t, int64_t


cdef extern from "int128.h" nogil:
    int64_t add_saturating(int64_t one, int64_t other)
    int64_t mul_add_divmod(int64_t a, int64_t b, int64_t c, int64_t divisor, int64_t *rest)
    int64_t mul_div_floor(int64_t a, int64_t b, int64_t divisor)
    int64_t mul_sub_div_ceil(int64_t a, int64_t b, int64_t c, int64_t divisor)
    bint product_is_less(int64_t a, int64_t b, int64_t c, int64_t d)


cdef enum CAlgorithm:
    FIXED_WINDOW
    SLIDING_WINDOW
    TOKEN_BUCKET


cdef struct CLimit:
    int64_t limit
    int64_t window_us
    # 0: none, as many as `limit`.
    int64_t burst
    int32_t algorithm


cdef struct CState:
    int64_t updated_us
    int64_t count
    # Windows: `previous`; token bucket: `fraction`.
    int64_t extra


cdef struct CDecision:
    int64_t remaining
    int64_t reset_after_us
    # -1: no wait helps.
    int64_t retry_after_us
    bint allowed


cdef inline int64_t limit_capacity(const CLimit *limit) noexcept nogil:
    return limit.burst if limit.burst != 0 and limit.limit != 0 else limit.limit


cdef inline CState limit_at(const CLimit *limit, const CState *state, int64_t now_us) noexcept nogil:
    """`native.limits.at`."""
    cdef CState current
    cdef int64_t tokens, fraction, passed
    current.updated_us = max(now_us, state.updated_us)
    if limit.algorithm == TOKEN_BUCKET:
        tokens = mul_add_divmod(
            current.updated_us - state.updated_us, limit.limit, state.extra, limit.window_us, &fraction
        )
        current.count = state.count - tokens if tokens < state.count else 0
        current.extra = fraction if tokens < state.count else 0
        return current
    passed = current.updated_us // limit.window_us - state.updated_us // limit.window_us
    current.count = state.count if passed == 0 else 0
    current.extra = state.extra if passed == 0 else 0
    if passed == 1 and limit.algorithm == SLIDING_WINDOW:
        current.extra = state.count
    return current


cdef inline int64_t rest_of_window(const CLimit *limit, const CState *current) noexcept nogil:
    return limit.window_us - current.updated_us % limit.window_us


cdef inline int64_t limit_used(const CLimit *limit, const CState *current) noexcept nogil:
    """`native.limits.used`."""
    if limit.algorithm == SLIDING_WINDOW and current.extra != 0:
        return add_saturating(
            current.count,
            mul_sub_div_ceil(current.extra, rest_of_window(limit, current), 0, limit.window_us),
        )
    return current.count


cdef inline int64_t until_refilled(const CLimit *limit, const CState *current, int64_t tokens) noexcept nogil:
    if tokens == 0 or limit.limit == 0:
        return 0
    return mul_sub_div_ceil(tokens, limit.window_us, current.extra, limit.limit)


cdef inline int64_t until_reset(const CLimit *limit, const CState *current) noexcept nogil:
    if limit.algorithm == TOKEN_BUCKET:
        return until_refilled(limit, current, current.count)
    return rest_of_window(limit, current)


cdef inline int64_t until_admitted(const CLimit *limit, const CState *current, int64_t needed) noexcept nogil:
    """More than is left, but no more than the capacity."""
    cdef int64_t keep = limit_capacity(limit) - needed
    cdef int64_t window_ends
    if limit.algorithm == TOKEN_BUCKET:
        return until_refilled(limit, current, current.count - keep)
    window_ends = rest_of_window(limit, current)
    if limit.algorithm == FIXED_WINDOW:
        return window_ends
    if current.count <= keep:
        return window_ends - mul_div_floor(keep - current.count, limit.window_us, current.extra)
    return add_saturating(window_ends, limit.window_us - mul_div_floor(keep, limit.window_us, current.count))


cdef inline CDecision limit_decide(
    const CLimit *limit, const CState *current, int64_t hits, int64_t now_us
) noexcept nogil:
    """On `hits` from 0, for a state that is `limit_at` `now_us`."""
    cdef CDecision decision
    cdef int64_t behind_us = current.updated_us - now_us
    cdef int64_t capacity = limit_capacity(limit)
    cdef int64_t used = limit_used(limit, current)
    cdef int64_t needed = max(<int64_t> 1, hits)
    decision.remaining = capacity - used if used < capacity else 0
    decision.allowed = needed <= decision.remaining
    if decision.allowed or needed > capacity:
        decision.reset_after_us = add_saturating(behind_us, until_reset(limit, current))
        decision.retry_after_us = 0 if decision.allowed else -1
    else:
        decision.reset_after_us = add_saturating(behind_us, until_admitted(limit, current, needed))
        decision.retry_after_us = decision.reset_after_us
    return decision


cdef inline CDecision limit_look(const CLimit *limit, const CState *state, int64_t hits, int64_t now_us) noexcept nogil:
    """`native.limits.look`."""
    cdef CState current = limit_at(limit, state, now_us)
    return limit_decide(limit, &current, hits, now_us)


cdef inline CDecision limit_spend(const CLimit *limit, CState *state, int64_t hits, int64_t now_us) noexcept nogil:
    """`native.limits.spend`."""
    cdef CState current = limit_at(limit, state, now_us)
    cdef CDecision decision = limit_decide(limit, &current, hits, now_us)
    if decision.allowed and hits != 0:
        current.count += hits
        state[0] = current
        decision.remaining -= hits
        decision.reset_after_us = add_saturating(current.updated_us - now_us, until_reset(limit, &current))
    return decision


cdef inline bint limit_allow(const CLimit *limit, CState *state, int64_t hits, int64_t now_us) noexcept nogil:
    """`limit_spend` of 1 or more for who wants to know no more than whether it admits."""
    cdef CState current = limit_at(limit, state, now_us)
    cdef int64_t capacity = limit_capacity(limit)
    cdef int64_t used = limit_used(limit, &current)
    if used >= capacity or hits > capacity - used:
        return False
    current.count += hits
    state[0] = current
    return True


cdef inline void limit_take(const CLimit *limit, CState *state, int64_t hits, int64_t now_us) noexcept nogil:
    """`native.limits.take`."""
    cdef int64_t capacity = limit_capacity(limit)
    state[0] = limit_at(limit, state, now_us)
    if hits <= capacity - state.count:
        state.count += hits
    elif state.count < capacity:
        state.count = capacity
        if limit.algorithm == TOKEN_BUCKET:
            state.extra = 0


cdef inline void limit_give_back(const CLimit *limit, CState *state, int64_t hits, int64_t now_us) noexcept nogil:
    """`native.limits.give_back`."""
    state[0] = limit_at(limit, state, now_us)
    if hits < state.count:
        state.count -= hits
        return
    state.count = 0
    if limit.algorithm == TOKEN_BUCKET:
        state.extra = 0


cdef inline CDecision limit_count(const CLimit *limit, CState *state, int64_t hits, int64_t now_us) noexcept nogil:
    """`native.limits.count`; `hits` may be negative, down to -(2**63 - 1)."""
    cdef CDecision decision
    state[0] = limit_at(limit, state, now_us)
    state.count = add_saturating(state.count, hits) if hits >= 0 else max(<int64_t> 0, state.count + hits)
    decision.reset_after_us = add_saturating(state.updated_us - now_us, until_reset(limit, state))
    decision.allowed = state.count <= limit.limit
    decision.remaining = limit.limit - state.count if decision.allowed else 0
    if decision.allowed:
        decision.retry_after_us = 0
    else:
        decision.retry_after_us = -1 if hits > limit.limit else decision.reset_after_us
    return decision


cdef inline CState limit_stricter(const CLimit *limit, const CState *one, const CState *other) noexcept nogil:
    """`native.limits.stricter`; both of `limit`'s algorithm and window, and of one time."""
    cdef CState both = one[0]
    if limit.algorithm == TOKEN_BUCKET:
        if other.count > one.count or (other.count == one.count and other.extra < one.extra):
            both = other[0]
            both.updated_us = one.updated_us
        return both
    both.count = max(one.count, other.count)
    both.extra = max(one.extra, other.extra)
    return both


cdef extern from "named.h":
    object make_decision(object cls, bint allowed, int64_t remaining, int64_t reset_after_us, object retry_after_us)


cdef CLimit limit_of(object limit) except *
cdef object decision_of(const CDecision *decision)
