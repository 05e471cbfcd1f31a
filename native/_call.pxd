"""A call as compiled handlers see it: what arrived, who sent it, and what its answer brings besides the message.

Each answer has the call's correlation id, as `waypost.ids.correlation_id` has it.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from native._server cimport (
    h2_answer,
    h2_buffer,
    h2_call,
    h2_call_fields,
    h2_call_message,
    h2_call_peer,
    h2_call_timeout_us,
    h2_fields_add,
    h2_fields_next,
    h2_slice,
)
from native._slots cimport hash128_t, siphash


cdef extern from "shared.h" nogil:
    uint64_t count_add(uint64_t *counter, uint64_t more)


cdef enum:
    MOST_CORRELATION = 128
    UUID_CHARACTERS = 36
    TRACEPARENT_BYTES = 55
    RESOURCE_EXHAUSTED = 8


cdef struct CArrived:
    h2_slice fields
    h2_slice message
    # -1: the caller sets none.
    int64_t timeout_us
    const char *peer


# Makes random ids: hashes of a counter under a secret key.
cdef struct CIds:
    hash128_t key
    uint64_t made


cdef struct CCaller:
    # It came through the edge, or with credentials.
    bint special
    # It belongs to a trace that is recorded, or may.
    bint traced
    const char *correlation
    uint32_t correlation_size
    char made[UUID_CHARACTERS]


cdef inline bint is_named(h2_slice name, const char *other, size_t size) noexcept nogil:
    return name.length == size and memcmp(name.data, other, size) == 0


cdef inline bint is_correlation_id(h2_slice text) noexcept nogil:
    """Whether it is 1 to 128 of `[A-Za-z0-9._-]`."""
    cdef size_t index
    cdef uint8_t byte
    if not 1 <= text.length <= MOST_CORRELATION:
        return False
    for index in range(text.length):
        byte = text.data[index]
        if not (
            c"a" <= byte | 0x20 <= c"z" or c"0" <= byte <= c"9" or byte == c"-" or byte == c"." or byte == c"_"
        ):
            return False
    return True


cdef inline bint may_be_recorded(h2_slice traceparent) noexcept nogil:
    """Whether it is not one of version 00 whose last bit says that its trace is not sampled."""
    cdef const char *even = "02468ace"
    if traceparent.length != TRACEPARENT_BYTES:
        return True
    return memchr(even, traceparent.data[TRACEPARENT_BYTES - 1], 8) == NULL


cdef inline void make_uuid(CIds *ids, char *text) noexcept nogil:
    """36 characters of a UUID of version 4."""
    cdef const char *digits = "0123456789abcdef"
    cdef hash128_t random = siphash(ids.key, count_add(&ids.made, 1), NULL, 0)
    cdef uint64_t bits
    cdef unsigned int index, place = 0
    # RFC 9562, 5.4: version and variant.
    random.high = random.high & ~<uint64_t> 0xf000 | 0x4000
    random.low = random.low << 2 >> 2 | <uint64_t> 1 << 63
    for index in range(32):
        if index == 8 or index == 12 or index == 16 or index == 20:
            text[place] = c"-"
            place += 1
        bits = random.high if index < 16 else random.low
        text[place] = digits[bits >> (60 - 4 * (index & 15)) & 15]
        place += 1


cdef inline void read_caller(h2_slice fields, CIds *ids, CCaller *caller) noexcept nogil:
    """Of what comes twice, the first counts. The correlation id is one of the fields' or in `caller` itself."""
    cdef h2_slice correlation = h2_slice(NULL, 0)
    cdef h2_slice request = h2_slice(NULL, 0)
    cdef h2_slice name, value
    cdef size_t position = 0
    caller.special = caller.traced = False
    while h2_fields_next(fields, &position, &name, &value):
        if is_named(name, "x-correlation-id", 16):
            if correlation.data == NULL:
                correlation = value
        elif is_named(name, "x-request-id", 12):
            if request.data == NULL:
                request = value
        elif is_named(name, "traceparent", 11):
            caller.traced = caller.traced or may_be_recorded(value)
        elif (
            is_named(name, "x-waypost-edge", 14)
            or is_named(name, "authorization", 13)
            or is_named(name, "x-api-key", 9)
            or is_named(name, "x-workspace", 11)
        ):
            caller.special = True
    if not is_correlation_id(correlation):
        correlation = request
    if is_correlation_id(correlation):
        caller.correlation = <const char *> correlation.data
        caller.correlation_size = <uint32_t> correlation.length
    else:
        make_uuid(ids, caller.made)
        caller.correlation = caller.made
        caller.correlation_size = UUID_CHARACTERS


cdef inline CArrived arrived_of(const h2_call *call) noexcept nogil:
    cdef int whole
    cdef CArrived arrived
    # Handlers are asked when it is whole.
    arrived.message = h2_call_message(call, &whole)
    arrived.fields = h2_call_fields(call)
    arrived.timeout_us = h2_call_timeout_us(call)
    arrived.peer = h2_call_peer(call)
    return arrived


cdef inline size_t add_correlation(h2_buffer *scratch, const CCaller *caller) noexcept nogil:
    h2_fields_add(
        scratch,
        h2_slice(<const uint8_t *> "x-correlation-id", 16),
        h2_slice(<const uint8_t *> caller.correlation, caller.correlation_size),
    )
    return scratch.length


cdef inline void finish(h2_answer *answer, h2_buffer *scratch, size_t body) noexcept nogil:
    """The fields behind the answer are the first of `scratch`; its message begins at `body`."""
    if scratch.failed:
        answer.status = RESOURCE_EXHAUSTED
        answer.message = h2_slice(<const uint8_t *> "out of memory", 13)
        return
    answer.trailing = h2_slice(scratch.data, body)
    answer.body = h2_slice(scratch.data + body, scratch.length - body)
