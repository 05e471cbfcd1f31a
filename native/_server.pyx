"""The hot port's transport for Python: starts it, takes the calls that go up, and ends them. See `native/h2/h2.h`."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.string cimport memcmp


cdef str text_of(h2_slice words):
    try:
        return PyUnicode_DecodeUTF8(<const char *>words.data, words.length, NULL)
    except UnicodeDecodeError:
        # As grpcio reads it: different bytes stay different.
        return PyUnicode_DecodeLatin1(<const char *>words.data, words.length, NULL)


cdef list fields_of(h2_slice packed):
    cdef size_t position = 0
    cdef h2_slice name, value
    cdef list fields = []
    while h2_fields_next(packed, &position, &name, &value):
        if name.length > 4 and memcmp(name.data + name.length - 4, b"-bin", 4) == 0:
            fields.append((text_of(name), PyBytes_FromStringAndSize(<const char *>value.data, value.length)))
        else:
            fields.append((text_of(name), text_of(value)))
    return fields


cdef inline h2_slice slice_of(bytes words) noexcept:
    return h2_slice(<const uint8_t *>PyBytes_AS_STRING(words), PyBytes_GET_SIZE(words))


cdef int pack(h2_buffer *buffer, object fields) except -1:
    cdef bytes name, value
    for key, content in fields:
        name = (<str>key).encode("ascii")
        value = content if isinstance(content, bytes) else (<str>content).encode("utf-8")
        h2_fields_add(buffer, slice_of(name), slice_of(value))
    if buffer.failed:
        raise MemoryError
    return 0


# A collector that cleared it first would free its server before it is ended.
@cython.no_gc_clear
cdef class Call:
    """A unary call that went up. It must be ended, once; one that nobody ends is INTERNAL to its caller."""

    cdef h2_call *call
    cdef Server server
    cdef readonly str method
    """Its path, `/package.Service/Method`."""
    cdef readonly list metadata
    """Pairs of name and value: `str`, `bytes` for names that end in `-bin`."""
    cdef readonly str peer
    cdef readonly object timeout
    """Seconds that the caller gives, None: it does not say."""
    cdef readonly object message
    """The bytes; None: none came in time."""
    cdef public object task
    """Its owner's, told when the caller is gone."""

    def __init__(self):
        raise TypeError("calls come from Server.take")

    def end(self, int status, str message not None="", initial=(), trailing=(), bytes body not None=b""):
        """Ends the call: `status` by number, metadata as it arrives; sent by `Server.flush`."""
        cdef h2_answer answer
        cdef h2_buffer first, last
        cdef bytes words
        if self.call is NULL:
            raise RuntimeError("the call was ended already")
        first = h2_buffer(NULL, 0, 0, 0)
        last = h2_buffer(NULL, 0, 0, 0)
        try:
            words = message.encode("utf-8", "replace")
            pack(&first, initial)
            pack(&last, trailing)
            answer.status = status
            answer.message = slice_of(words)
            answer.initial = h2_slice(first.data, first.length)
            answer.trailing = h2_slice(last.data, last.length)
            answer.body = slice_of(body)
            self._end(&answer)
        finally:
            h2_buffer_free(&first)
            h2_buffer_free(&last)

    cdef void _end(self, h2_answer *answer) noexcept:
        cdef h2_call *call = self.call
        self.call = NULL
        h2_call_set_owner(call, NULL)
        h2_call_end(call, answer)

    def __dealloc__(self):
        cdef h2_answer answer
        if self.call is NULL:
            return
        answer.status = 13
        answer.message = h2_slice(<const uint8_t *>b"internal error", 14)
        answer.initial = answer.trailing = answer.body = h2_slice(NULL, 0)
        self._end(&answer)


cdef Call call_of(Server server, h2_call *taken):
    cdef Call call = Call.__new__(Call)
    cdef int whole
    cdef int64_t timeout_us = h2_call_timeout_us(taken)
    cdef h2_slice message = h2_call_message(taken, &whole)
    call.call = taken
    call.server = server
    h2_call_set_owner(taken, <void *>call)
    call.method = text_of(h2_call_path(taken))
    call.metadata = fields_of(h2_call_fields(taken))
    call.peer = h2_call_peer(taken).decode("ascii")
    call.timeout = None if timeout_us < 0 else timeout_us / 1e6
    call.message = PyBytes_FromStringAndSize(<const char *>message.data, message.length) if whole else None
    return call


