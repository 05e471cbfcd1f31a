"""The compiled handlers of the rate limiter: its calls, answered on the transport's threads.

They answer what is ordinary, without the interpreter lock (`native/_answering.pxd`), and leave the rest to the
servicers, whose answers theirs equal byte for byte. What they read is published whole, and what it replaced is kept
until no thread reads it any more (`readers.h`). Linked with `native/rls/*.c`, and with `native/h2/*.c` for what reads
and packs fields.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from native._answering cimport CHECK, ENVOY, CClock, CLimits, answer_limits, number_set
from native._asked cimport ask_handler, handler_t, slice_of
from native._call cimport CArrived, arrived_of
from native._events cimport EVENTS, MESSAGE_BYTES, CEvent
from native._overridden cimport BLAKE2B_DIGEST, descriptor_digest
from native._plan cimport Plan, View
from native._questions cimport question_of
from native._rules cimport MAX_READERS, RuleTree, readers_hold, readers_replace
from native._server cimport (
    H2_ANSWERED,
    Server,
    h2_answer,
    h2_buffer,
    h2_buffer_free,
    h2_call,
    h2_outcome,
    h2_slice,
)
from native._slots cimport hash128_t, spin_lock, spin_unlock
from native._table cimport Table
from native._tree cimport CEntryTexts, CText

from native.plan import Event

cdef bytes ENVOY_PATH = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
cdef bytes CHECK_PATH = b"/waypost.api.v1.RateLimitService/Check"

LONGEST_MESSAGE = MESSAGE_BYTES
"""Bytes of a request; longer ones go up."""
MOST_EVENTS = EVENTS
"""So many calls leave word between two looks; of more only the number is known."""


def override_digest(bytes domain not None, bytes key not None, bytes value not None):
    cdef CEntryTexts entry
    cdef unsigned char digest[32]
    entry.key = CText(PyBytes_AS_STRING(key), len(key))
    entry.value = CText(PyBytes_AS_STRING(value), len(value))
    descriptor_digest(CText(PyBytes_AS_STRING(domain), len(domain)), &entry, 1, digest)
    return PyBytes_FromStringAndSize(<char *> digest, BLAKE2B_DIGEST)


cdef h2_outcome envoy_arrived(void *state, const CArrived *call, h2_buffer *scratch, h2_answer *answer) noexcept nogil:
    return answer_limits(<CLimits *> state, ENVOY, call, scratch, answer)


cdef h2_outcome check_arrived(void *state, const CArrived *call, h2_buffer *scratch, h2_answer *answer) noexcept nogil:
    return answer_limits(<CLimits *> state, CHECK, call, scratch, answer)


cdef h2_outcome handle_envoy(
    void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer
) noexcept nogil:
    cdef CArrived arrived = arrived_of(call)
    return envoy_arrived(state, &arrived, scratch, answer)


cdef h2_outcome handle_check(
    void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer
) noexcept nogil:
    cdef CArrived arrived = arrived_of(call)
    return check_arrived(state, &arrived, scratch, answer)


# A collector that cleared it would take from threads what they read.
@cython.no_gc_clear
cdef class LimitAnswers:
    """Answers `ShouldRateLimit` and `RateLimitService.Check` by a plan. All but the answers is for one thread.

    The time is that of a clock which began at `epoch_ns` of the clock of elapsed time, as `waypost.clock.SteadyClock`
    has it. `headers`: whether Envoy is told headers for clients. `shadow_mode`: of the process. One call in
    `log_every` leaves word for the log, and each that refuses does. `traced`: calls of recorded traces go up.
    """

    def __cinit__(
        self,
        Table table not None,
        Plan plan not None,
        *,
        int64_t epoch_ns,
        bint headers,
        bint shadow_mode,
        uint32_t log_every,
        bint traced=False,
    ):
        cdef View view = View(plan)
        cdef bytes random = os.urandom(sizeof(hash128_t))
        if log_every < 1:
            raise ValueError("of each 1 or more calls one leaves word")
        self.table = table
        self.old = []
        self.limits.table = &table.table
        self.limits.clock = CClock(epoch_ns, -1)
        memcpy(&self.limits.ids.key, PyBytes_AS_STRING(random), sizeof(hash128_t))
        self.limits.headers = headers
        self.limits.shadow_mode = shadow_mode
        self.limits.log_every = log_every
        self.limits.traced = traced
        for index in range(2):
            self.limits.events.buffers[index] = <CEvent *> calloc(EVENTS, sizeof(CEvent))
            if self.limits.events.buffers[index] == NULL:
                raise MemoryError
        self.view = view
        self.limits.current = &view.view

    def __dealloc__(self):
        for index in range(2):
            free(self.limits.events.buffers[index])

    def register(self, Server server not None, *, bint envoy):
        if envoy:
            server.handle(ENVOY_PATH, handle_envoy, &self.limits, self)
        server.handle(CHECK_PATH, handle_check, &self.limits, self)

    def publish(self, Plan plan not None, RuleTree domains=None, bytes digests not None=b""):
        cdef View view = View(plan, domains, digests)
        self.old.append(self.view)
        self.view = view
        readers_replace(&self.limits.current, &view.view)

    def sweep(self):
        cdef View view = self.view
        cdef list held = []
        cdef set serials = {view.plan.plan.serial}
        for view in self.old:
            if view.waiting or readers_hold(self.limits.readers, MAX_READERS, &view.view):
                held.append(view)
                serials.add(view.plan.plan.serial)
        self.old = held
        return serials

    def ask_store(self, bint envoy, bytes message not None):
        return question_of(self.view, envoy, message, self.limits.headers, self.limits.shadow_mode)

    def pass_up(self):
        number_set(&self.limits.passing, 1)

    def set_time(self, int64_t now_us):
        number_set(&self.limits.clock.fixed_us, now_us)

    def take_events(self):
        cdef uint64_t dropped, refused
        cdef uint32_t count, index
        cdef CEvent *events
        cdef CEvent *event
        cdef list taken = []
        spin_lock(&self.limits.events.lock)
        events = self.limits.events.buffers[self.limits.events.filled]
        count, dropped, refused = (
            self.limits.events.count, self.limits.events.dropped, self.limits.events.dropped_refused
        )
        self.limits.events.filled = 1 - self.limits.events.filled
        self.limits.events.count = 0
        self.limits.events.dropped = self.limits.events.dropped_refused = 0
        spin_unlock(&self.limits.events.lock)
        for index in range(count):
            event = events + index
            taken.append(
                Event(
                    event.method,
                    event.serial,
                    event.refused,
                    bool(event.logged),
                    event.duration_us / 1e6,
                    PyBytes_FromStringAndSize(event.message, event.message_size),
                    event.response_size,
                    event.peer.decode("ascii"),
                    PyBytes_FromStringAndSize(event.correlation, event.correlation_size).decode("ascii"),
                )
            )
        return taken, dropped, refused

    def answer(self, bint envoy, bytes message not None, metadata=(), int64_t timeout_us=-1):
        return ask_handler(envoy_arrived if envoy else check_arrived, &self.limits, message, metadata, timeout_us)

    def answer_without_gil(self, bint envoy, bytes message not None, int64_t times):
        cdef CArrived call = CArrived(h2_slice(NULL, 0), slice_of(message), -1, "unix:")
        cdef handler_t handler = envoy_arrived if envoy else check_arrived
        cdef h2_buffer scratch = h2_buffer(NULL, 0, 0, 0)
        cdef h2_answer answer
        cdef int64_t answered = 0
        with nogil:
            for _ in range(times):
                scratch.length = 0
                answered += handler(&self.limits, &call, &scratch, &answer) == H2_ANSWERED
        h2_buffer_free(&scratch)
        return answered
