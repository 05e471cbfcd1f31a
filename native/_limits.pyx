"""The compiled twin of `native.limits`: the same functions on the same objects, for tests and for who has a state."""

from libc.stdint cimport INT64_MAX, int64_t

from native.limits import Algorithm, Decision, State

cdef object _FIXED_WINDOW = Algorithm.FIXED_WINDOW
cdef object _SLIDING_WINDOW = Algorithm.SLIDING_WINDOW


cdef CLimit limit_of(object limit) except *:
    cdef CLimit result
    algorithm = limit.algorithm
    if algorithm is _FIXED_WINDOW:
        result.algorithm = FIXED_WINDOW
    elif algorithm is _SLIDING_WINDOW:
        result.algorithm = SLIDING_WINDOW
    else:
        result.algorithm = TOKEN_BUCKET
    result.limit = limit.limit
    result.window_us = limit.window_us
    result.burst = 0 if limit.burst is None else limit.burst
    return result


cdef object decision_of(const CDecision *decision):
    cdef object retry_after_us = None if decision.retry_after_us < 0 else decision.retry_after_us
    return make_decision(Decision, decision.allowed, decision.remaining, decision.reset_after_us, retry_after_us)


cdef CState _state_of(const CLimit *limit, object state) except *:
    cdef CState result
    result.updated_us = state.updated_us
    result.count = state.count
    result.extra = state.fraction if limit.algorithm == TOKEN_BUCKET else state.previous
    if result.updated_us < 0 or result.count < 0 or result.extra < 0:
        raise OverflowError("a state's numbers are from 0 to 2**63 - 1")
    return result


cdef object _store(object state, const CLimit *limit, const CState *result):
    state.updated_us = result.updated_us
    state.count = result.count
    state.previous = 0 if limit.algorithm == TOKEN_BUCKET else result.extra
    state.fraction = result.extra if limit.algorithm == TOKEN_BUCKET else 0
    return state


cdef int _check(int64_t hits, int64_t now_us) except -1:
    if hits < 0 or now_us < 0:
        raise OverflowError("hits and times are from 0 to 2**63 - 1")
    return 0


def look(limit, state, int64_t hits, int64_t now_us):
    _check(hits, now_us)
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    cdef CDecision decision = limit_look(&c_limit, &c_state, hits, now_us)
    return decision_of(&decision)


def spend(limit, state, int64_t hits, int64_t now_us):
    _check(hits, now_us)
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    cdef CDecision decision = limit_spend(&c_limit, &c_state, hits, now_us)
    if decision.allowed and hits:
        _store(state, &c_limit, &c_state)
    return decision_of(&decision)


def take(limit, state, int64_t hits, int64_t now_us):
    _check(hits, now_us)
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    limit_take(&c_limit, &c_state, hits, now_us)
    _store(state, &c_limit, &c_state)


def give_back(limit, state, int64_t hits, int64_t now_us):
    _check(hits, now_us)
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    limit_give_back(&c_limit, &c_state, hits, now_us)
    _store(state, &c_limit, &c_state)


def count(limit, state, int64_t hits, int64_t now_us):
    _check(0 if hits >= -INT64_MAX else hits, now_us)
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    cdef CDecision decision = limit_count(&c_limit, &c_state, hits, now_us)
    _store(state, &c_limit, &c_state)
    return decision_of(&decision)


def at(limit, state, int64_t now_us):
    _check(0, now_us)
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    cdef CState current = limit_at(&c_limit, &c_state, now_us)
    return _store(State(), &c_limit, &current)


def used(limit, state):
    cdef CLimit c_limit = limit_of(limit)
    cdef CState c_state = _state_of(&c_limit, state)
    return limit_used(&c_limit, &c_state)
