"""The compiled handler of health checks: on the transport's threads, whatever the interpreter is at.

Linked with `native/rls/*.c`, and with `native/h2/*.c` for what reads and packs fields.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from native._asked cimport ask_handler
from native._call cimport CArrived, arrived_of
from native._server cimport Server, h2_answer, h2_buffer, h2_call, h2_outcome
from native._slots cimport hash128_t

cdef bytes HEALTH_PATH = b"/grpc.health.v1.Health/Check"


cdef h2_outcome health_arrived(void *state, const CArrived *call, h2_buffer *scratch, h2_answer *answer) noexcept nogil:
    return answer_health(<CHealth *> state, call, scratch, answer)


cdef h2_outcome handle_health(
    void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer
) noexcept nogil:
    cdef CArrived arrived = arrived_of(call)
    return health_arrived(state, &arrived, scratch, answer)


@cython.no_gc_clear
cdef class HealthAnswers:
    """Answers `grpc.health.v1.Health/Check` for these services, of which none serves before it is said.

    And none does, whatever is said of it, `seconds` after the last `beat`. Others are left to the servicer, as are
    calls of recorded traces where there is somebody to record them (`traced`).
    """

    def __cinit__(self, services, *, double seconds=2.0, bint traced=False):
        cdef CService *service
        cdef bytes random = os.urandom(sizeof(hash128_t))
        self.names = tuple(name.encode() for name in services)
        self.numbers = {name.decode(): number for number, name in enumerate(self.names)}
        self.health.services = <CService *> calloc(len(self.names) + 1, sizeof(CService))
        if self.health.services == NULL:
            raise MemoryError
        self.health.count = len(self.names)
        for number, name in enumerate(self.names):
            service = self.health.services + <size_t> number
            service.name = PyBytes_AS_STRING(name)
            service.size = len(<bytes> name)
        self.health.patience_ns = <int64_t> (seconds * 1e9)
        # Long ago: the clock may have begun just now.
        self.health.beat_ns = -(1 << 62)
        memcpy(&self.health.ids.key, PyBytes_AS_STRING(random), sizeof(hash128_t))
        self.health.traced = traced

    def __dealloc__(self):
        free(self.health.services)

    def register(self, Server server not None):
        server.handle(HEALTH_PATH, handle_health, &self.health, self)

    def set(self, str service not None, bint serving):
        number_set(&self.health.services[<size_t> self.numbers[service]].serving, serving)

    def beat(self):
        number_set(&self.health.beat_ns, elapsed_ns())

    def answer(self, bytes message not None, metadata=(), int64_t timeout_us=-1):
        return ask_handler(health_arrived, &self.health, message, metadata, timeout_us)
