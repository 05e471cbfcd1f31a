"""The counters of `native._table`, with the semantics of `native.table`: bounded, and nothing is forgiven.

A newcomer goes to the first of its two groups as long as that has some room, then to the one with more, so that groups
fill evenly. What is searched for one to give up: its two groups and, if there is room in them but the table holds all it
may, the next group of its shard besides.

Functions expect the lock of the key's shard to be held; those that deal with newcomers `CTable.newcomers` too, which is
taken after the locks of shards.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from native._limits cimport (
    CLimit,
    CState,
    limit_at,
    limit_capacity,
    limit_stricter,
    limit_used,
    product_is_less,
)
from native._slots cimport (
    GROUP,
    CEntry,
    CRule,
    CShard,
    CTable,
    count_bits,
    find_entry,
    first_group,
    free_slot,
    hash128_t,
    lowest_bit,
    second_group,
    shard_of,
    tag_of,
    tags_equal,
)


cdef enum:
    # So many slots of a group are left to those whose first group it is not, or is as full.
    RESERVED = 5


cdef struct CPlace:
    # Where a newcomer goes; -1: nowhere.
    int64_t slot
    # Which slot's counter is given up for it; -1: none.
    int64_t victim


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


cdef inline CState *counter_to_change(
    CTable *table, uint32_t rule, uint32_t limit, const hash128_t *key, int64_t hits, int64_t now_us, CState *copy
) noexcept nogil:
    """`native.table.Table._to_change`: `keep_counter`, or `copy` where hits would be given back to what others spent."""
    cdef CState *state = keep_counter(table, rule, limit, key, now_us)
    if hits >= 0 or state != &table.rules[rule].overflow:
        return state
    copy[0] = state[0]
    return copy
