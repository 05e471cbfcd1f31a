"""The slots of counters under `native._table`, in shards of groups of 16: how a counter is found.

A counter lives in one of two groups that its key chooses, so an access looks at two groups of tags at most and, as a
rule, one entry. In its group it has the first slot that was free from one on that its key chooses too, so that it most
often can be fetched from memory before the tags tell where it is.

Functions expect the lock of the key's shard to be held. Rules and limits are registered by `native._registry`, and stay
where they are for as long as any lock is held.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native._limits cimport CLimit, CState


cdef extern from "siphash.h" nogil:
    ctypedef struct hash128_t:
        uint64_t low
        uint64_t high

    hash128_t siphash(hash128_t key, uint64_t number, const char *text, uint64_t length)


cdef extern from "slots.h" nogil:
    enum:
        GROUP

    uint32_t tags_equal(const uint8_t *tags, uint8_t tag)
    uint32_t lowest_bit(uint64_t bits)
    uint32_t count_bits(uint32_t bits)
    void prefetch(const void *address)
    void spin_lock(uint32_t *lock)
    void spin_unlock(uint32_t *lock)
    void *pages_map(size_t size)
    void pages_unmap(void *pages, size_t size)
    int64_t elapsed_us()
    int64_t wall_us()


cdef struct CEntry:
    hash128_t key
    CState state
    uint32_t rule
    # Of the numbers that the counter was last charged under: an override brings others than the rule's.
    uint32_t limit


cdef struct CShard:
    uint32_t lock
    # The next group to look at for one to give up.
    uint32_t hand
    # 0: free; else 128 and seven bits of the key.
    uint8_t *tags
    CEntry *entries
    # A processor's cache line for each, so that two shards' locks do not share one.
    uint8_t padding[40]


cdef struct CRule:
    hash128_t digest
    CState overflow
    # 0: there is no overflow counter.
    uint32_t overflow_limit
    uint32_t pins


cdef struct CHeldLimit:
    CLimit limit
    uint32_t pins


cdef struct CTable:
    CShard *shards
    CRule *rules
    CHeldLimit *limits
    uint32_t shard_count
    uint32_t groups
    int64_t capacity
    # What follows is guarded by `newcomers`.
    uint32_t newcomers
    int64_t length
    int64_t overflows
    int64_t evictions


cdef inline uint32_t shard_of(const CTable *table, const hash128_t *key) noexcept nogil:
    return <uint32_t> (key.high >> 7) & (table.shard_count - 1)


cdef inline uint8_t tag_of(const hash128_t *key) noexcept nogil:
    return <uint8_t> (0x80 | (key.high & 0x7f))


cdef inline uint32_t first_group(const CTable *table, const hash128_t *key) noexcept nogil:
    return <uint32_t> (<uint64_t> <uint32_t> key.low * table.groups >> 32)


cdef inline uint32_t second_group(const CTable *table, const hash128_t *key) noexcept nogil:
    """Another one, if there is another."""
    cdef uint32_t group = first_group(table, key)
    cdef uint32_t step
    if table.groups == 1:
        return group
    step = 1 + <uint32_t> (((key.low >> 32) * (table.groups - 1)) >> 32)
    return group + step if group + step < table.groups else group + step - table.groups


cdef inline uint32_t home_slot(const hash128_t *key) noexcept nogil:
    return <uint32_t> (key.high >> 60)


cdef inline uint32_t free_slot(uint32_t free, const hash128_t *key) noexcept nogil:
    """The first of a group's free slots, of which there are some, from the key's home on, around its end."""
    cdef uint32_t home = home_slot(key)
    return (home + lowest_bit((free | free << GROUP) >> home)) % GROUP


cdef inline CEntry *find_in_group(CShard *shard, uint32_t group, const hash128_t *key) noexcept nogil:
    cdef uint64_t start = <uint64_t> group * GROUP
    cdef uint32_t equal = tags_equal(shard.tags + start, tag_of(key))
    cdef CEntry *entry
    while equal:
        entry = shard.entries + start + lowest_bit(equal)
        if entry.key.low == key.low and entry.key.high == key.high:
            return entry
        equal &= equal - 1
    return NULL


cdef inline CEntry *find_entry(const CTable *table, const hash128_t *key) noexcept nogil:
    """The counter of `key`; NULL if it has none."""
    cdef CShard *shard = table.shards + shard_of(table, key)
    cdef CEntry *entry = find_in_group(shard, first_group(table, key), key)
    return entry if entry != NULL else find_in_group(shard, second_group(table, key), key)


cdef inline void prefetch_counter(const CTable *table, const hash128_t *key) noexcept nogil:
    """Has all fetched at once that an access with `key` most probably looks at, while there is something else to do."""
    cdef const CShard *shard = table.shards + shard_of(table, key)
    cdef uint64_t start = <uint64_t> first_group(table, key) * GROUP
    cdef const char *entry = <const char *> (shard.entries + start + home_slot(key))
    prefetch(shard.tags + start)
    prefetch(entry)
    # Its second cache line, and those of the entries beside it, where it is if its home was taken.
    prefetch(entry + 64)
    prefetch(entry + 128)
    prefetch(shard.tags + <uint64_t> second_group(table, key) * GROUP)


cdef inline void prefetch_tags(const CTable *table, const hash128_t *key) noexcept nogil:
    """Has the tags fetched that an access with `key` looks at."""
    cdef const CShard *shard = table.shards + shard_of(table, key)
    prefetch(shard.tags + <uint64_t> first_group(table, key) * GROUP)
    prefetch(shard.tags + <uint64_t> second_group(table, key) * GROUP)


cdef inline void prefetch_in_group(const CShard *shard, uint32_t group, const hash128_t *key) noexcept nogil:
    cdef uint64_t start = <uint64_t> group * GROUP
    cdef uint32_t equal = tags_equal(shard.tags + start, tag_of(key))
    cdef const CEntry *entry
    while equal:
        entry = shard.entries + start + lowest_bit(equal)
        prefetch(entry)
        # It may reach into a second cache line.
        prefetch(&entry.limit)
        equal &= equal - 1


cdef inline void prefetch_entry(const CTable *table, const hash128_t *key) noexcept nogil:
    """Has the entries fetched that may be that of `key`. Locks nothing, since it may be mistaken."""
    cdef const CShard *shard = table.shards + shard_of(table, key)
    prefetch_in_group(shard, first_group(table, key), key)
    prefetch_in_group(shard, second_group(table, key), key)
