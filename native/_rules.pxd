"""What compiled code may use of `native._rules`: to match texts without the interpreter lock, from any thread.

A thread registers as a reader of a `CurrentTree` while it holds the lock. Without it, it enters, matches, uses what it
was given, which points into the tree or into the request, and leaves; between two requests is its quiet point.
"""

from libc.stdint cimport int32_t, uint32_t


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


cdef struct CText:
    # UTF-8; never NULL.
    const char *start
    size_t size


cdef struct CEntryTexts:
    CText key
    CText value


cdef struct CNode:
    CText key
    CText value
    # What its counters have for a value if its pattern was met; start NULL: the request's.
    CText shared
    # Open addressing by key and value. None: there are no children.
    uint32_t first_slot
    uint32_t slot_count
    uint32_t first_pattern
    uint32_t pattern_count
    # Of the children's values: longer ones need not be looked for.
    uint32_t longest
    # Negative: none.
    int32_t rule


cdef struct CSlot:
    uint32_t hash
    # 0: free.
    uint32_t node


cdef struct CPattern:
    # The key's parts, then the value's, of which there are none if it stands for any.
    uint32_t first_part
    uint32_t key_parts
    uint32_t value_parts
    uint32_t node


cdef struct CRuleTree:
    # The first one's children are the domains.
    CNode *nodes
    CSlot *slots
    CPattern *patterns
    CText *parts
    char *texts
    uint32_t depth


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


cdef int32_t find_rule(
    const CRuleTree *tree, CText domain, const CEntryTexts *entries, size_t count, CText *counted
) noexcept nogil
