"""How the compiled handlers answer for the rate limiter: what is ordinary, from what is in force; the rest goes up.

Each is called by several threads at once. Who answers a call has a reader's place for as long as that takes, so what is
in force stays as it is.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from native._call cimport CArrived, CCaller, CIds, add_correlation, finish, read_caller
from native._events cimport MESSAGE_BYTES, CEvent, CEvents, leave_word
from native._plan cimport CAsked, CView, ask
from native._rls cimport (
    rls_answer,
    rls_read_check,
    rls_read_envoy,
    rls_request,
    rls_write_check,
    rls_write_envoy,
)
from native._rules cimport MAX_READERS, reader_enter, reader_leave, reader_t
from native._server cimport H2_ANSWERED, H2_GO_UP, h2_answer, h2_buffer, h2_outcome
from native._slots cimport CTable
from native._telling cimport count_add, decide


cdef extern from "shared.h" nogil:
    int64_t number_get(const int64_t *number)
    void number_set(int64_t *number, int64_t value)
    bint place_take(bint *taken)
    void place_leave(bint *taken)
    size_t thread_hint()
    int64_t elapsed_ns()


cdef enum CMethod:
    ENVOY
    CHECK
    METHODS


cdef struct CClock:
    int64_t epoch_ns
    # Negative: none, time goes on.
    int64_t fixed_us


# What the threads that answer see of a `LimitAnswers`.
cdef struct CLimits:
    # A CView.
    const void *current
    reader_t readers[MAX_READERS]
    CTable *table
    CClock clock
    CIds ids
    CEvents events
    uint64_t answered[2]
    # All goes up.
    int64_t passing
    uint32_t log_every
    bint headers
    bint shadow_mode
    # Calls of recorded traces go up.
    bint traced


cdef inline int64_t time_of(const CClock *clock) noexcept nogil:
    """Microseconds since the epoch."""
    cdef int64_t fixed_us = number_get(&clock.fixed_us)
    return fixed_us if fixed_us >= 0 else (clock.epoch_ns + elapsed_ns()) // 1000


cdef inline reader_t *take_reader(CLimits *limits) noexcept nogil:
    """For one call; NULL: too many threads are at it."""
    cdef size_t start = thread_hint()
    cdef size_t index
    for index in range(MAX_READERS):
        if place_take(&limits.readers[(start + index) % MAX_READERS].taken):
            return limits.readers + (start + index) % MAX_READERS
    return NULL


cdef inline h2_outcome decide_call(
    CLimits *limits,
    CMethod method,
    const CArrived *call,
    const rls_request *request,
    const CCaller *caller,
    CView *view,
    h2_buffer *scratch,
    h2_answer *answer,
) noexcept nogil:
    """By what is in force for as long as this takes."""
    cdef CAsked asked
    cdef rls_answer told
    cdef CEvent word
    cdef size_t body
    cdef int64_t now_us
    if not ask(view, limits.table, request, &asked):
        return H2_GO_UP
    now_us = time_of(&limits.clock)
    word.refused = decide(view.plan, limits.table, request, &asked, now_us, &told)
    body = add_correlation(scratch, caller)
    if method == ENVOY:
        rls_write_envoy(&told, limits.headers, limits.shadow_mode, scratch)
    else:
        rls_write_check(&told, scratch)
    finish(answer, scratch, body)
    word.logged = count_add(&limits.answered[<int> method], 1) % limits.log_every == 0
    if word.refused or word.logged:
        word.serial = view.plan.serial
        word.duration_us = time_of(&limits.clock) - now_us
        word.method = method
        word.response_size = <uint32_t> answer.body.length
        word.message_size = <uint32_t> call.message.length
        word.correlation_size = caller.correlation_size
        leave_word(&limits.events, &word, <const char *> call.message.data, caller.correlation, call.peer)
    return H2_ANSWERED


cdef inline h2_outcome answer_limits(
    CLimits *limits, CMethod method, const CArrived *call, h2_buffer *scratch, h2_answer *answer
) noexcept nogil:
    cdef rls_request request
    cdef CCaller caller
    cdef reader_t *reader
    cdef h2_outcome outcome
    cdef CView *view
    if number_get(&limits.passing) or scratch.failed or call.timeout_us == 0 or call.message.length > MESSAGE_BYTES:
        return H2_GO_UP
    read_caller(call.fields, &limits.ids, &caller)
    if caller.special or (caller.traced and limits.traced):
        return H2_GO_UP
    if not (rls_read_envoy(call.message, &request) if method == ENVOY else rls_read_check(call.message, &request)):
        return H2_GO_UP
    reader = take_reader(limits)
    if reader == NULL:
        return H2_GO_UP
    view = <CView *> reader_enter(reader, &limits.current)
    outcome = decide_call(limits, method, call, &request, &caller, view, scratch, answer)
    reader_leave(reader)
    place_leave(&reader.taken)
    return outcome
