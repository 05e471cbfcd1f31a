"""How health checks are answered without the interpreter lock; by several threads at once."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp

from native._call cimport CArrived, CCaller, CIds, add_correlation, finish, read_caller
from native._rls cimport rls_read_health, rls_text, rls_write_health
from native._server cimport H2_ANSWERED, H2_GO_UP, h2_answer, h2_buffer, h2_outcome


cdef extern from "shared.h" nogil:
    int64_t number_get(const int64_t *number)
    void number_set(int64_t *number, int64_t value)
    int64_t elapsed_ns()


cdef enum:
    # grpc.health.v1.HealthCheckResponse.ServingStatus
    SERVING = 1
    NOT_SERVING = 2


cdef struct CService:
    const char *name
    size_t size
    int64_t serving


# What the threads that answer see of a `HealthAnswers`.
cdef struct CHealth:
    CService *services
    uint32_t count
    # By `elapsed_ns`.
    int64_t beat_ns
    int64_t patience_ns
    CIds ids
    bint traced


cdef inline h2_outcome answer_health(
    CHealth *health, const CArrived *call, h2_buffer *scratch, h2_answer *answer
) noexcept nogil:
    cdef rls_text name
    cdef CCaller caller
    cdef const CService *service
    cdef uint32_t index
    cdef size_t body
    cdef bint alive
    if scratch.failed or call.timeout_us == 0 or not rls_read_health(call.message, &name):
        return H2_GO_UP
    for index in range(health.count):
        service = health.services + index
        if service.size == name.size and memcmp(service.name, name.start, name.size) == 0:
            break
    else:
        return H2_GO_UP
    read_caller(call.fields, &health.ids, &caller)
    if caller.traced and health.traced:
        return H2_GO_UP
    alive = elapsed_ns() - number_get(&health.beat_ns) < health.patience_ns
    body = add_correlation(scratch, &caller)
    rls_write_health(SERVING if alive and number_get(&service.serving) else NOT_SERVING, scratch)
    finish(answer, scratch, body)
    return H2_ANSWERED


cdef class HealthAnswers:
    cdef CHealth health
    cdef tuple names
    cdef dict numbers
