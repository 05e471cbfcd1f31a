from libc.stdint cimport int64_t, uint32_t

from native._request cimport CQuestion
from native._slots cimport hash128_t
from native._table cimport Table


cdef class KeyedLimiter:
    cdef Table _table
    cdef hash128_t _digest
    cdef uint32_t _rule
    cdef uint32_t _limit

    cdef int _ask(self, CQuestion *question, str key, int64_t hits) except -1
