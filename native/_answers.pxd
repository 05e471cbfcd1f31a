from native._answering cimport CHealth, CLimits
from native._table cimport Table


cdef class LimitAnswers:
    cdef CLimits limits
    cdef Table table
    # What is in force, and what was before and some thread may still read.
    cdef object view
    cdef list old


cdef class HealthAnswers:
    cdef CHealth health
    cdef tuple names
    cdef dict numbers
