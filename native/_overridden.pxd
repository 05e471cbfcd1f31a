"""Whether a descriptor has an override, for threads without the interpreter lock: by its digest, among sorted ones."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from native._tree cimport CEntryTexts, CRuleTree, CText


cdef extern from "blake2b.h" nogil:
    enum:
        BLAKE2B_DIGEST

    ctypedef struct blake2b_t:
        pass

    void blake2b_begin(blake2b_t *hash, const char *purpose)
    void blake2b_add_text(blake2b_t *hash, const char *text, size_t length)
    void blake2b_end(blake2b_t *hash, unsigned char *digest)


cdef struct COverridden:
    # Its domains have some; NULL: none has.
    const CRuleTree *domains
    # One behind the other, in ascending order.
    const unsigned char *digests
    size_t count


cdef inline void descriptor_digest(
    CText domain, const CEntryTexts *entries, uint32_t count, unsigned char *digest
) noexcept nogil:
    """`waypost.overrides.digest_of`."""
    cdef blake2b_t hash
    cdef uint32_t index
    blake2b_begin(&hash, "waypost override")
    blake2b_add_text(&hash, domain.start, domain.size)
    for index in range(count):
        blake2b_add_text(&hash, entries[index].key.start, entries[index].key.size)
        blake2b_add_text(&hash, entries[index].value.start, entries[index].value.size)
    blake2b_end(&hash, digest)


cdef inline bint is_overridden(
    const COverridden *overridden, CText domain, const CEntryTexts *entries, uint32_t count
) noexcept nogil:
    cdef unsigned char digest[32]
    cdef size_t first = 0
    cdef size_t behind = overridden.count
    cdef size_t middle
    cdef int order
    descriptor_digest(domain, entries, count, digest)
    while first < behind:
        middle = (first + behind) // 2
        order = memcmp(digest, overridden.digests + middle * BLAKE2B_DIGEST, BLAKE2B_DIGEST)
        if order == 0:
            return True
        if order < 0:
            behind = middle
        else:
            first = middle + 1
    return False
