from native._answering cimport CLimits
from native._plan cimport View
from native._table cimport Table


cdef class LimitAnswers:
    cdef CLimits limits
    cdef Table table
    # What is in force, and what was before and some thread may still read.
    cdef View view
    cdef list old
