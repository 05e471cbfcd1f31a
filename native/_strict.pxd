"""Strict limits of a request, for who asks the store: keys and argument of its script, and what became of the request.

The same as `waypost.adapters.redis_script` and `waypost.adapters.redis_keys` make of `ratelimiter.asking`'s questions,
for what a plan calls strict; requests that meet local limits too, and keys that would be named by a digest, are left to
them.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from native._plan cimport (
    QUESTIONS,
    CFinder,
    CPlannedLimit,
    CPlannedRule,
    CView,
    find_planned,
    finder_of,
)
from native._rls cimport RLS_DESCRIPTORS, RLS_ENTRIES, rls_descriptor, rls_request
from native._tree cimport CEntryTexts, CText


cdef extern from "<endian.h>" nogil:
    uint64_t htole64(uint64_t)


cdef enum:
    # Of all keys of a request together; what has more is left to others.
    KEYS_BYTES = 8192
    # Doubles of the script's argument, before its questions and for each.
    HEADER_NUMBERS = 5
    QUESTION_NUMBERS = 8


cdef struct CStoreAsked:
    # Of each descriptor; NULL: it met none.
    CPlannedRule *rules[RLS_DESCRIPTORS]
    const CPlannedLimit *limits[QUESTIONS]
    uint8_t descriptor_of[QUESTIONS]
    uint32_t descriptors
    uint32_t count


# What the script is sent.
cdef struct CStoreWords:
    CText keys[QUESTIONS]
    uint32_t key_count
    size_t used
    char texts[KEYS_BYTES]
    uint64_t argument[HEADER_NUMBERS + QUESTION_NUMBERS * QUESTIONS]


cdef inline uint64_t packed_number(double number) noexcept nogil:
    """As the script unpacks it: little-endian."""
    cdef uint64_t bits
    memcpy(&bits, &number, 8)
    return htole64(bits)


cdef inline char *put_measured(char *at, const CText *text) noexcept nogil:
    """`5:hello`."""
    cdef char digits[20]
    cdef uint32_t place = 20
    cdef size_t size = text.size
    while True:
        place -= 1
        digits[place] = <char> (c"0" + size % 10)
        size //= 10
        if size == 0:
            break
    memcpy(at, digits + place, 20 - place)
    at += 20 - place
    at[0] = c":"
    memcpy(at + 1, text.start, text.size)
    return at + 1 + text.size


cdef inline size_t measured(const CText *text) noexcept nogil:
    cdef size_t size = text.size, digits = 1
    while size >= 10:
        size //= 10
        digits += 1
    return digits + 1 + text.size


cdef inline uint32_t add_key(
    CStoreWords *words, const CPlannedLimit *limit, const CEntryTexts *entries, const CText *counted, uint32_t count
) noexcept nogil:
    """The number of a counter's key, from 1; 0: it is too long, or too much with the others."""
    cdef char *start = words.texts + words.used
    cdef char *at = start
    cdef CText key
    cdef size_t size = 0
    cdef uint32_t index
    for index in range(count):
        size += measured(&entries[index].key) + measured(counted + index)
    if size > limit.room or limit.key.size + size > KEYS_BYTES - words.used:
        return 0
    memcpy(at, limit.key.start, limit.key.size)
    at += limit.key.size
    for index in range(count):
        at = put_measured(at, &entries[index].key)
        at = put_measured(at, counted + index)
    key = CText(start, at - start)
    for index in range(words.key_count):
        if words.keys[index].size == key.size and memcmp(words.keys[index].start, key.start, key.size) == 0:
            return index + 1
    words.used += key.size
    words.keys[words.key_count] = key
    words.key_count += 1
    return words.key_count


cdef inline bint ask_strictly(
    const CView *view, const rls_request *request, CStoreAsked *asked, CStoreWords *words
) noexcept nogil:
    """Finds the rules of a request, and what to ask the store. False: it is not for this."""
    cdef CEntryTexts entries[RLS_ENTRIES]
    cdef CText counted[RLS_ENTRIES]
    cdef CFinder finder = finder_of(view, request)
    cdef const rls_descriptor *descriptor
    cdef const CPlannedLimit *limit
    cdef CPlannedRule *rule
    cdef uint64_t *numbers
    cdef uint32_t index, number, place, key, met = 0
    asked.count = 0
    asked.descriptors = request.descriptors
    words.key_count = 0
    words.used = 0
    for place in range(HEADER_NUMBERS):
        words.argument[place] = 0
    for index in range(request.descriptors):
        descriptor = request.descriptor + index
        if not find_planned(&finder, index, entries, counted, &rule):
            return False
        asked.rules[index] = rule
        if rule == NULL or (rule.fit and rule.limit_count == 0):
            continue
        if not rule.strict or asked.count + rule.limit_count > QUESTIONS:
            return False
        met += 1
        for number in range(rule.limit_count):
            limit = rule.limits + number
            key = add_key(words, limit, entries, counted, descriptor.entries)
            if key == 0:
                return False
            numbers = words.argument + HEADER_NUMBERS + QUESTION_NUMBERS * asked.count
            numbers[0] = packed_number(key)
            for place in range(4):
                numbers[1 + place] = packed_number(limit.numbers[place])
            numbers[5] = packed_number(<double> (descriptor.hits if descriptor.has_hits else request.hits))
            numbers[6] = packed_number(met)
            numbers[7] = packed_number(limit.mode)
            asked.limits[asked.count] = limit
            asked.descriptor_of[asked.count] = <uint8_t> index
            asked.count += 1
    return asked.count > 0
