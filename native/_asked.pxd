"""A compiled handler asked without a port, for tests: a call that came from nowhere, and what is answered to it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

from native._call cimport CArrived
from native._server cimport (
    H2_ANSWERED,
    h2_answer,
    h2_buffer,
    h2_buffer_free,
    h2_fields_add,
    h2_fields_next,
    h2_outcome,
    h2_slice,
)


ctypedef h2_outcome (*handler_t)(void *, const CArrived *, h2_buffer *, h2_answer *) noexcept nogil


cdef inline h2_slice slice_of(bytes words) noexcept:
    return h2_slice(<const uint8_t *> PyBytes_AS_STRING(words), len(words))


cdef inline object ask_handler(handler_t handler, void *state, bytes message, object metadata, int64_t timeout_us):
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
    answer.trailing = answer.body = h2_slice(NULL, 0)
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
