"""What compiled code may use of `native._rules`: the tree in force, for threads without the interpreter lock.

A thread registers as a reader of a `CurrentTree` while it holds the lock. Without it, it enters, matches by
`native._tree`, uses what it was given, which points into the tree or into the request, and leaves; between two requests
is its quiet point.
"""

from native._tree cimport CRuleTree


cdef extern from "readers.h" nogil:
    ctypedef struct reader_t:
        const void *held
        bint taken

    const void *reader_enter(reader_t *reader, const void **current)
    void reader_leave(reader_t *reader)
    void readers_replace(const void **current, const void *by)
    bint readers_hold(const reader_t *readers, size_t count, const void *old)


cdef enum:
    MAX_ENTRIES = 64
    MAX_READERS = 64


cdef class RuleTree:
    cdef CRuleTree tree

    cdef int _allocate(self, list nodes, list names, dict places) except -1
    cdef int _fill(self, list nodes, list names, dict places) except -1


cdef class CurrentTree:
    cdef const void *_current
    cdef reader_t _readers[MAX_READERS]
    cdef RuleTree _tree
    # Replaced ones that were in use when that was last looked at; at most one for each reader.
    cdef list _old

    cdef reader_t *register(self) except NULL
    cdef void unregister(self, reader_t *reader) noexcept
    cdef const CRuleTree *enter(self, reader_t *reader) noexcept nogil
