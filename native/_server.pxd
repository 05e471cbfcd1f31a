from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "h2/h2.h" nogil:
    ctypedef struct h2_server:
        pass
    ctypedef struct h2_call:
        pass

    ctypedef struct h2_slice:
        const uint8_t *data
        size_t length

    ctypedef struct h2_config:
        uint32_t threads
        uint32_t max_connections
        uint32_t max_streams
        uint32_t max_header_bytes
        uint32_t max_message_bytes
        uint32_t max_in_flight
        uint64_t max_waiting_bytes
        uint32_t max_resets
        uint32_t max_pings
        uint32_t max_settings
        uint32_t idle_ms
        uint32_t message_ms
        uint32_t write_ms

    ctypedef struct h2_answer:
        int status
        h2_slice message
        h2_slice initial
        h2_slice trailing
        h2_slice body

    ctypedef struct h2_buffer:
        uint8_t *data
        size_t length
        size_t capacity
        int failed

    void h2_buffer_add(h2_buffer *, const void *, size_t)
    void h2_buffer_free(h2_buffer *)
    void h2_fields_add(h2_buffer *, h2_slice, h2_slice)
    bint h2_fields_next(h2_slice, size_t *, h2_slice *, h2_slice *)
    h2_slice h2_fields_find(h2_slice, const char *)

    h2_slice h2_call_path(const h2_call *)
    h2_slice h2_call_fields(const h2_call *)
    h2_slice h2_call_message(const h2_call *, int *)
    int64_t h2_call_timeout_us(const h2_call *)
    uint64_t h2_call_waited_ns(const h2_call *)
    const char *h2_call_peer(const h2_call *)

    ctypedef enum h2_outcome:
        H2_ANSWERED
        H2_GO_UP
    ctypedef h2_outcome (*h2_handler)(void *, const h2_call *, int64_t, h2_buffer *, h2_answer *)

    h2_server *h2_server_new(const h2_config *)
    int h2_server_handle(h2_server *, const char *, h2_handler, void *)
    int h2_server_start(h2_server *, int)
    void h2_server_drain(h2_server *)
    void h2_server_stop(h2_server *)
    void h2_server_free(h2_server *)
    int h2_server_up_fd(const h2_server *)
    h2_call *h2_server_take(h2_server *, int *)
    void h2_call_end(h2_call *, const h2_answer *)
    void h2_server_flush(h2_server *)
    void h2_call_set_owner(h2_call *, void *)
    void *h2_call_owner(const h2_call *)

    enum:
        H2_BUCKETS
        H2_METHODS
        H2_CAPS
    const double h2_buckets[]
    const char *const h2_cap_names[]

    ctypedef struct h2_stats:
        uint64_t calls[16]
        uint64_t failed[16]
        uint64_t seconds[16][16]
        uint64_t nanoseconds[16]
        uint64_t up
        uint64_t refused
        uint64_t cancelled
        uint64_t accepted
        uint64_t caps[12]
        uint64_t connections
        uint64_t in_flight
        uint64_t waiting_bytes
    void h2_server_stats(const h2_server *, h2_stats *)


cdef class Server:
    cdef h2_server *server
    cdef bint started
    cdef list paths
    cdef object keep  # what compiled handlers read
    # Of the calls that were taken: how long each has waited for that.
    cdef uint64_t taken
    cdef uint64_t waited_ns
    cdef uint64_t waits[H2_BUCKETS + 1]
    cdef void _took(self, uint64_t waited_ns) noexcept
    cdef int handle(self, bytes path, h2_handler handler, void *state, object owner) except -1