# A collector that cleared it first would take from under its threads what compiled handlers read.
@cython.no_gc_clear
cdef class Server:
    """Serves unary gRPC on threads of its own. Bounds as in `h2_config`: sizes in bytes, times in milliseconds."""

    def __cinit__(self, *, **bounds):
        cdef h2_config config
        config.threads = bounds.pop("threads")
        config.max_connections = bounds.pop("max_connections")
        config.max_streams = bounds.pop("max_streams")
        config.max_header_bytes = bounds.pop("max_header_bytes")
        config.max_message_bytes = bounds.pop("max_message_bytes")
        config.max_in_flight = bounds.pop("max_in_flight")
        config.max_waiting_bytes = bounds.pop("max_waiting_bytes")
        config.max_resets = bounds.pop("max_resets")
        config.max_pings = bounds.pop("max_pings")
        config.max_settings = bounds.pop("max_settings")
        config.idle_ms = bounds.pop("idle_ms")
        config.message_ms = bounds.pop("message_ms")
        config.write_ms = bounds.pop("write_ms")
        if bounds:
            raise TypeError(f"no bound: {', '.join(bounds)}")
        self.paths = []
        self.keep = []
        self.server = h2_server_new(&config)
        if self.server is NULL:
            raise MemoryError

    cdef int handle(self, bytes path, h2_handler handler, void *state, object owner) except -1:
        """Has calls of `path` answered by a compiled handler; `owner` keeps its state alive."""
        if self.started:
            raise RuntimeError("the server has started")
        if h2_server_handle(self.server, path, handler, state) < 0:
            raise OverflowError(f"at most {H2_METHODS} methods have compiled handlers")
        self.paths.append(path)
        self.keep.append(owner)
        return 0

    def start(self, int listener):
        """Serves connections of a listening, non-blocking socket, which stays the caller's; once. Raises `OSError`."""
        cdef int error
        if self.started:
            raise RuntimeError("the server has started")
        with nogil:
            error = h2_server_start(self.server, listener)
        if error:
            raise OSError(error, "the threads of the hot port could not be started")
        self.started = True

    def __dealloc__(self):
        # Calls keep their server: none is left that could be ended.
        if self.server is not NULL:
            with nogil:
                if self.started:
                    h2_server_stop(self.server)
                h2_server_free(self.server)

    def drain(self):
        """Accepts no more connections, and asks clients to go when their calls are done."""
        with nogil:
            h2_server_drain(self.server)

    def stop(self):
        """Closes all connections."""
        with nogil:
            h2_server_stop(self.server)

    @property
    def up_fd(self):
        """Readable when there are calls to take."""
        return h2_server_up_fd(self.server)

    def take(self, int most):
        """At most so many pairs of a call and whether its caller is gone; one taken before comes again then."""
        cdef list taken = []
        cdef h2_call *call
        cdef int cancelled
        cdef PyObject *owner
        while len(taken) < most:
            call = h2_server_take(self.server, &cancelled)
            if call is NULL:
                break
            owner = <PyObject *>h2_call_owner(call)
            if owner is NULL:
                self._took(h2_call_waited_ns(call))
            taken.append((<Call>owner if owner is not NULL else call_of(self, call), bool(cancelled)))
        return taken

    cdef void _took(self, uint64_t waited_ns) noexcept:
        cdef int bucket = 0
        while bucket < H2_BUCKETS and waited_ns > h2_buckets[bucket] * 1e9:
            bucket += 1
        self.taken += 1
        self.waited_ns += waited_ns
        self.waits[bucket] += 1

    def flush(self):
        """Sends the answers of the calls that were ended since the last time."""
        h2_server_flush(self.server)

    def stats(self):
        """What was counted since the start, and what is there now; see `native.server.ServerStats`."""
        cdef h2_stats found
        cdef int method, bucket
        h2_server_stats(self.server, &found)
        methods = {}
        for method, path in enumerate(self.paths):
            methods[(<bytes>path).decode("ascii")] = {
                "calls": found.calls[method],
                "failed": found.failed[method],
                "nanoseconds": found.nanoseconds[method],
                "buckets": [found.seconds[method][bucket] for bucket in range(H2_BUCKETS + 1)],
            }
        return {
            "methods": methods,
            "up": found.up,
            "taken": {
                "calls": self.taken,
                "nanoseconds": self.waited_ns,
                "buckets": [self.waits[bucket] for bucket in range(H2_BUCKETS + 1)],
            },
            "refused": found.refused,
            "cancelled": found.cancelled,
            "accepted": found.accepted,
            "caps": {h2_cap_names[cap].decode("ascii"): found.caps[cap] for cap in range(H2_CAPS)},
            "connections": found.connections,
            "in_flight": found.in_flight,
            "waiting_bytes": found.waiting_bytes,
        }


BUCKETS = tuple(h2_buckets[bucket] for bucket in range(H2_BUCKETS))
"""Upper bounds of the latency histograms of compiled handlers, in seconds; one more bucket is beyond."""
