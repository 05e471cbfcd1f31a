"""Numbers for the rules and limits that a table's counters refer to."""

from libc.stdint cimport int64_t, uint32_t

from native._slots cimport CTable, hash128_t


cdef class Registry:
    cdef CTable *_table
    cdef hash128_t _seed
    # Indices by rule, and by algorithm, limit, window and burst.
    cdef dict _rules
    cdef dict _limits
    cdef list _free_rules
    cdef list _free_limits
    cdef uint32_t _rule_room
    cdef uint32_t _limit_room
    # Pairs of a rule and a limit by their addresses, to know them again at once.
    cdef list _seen

    cdef int begin(self, CTable *table, hash128_t seed) except -1
    cdef int pin(self, object rule, object limit, int64_t now_us, uint32_t *rule_index, uint32_t *limit_index) except -1
    cdef void unpin(self, uint32_t rule_index, uint32_t limit_index) noexcept
    cdef size_t size(self) noexcept
    cdef object rule_index(self, object rule)
    cdef uint32_t _register_rule(self, object rule, int64_t now_us) except? 0xffffffff
    cdef uint32_t _register_limit(self, object limit, int64_t now_us) except? 0xffffffff
    cdef int _make_room(self, int64_t now_us) except -1
    cdef int _grow_rules(self) except -1
    cdef int _grow_limits(self) except -1


cdef int hash_texts(hash128_t *digest, object texts) except -1
