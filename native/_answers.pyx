"""Compiled handlers of the hot port: rate limits and health, answered on the transport's threads.

They answer what is ordinary, without the interpreter lock (`native/_answering.pxd`), and leave the rest to the
servicers, whose answers theirs equal byte for byte. What they read is published whole, and what it replaced is kept
until no thread reads it any more (`readers.h`). Linked with `native/rls/*.c`, and with `native/h2/*.c` for what reads
and packs fields.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from native._answering cimport (
    CHECK,
    ENVOY,
    CClock,
    CHealth,
    CLimits,
    CService,
    answer_health,
    answer_limits,
    elapsed_ns,
    number_set,
)
from native._call cimport CArrived, arrived_of
from native._events cimport EVENTS, MESSAGE_BYTES, CEvent
from native._overridden cimport BLAKE2B_DIGEST, descriptor_digest
from native._plan cimport CAsked, CView, Plan, tell_all
from native._rls cimport rls_answer, rls_read_check, rls_read_envoy, rls_request, rls_write_check, rls_write_envoy
from native._rules cimport MAX_READERS, RuleTree, readers_hold, readers_replace
from native._server cimport (
    H2_ANSWERED,
    Server,
    h2_answer,
    h2_buffer,
    h2_buffer_free,
    h2_call,
    h2_fields_add,
    h2_fields_next,
    h2_outcome,
    h2_slice,
)
from native._slots cimport hash128_t, spin_lock, spin_unlock
from native._strict cimport HEADER_NUMBERS, QUESTION_NUMBERS, CStoreAsked, CStoreWords, ask_strictly
from native._table cimport Table
from native._tree cimport CEntryTexts, CText

from native.plan import Event

cdef bytes ENVOY_PATH = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
cdef bytes CHECK_PATH = b"/waypost.api.v1.RateLimitService/Check"
cdef bytes HEALTH_PATH = b"/grpc.health.v1.Health/Check"

LONGEST_MESSAGE = MESSAGE_BYTES
"""Bytes of a request; longer ones go up."""
MOST_EVENTS = EVENTS
"""So many calls leave word between two looks; of more only the number is known."""


cdef hash128_t _secret() except *:
    cdef hash128_t key
    cdef bytes random = os.urandom(16)
    key.low = int.from_bytes(random[:8], "little")
    key.high = int.from_bytes(random[8:], "little")
    return key


def override_digest(bytes domain not None, bytes key not None, bytes value not None):
    cdef CEntryTexts entry
    cdef unsigned char digest[32]
    entry.key = CText(PyBytes_AS_STRING(key), len(key))
    entry.value = CText(PyBytes_AS_STRING(value), len(value))
    descriptor_digest(CText(PyBytes_AS_STRING(domain), len(domain)), &entry, 1, digest)
    return PyBytes_FromStringAndSize(<char *> digest, BLAKE2B_DIGEST)


cdef inline h2_slice slice_of(bytes words) noexcept:
    return h2_slice(<const uint8_t *> PyBytes_AS_STRING(words), len(words))


@cython.no_gc_clear
cdef class _View:
    """A plan and what has overrides, which are in force together."""

    cdef CView view
    cdef Plan plan
    cdef RuleTree domains
    cdef bytes digests
    # Questions of the store that were asked by it and are there still.
    cdef int waiting


cdef _View _view_of(Plan plan, RuleTree domains, bytes digests):
    cdef _View view = _View.__new__(_View)
    view.plan = plan
    view.domains = domains
    view.digests = digests
    view.view.plan = &plan.plan
    view.view.overridden.domains = NULL if domains is None else &domains.tree
    view.view.overridden.digests = <const unsigned char *> PyBytes_AS_STRING(digests)
    view.view.overridden.count = len(digests) // BLAKE2B_DIGEST
    return view


@cython.no_gc
@cython.freelist(64)
cdef class StoreQuestion:
    """A request whose limits are all the store's to decide: what to ask it, and what the caller is answered then."""

    cdef CStoreAsked asked
    cdef _View view
    cdef bint envoy, headers, shadow_mode
    cdef readonly str domain
    cdef readonly list keys
    """Each counter's once."""
    cdef readonly bytes argument

    def __dealloc__(self):
        if self.view is not None:
            self.view.waiting -= 1

    def close(self):
        if self.view is not None:
            self.view.waiting -= 1
            self.view = None

    @property
    def serial(self):
        return 0 if self.view is None else self.view.plan.plan.serial

    def answer(self, list reply not None):
        cdef CAsked asked
        cdef rls_answer told
        cdef h2_buffer message = h2_buffer(NULL, 0, 0, 0)
        cdef uint32_t index, place, refused
        if self.view is None:
            raise TypeError("there is nothing to answer: it was closed, or does not come from LimitAnswers.ask_store")
        if len(reply) != 1 + 4 * <Py_ssize_t> self.asked.count:
            raise ValueError(f"the store was asked {self.asked.count} questions and has answered others")
        asked.count = self.asked.count
        for index in range(self.asked.descriptors):
            asked.rules[index] = self.asked.rules[index]
        for index in range(self.asked.count):
            place = 1 + 4 * index
            asked.limits[index] = self.asked.limits[index]
            asked.questions[index].mode = self.asked.limits[index].mode
            asked.questions[index].descriptor = self.asked.descriptor_of[index]
            asked.questions[index].decision.allowed = <int64_t> reply[place] == 1
            asked.questions[index].decision.remaining = reply[place + 1]
            asked.questions[index].decision.reset_after_us = reply[place + 2]
            asked.questions[index].decision.retry_after_us = max(<int64_t> -1, <int64_t> reply[place + 3])
        refused = tell_all(self.view.view.plan, self.asked.descriptors, &asked, <int64_t> reply[0] == 1, &told)
        try:
            if self.envoy:
                rls_write_envoy(&told, self.headers, self.shadow_mode, &message)
            else:
                rls_write_check(&told, &message)
            if message.failed:
                raise MemoryError
            return PyBytes_FromStringAndSize(<const char *> message.data, message.length), refused
        finally:
            h2_buffer_free(&message)


