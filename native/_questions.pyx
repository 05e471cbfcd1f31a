"""Strict limits, with half of the work in compiled code: what to ask the store, and the answer made of its reply.

Linked with `native/rls/*.c`, and with `native/h2/*.c` for the buffer that they write to.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t

from native._plan cimport CAsked, View
from native._rls cimport rls_answer, rls_read_check, rls_read_envoy, rls_request, rls_write_check, rls_write_envoy
from native._server cimport h2_buffer, h2_buffer_free, h2_slice
from native._strict cimport HEADER_NUMBERS, QUESTION_NUMBERS, CStoreWords, ask_strictly
from native._telling cimport tell_all


@cython.no_gc
@cython.freelist(64)
cdef class StoreQuestion:
    """A request whose limits are all the store's to decide: what to ask it, and what the caller is answered then."""

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


cdef StoreQuestion question_of(View view, bint envoy, bytes message, bint headers, bint shadow_mode):
    """A request as a question of the store, by what is in force; None: it is unusual, or meets other rules."""
    cdef rls_request request
    cdef CStoreWords words
    cdef StoreQuestion question
    cdef uint32_t index
    cdef h2_slice data = h2_slice(<const uint8_t *> PyBytes_AS_STRING(message), len(message))
    if not (rls_read_envoy(data, &request) if envoy else rls_read_check(data, &request)):
        return None
    question = StoreQuestion.__new__(StoreQuestion)
    if not ask_strictly(&view.view, &request, &question.asked, &words):
        return None
    question.view = view
    view.waiting += 1
    question.envoy = envoy
    question.headers = headers
    question.shadow_mode = shadow_mode
    question.domain = PyUnicode_DecodeUTF8(request.domain.start, request.domain.size, NULL)
    question.keys = [
        PyBytes_FromStringAndSize(words.keys[index].start, words.keys[index].size)
        for index in range(words.key_count)
    ]
    question.argument = PyBytes_FromStringAndSize(
        <const char *> words.argument, 8 * (HEADER_NUMBERS + QUESTION_NUMBERS * question.asked.count)
    )
    return question
