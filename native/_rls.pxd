"""`native/rls/rls.h`: what the rate limiter is asked and answers, read and written without an interpreter."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t

from native._server cimport h2_buffer, h2_slice


cdef extern from "rls/rls.h" nogil:
    enum:
        RLS_DESCRIPTORS
        RLS_ENTRIES

    ctypedef struct rls_text:
        const char *start
        size_t size

    ctypedef struct rls_entry:
        rls_text key
        rls_text value

    ctypedef struct rls_descriptor:
        uint32_t first_entry
        uint32_t entries
        bint has_hits
        int64_t hits

    ctypedef struct rls_request:
        rls_text domain
        uint32_t hits
        uint32_t descriptors
        rls_descriptor *descriptor
        rls_entry *entry

    bint rls_read_envoy(h2_slice, rls_request *)
    bint rls_read_check(h2_slice, rls_request *)
    bint rls_read_health(h2_slice, rls_text *)

    ctypedef struct rls_rule:
        rls_text place
        rls_text name
        rls_text quoted
        bint shadow_mode
        bint quota_mode

    ctypedef struct rls_status:
        const rls_rule *rule
        bint limited
        int64_t limit
        int64_t window_us
        int unit
        int64_t remaining
        int64_t reset_after_us
        int64_t retry_after_us
        bint allowed
        bint over_limit

    ctypedef struct rls_answer:
        bint allowed
        int64_t retry_after_us
        uint32_t statuses
        rls_status *status

    void rls_write_envoy(const rls_answer *, bint headers, bint shadow_mode, h2_buffer *)
    void rls_write_check(const rls_answer *, h2_buffer *)
    void rls_write_health(int status, h2_buffer *)
