"""The store of counters under `native._table`: bounded, in shards of groups of 16 slots.

A counter lives in one of two groups that its key chooses: in the first one as long as that has some room, then in the
one with more, so that groups fill evenly and an access looks at two groups of tags at most and, as a rule, one entry. In
its group it has the first free slot from one on that its key chooses too, so that it most often can be fetched from
memory before the tags tell where it is. Semantics are those of `native.table`. What
is searched for one to give up: the newcomer's two groups and, if there is room in them but the table holds all it may,
the next group of its shard besides.

Functions expect the lock of the key's shard to be held; those that deal with newcomers `CTable.newcomers` too, which is
taken after the locks of shards. Rules and limits are registered by `native._table.Table`, and stay where they are for
as long as any lock is held.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native._limits cimport (
    CLimit,
    CState,
    limit_at,
    limit_capacity,
    limit_stricter,
    limit_used,
    product_is_less,
)


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


cdef enum:
    # So many slots of a group are left to those whose first group it is not, or is as full.
    RESERVED = 3


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


cdef struct CPlace:
    # Where a newcomer goes; -1: nowhere.
    int64_t slot
    # Which slot's counter is given up for it; -1: none.
    int64_t victim


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
    # It, or the one beside it, reaches into a second cache line.
    prefetch(entry + 64)
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


cdef inline int64_t used_at(const CTable *table, uint32_t limit, const CState *state, int64_t now_us) noexcept nogil:
    cdef CState current = limit_at(&table.limits[limit].limit, state, now_us)
    return limit_used(&table.limits[limit].limit, &current)


cdef struct CBest:
    # -1: none yet.
    int64_t slot
    int64_t used
    int64_t capacity


cdef inline void consider_group(
    const CTable *table, const CShard *shard, uint32_t group, int64_t now_us, CBest *best
) noexcept nogil:
    """Makes `best` the least used of itself and the group's counters that are below half of their limit."""
    cdef uint64_t start = <uint64_t> group * GROUP
    cdef uint32_t taken = ~tags_equal(shard.tags + start, 0) & 0xffff
    cdef const CEntry *entry
    cdef int64_t used, capacity, slot
    while taken:
        slot = start + lowest_bit(taken)
        entry = shard.entries + slot
        taken &= taken - 1
        used = used_at(table, entry.limit, &entry.state, now_us)
        capacity = limit_capacity(&table.limits[entry.limit].limit)
        if used == 0 or (
            used < capacity - used
            and (best.slot < 0 or product_is_less(used, best.capacity, best.used, capacity))
        ):
            best.slot, best.used, best.capacity = slot, used, capacity
            if used == 0:
                return


cdef inline CPlace find_place(const CTable *table, const hash128_t *key, int64_t now_us) noexcept nogil:
    """Where a newcomer can go."""
    cdef CShard *shard = table.shards + shard_of(table, key)
    cdef uint32_t first = first_group(table, key)
    cdef uint32_t second = second_group(table, key)
    cdef uint32_t free_first = tags_equal(shard.tags + <uint64_t> first * GROUP, 0)
    cdef uint32_t free_second = tags_equal(shard.tags + <uint64_t> second * GROUP, 0)
    cdef CPlace place = CPlace(-1, -1)
    cdef CBest best = CBest(-1, 0, 0)
    if free_first or free_second:
        if count_bits(free_first) > RESERVED or count_bits(free_first) >= count_bits(free_second):
            place.slot = <int64_t> first * GROUP + free_slot(free_first, key)
        else:
            place.slot = <int64_t> second * GROUP + free_slot(free_second, key)
        if table.length < table.capacity:
            return place
    consider_group(table, shard, first, now_us, &best)
    if second != first and (best.slot < 0 or best.used != 0):
        consider_group(table, shard, second, now_us, &best)
    if place.slot >= 0 and (best.slot < 0 or best.used != 0):
        consider_group(table, shard, shard.hand, now_us, &best)
    place.victim = best.slot
    if best.slot < 0 or place.slot < 0 or best.slot // GROUP == first or best.slot // GROUP == second:
        place.slot = best.slot
    return place


cdef inline CState newcomer(const CTable *table, uint32_t rule, int64_t now_us) noexcept nogil:
    """A new counter's state: what the rule's overflow counter still holds."""
    cdef const CRule *held = table.rules + rule
    if held.overflow_limit == 0:
        return CState(0, 0, 0)
    return limit_at(&table.limits[held.overflow_limit].limit, &held.overflow, now_us)


cdef inline void give_up(CTable *table, const CEntry *victim, int64_t now_us) noexcept nogil:
    """Passes what `victim` holds to its rule's overflow counter."""
    cdef CRule *rule = table.rules + victim.rule
    cdef const CLimit *limit = &table.limits[victim.limit].limit
    cdef const CLimit *other
    cdef CState held, shared
    if used_at(table, victim.limit, &victim.state, now_us) == 0:
        return
    table.evictions += 1
    if rule.overflow_limit == 0:
        rule.overflow = limit_at(limit, &victim.state, now_us)
        rule.overflow_limit = victim.limit
        return
    other = &table.limits[rule.overflow_limit].limit
    # One time for both, also if the clock has gone back since one of them was changed.
    now_us = max(now_us, max(victim.state.updated_us, rule.overflow.updated_us))
    held = limit_at(limit, &victim.state, now_us)
    shared = limit_at(other, &rule.overflow, now_us)
    rule.overflow = limit_stricter(other, &shared, &held)
    # If the rule's numbers have changed in between, by the slower of the two.
    if limit.limit <= other.limit:
        rule.overflow_limit = victim.limit


cdef inline CState find_counter(CTable *table, uint32_t rule, const hash128_t *key, int64_t now_us) noexcept nogil:
    """`native.table.Table.find`."""
    cdef const CEntry *entry = find_entry(table, key)
    cdef CShard *shard
    if entry != NULL:
        return entry.state
    if find_place(table, key, now_us).slot >= 0:
        return newcomer(table, rule, now_us)
    shard = table.shards + shard_of(table, key)
    shard.hand = shard.hand + 1 if shard.hand + 1 < table.groups else 0
    table.overflows += 1
    return table.rules[rule].overflow if table.rules[rule].overflow_limit else CState(0, 0, 0)


cdef inline CState *keep_counter(
    CTable *table, uint32_t rule, uint32_t limit, const hash128_t *key, int64_t now_us
) noexcept nogil:
    """`native.table.Table.keep`; what it points to is the counter's until the next call."""
    cdef CEntry *entry = find_entry(table, key)
    cdef CShard *shard = table.shards + shard_of(table, key)
    cdef CRule *held = table.rules + rule
    cdef CPlace place
    cdef CState state
    if entry != NULL:
        entry.limit = limit
        return &entry.state
    place = find_place(table, key, now_us)
    if place.slot < 0:
        if held.overflow_limit == 0:
            held.overflow = CState(0, 0, 0)
        held.overflow_limit = limit
        return &held.overflow
    # Before the victim leaves what it held: that is not this newcomer's, and `find_counter` did not count it either.
    state = newcomer(table, rule, now_us)
    if place.victim < 0:
        table.length += 1
    else:
        give_up(table, shard.entries + place.victim, now_us)
        shard.tags[place.victim] = 0
        shard.hand = shard.hand + 1 if shard.hand + 1 < table.groups else 0
    shard.tags[place.slot] = tag_of(key)
    entry = shard.entries + place.slot
    entry.key = key[0]
    entry.state = state
    entry.rule = rule
    entry.limit = limit
    return &entry.state