ctypedef h2_outcome (*handler_t)(void *, const CArrived *, h2_buffer *, h2_answer *) noexcept nogil


cdef h2_outcome envoy_arrived(void *state, const CArrived *call, h2_buffer *scratch, h2_answer *answer) noexcept nogil:
    return answer_limits(<CLimits *> state, ENVOY, call, scratch, answer)


cdef h2_outcome check_arrived(void *state, const CArrived *call, h2_buffer *scratch, h2_answer *answer) noexcept nogil:
    return answer_limits(<CLimits *> state, CHECK, call, scratch, answer)


cdef h2_outcome health_arrived(void *state, const CArrived *call, h2_buffer *scratch, h2_answer *answer) noexcept nogil:
    return answer_health(<CHealth *> state, call, scratch, answer)


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


cdef h2_outcome handle_health(
    void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer
) noexcept nogil:
    cdef CArrived arrived = arrived_of(call)
    return health_arrived(state, &arrived, scratch, answer)


cdef object _asked(handler_t handler, void *state, bytes message, object metadata, int64_t timeout_us):
    """What a handler answers to a call that came from nowhere: message and fields, None: it went up."""
    cdef CArrived call
    cdef h2_buffer fields = h2_buffer(NULL, 0, 0, 0)
    cdef h2_buffer scratch = h2_buffer(NULL, 0, 0, 0)
    cdef h2_answer answer
    cdef h2_outcome outcome
    cdef h2_slice name, value
    cdef size_t position = 0
    cdef list trailing = []
    answer.status = 0
    try:
        for key, content in metadata:
            h2_fields_add(&fields, slice_of(key.encode()), slice_of(content.encode()))
        call = CArrived(h2_slice(fields.data, fields.length), slice_of(message), timeout_us, "unix:")
        with nogil:
            outcome = handler(state, &call, &scratch, &answer)
        if fields.failed or scratch.failed:
            raise MemoryError
        if outcome != H2_ANSWERED:
            return None
        while h2_fields_next(answer.trailing, &position, &name, &value):
            trailing.append(((<char *> name.data)[:name.length].decode(), (<char *> value.data)[:value.length].decode()))
        return PyBytes_FromStringAndSize(<const char *> answer.body.data, answer.body.length), trailing
    finally:
        h2_buffer_free(&fields)
        h2_buffer_free(&scratch)


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
        cdef _View view = _view_of(plan, None, b"")
        if log_every < 1:
            raise ValueError("of each 1 or more calls one leaves word")
        self.table = table
        self.old = []
        self.limits.table = &table.table
        self.limits.clock = CClock(epoch_ns, -1)
        self.limits.ids.key = _secret()
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
        cdef _View view = _view_of(plan, domains, digests)
        self.old.append(self.view)
        self.view = view
        readers_replace(&self.limits.current, &view.view)

    def sweep(self):
        cdef _View view = self.view
        cdef list held = []
        cdef set serials = {view.plan.plan.serial}
        for view in self.old:
            if view.waiting or readers_hold(self.limits.readers, MAX_READERS, &view.view):
                held.append(view)
                serials.add(view.plan.plan.serial)
        self.old = held
        return serials

    def ask_store(self, bint envoy, bytes message not None):
        cdef rls_request request
        cdef CStoreWords words
        cdef StoreQuestion question
        cdef _View view = self.view
        cdef uint32_t index
        cdef h2_slice data = slice_of(message)
        if not (rls_read_envoy(data, &request) if envoy else rls_read_check(data, &request)):
            return None
        question = StoreQuestion.__new__(StoreQuestion)
        if not ask_strictly(&view.view, &request, &question.asked, &words):
            return None
        question.view = view
        view.waiting += 1
        question.envoy = envoy
        question.headers = self.limits.headers
        question.shadow_mode = self.limits.shadow_mode
        question.domain = PyUnicode_DecodeUTF8(request.domain.start, request.domain.size, NULL)
        question.keys = [
            PyBytes_FromStringAndSize(words.keys[index].start, words.keys[index].size)
            for index in range(words.key_count)
        ]
        question.argument = PyBytes_FromStringAndSize(
            <const char *> words.argument, 8 * (HEADER_NUMBERS + QUESTION_NUMBERS * question.asked.count)
        )
        return question

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
        return _asked(envoy_arrived if envoy else check_arrived, &self.limits, message, metadata, timeout_us)

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


@cython.no_gc_clear
cdef class HealthAnswers:
    """Answers `grpc.health.v1.Health/Check` for these services, of which none serves before it is said.

    And none does, whatever is said of it, `seconds` after the last `beat`. Others are left to the servicer, as are
    calls of recorded traces where there is somebody to record them (`traced`).
    """

    def __cinit__(self, services, *, double seconds=2.0, bint traced=False):
        cdef CService *service
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
        self.health.ids.key = _secret()
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
        return _asked(health_arrived, &self.health, message, metadata, timeout_us)
