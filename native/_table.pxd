"""What compiled code may use of `native._table`: the table, to ask it by `native._request` from any thread.

Such code registers its rules and limits with `Registry.pin` while it holds the interpreter lock, and unpins them when
it asks no more: what is pinned keeps its index. The counter of some texts is `hash_texts` of them, begun with the
digest of the rule.
"""

from libc.stdint cimport int64_t

from native._registry cimport Registry
from native._request cimport CQuestion
from native._slots cimport CTable


cdef class Table:
    cdef CTable table
    cdef Registry registry
    cdef size_t tags_size
    cdef size_t entries_size

    cdef int _allocate(self, int64_t capacity) except -1
    cdef CQuestion *_ask(
        self, tuple questions, CQuestion *few, Py_ssize_t *count, int64_t now_us
    ) except NULL
    cdef int _release(self, CQuestion *asked, CQuestion *few, Py_ssize_t count) except -1


cdef int64_t check_time(int64_t number) except -1
