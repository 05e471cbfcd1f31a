from native._plan cimport View
from native._strict cimport CStoreAsked


cdef class StoreQuestion:
    cdef CStoreAsked asked
    cdef View view
    cdef bint envoy, headers, shadow_mode
    cdef readonly str domain
    # Each counter's once.
    cdef readonly list keys
    cdef readonly bytes argument


cdef StoreQuestion question_of(View view, bint envoy, bytes message, bint headers, bint shadow_mode)
