"""The tree of rules in flat arrays, and how a request's texts find their rule in it: `native.rules`, on plain structs.

Texts are compared as UTF-8, in which a part of a text stands at the same characters as its bytes do among the text's.
The children of a node are in a table of at least twice as many slots; patterns are tried one after the other.
"""

from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp

from native._slots cimport hash128_t, siphash


cdef extern from "string.h" nogil:
    const void *memmem(const void *text, size_t size, const void *part, size_t part_size)


cdef struct CText:
    # UTF-8; never NULL.
    const char *start
    size_t size


cdef struct CEntryTexts:
    CText key
    CText value


cdef struct CNode:
    CText key
    CText value
    # What its counters have for a value if its pattern was met; start NULL: the request's.
    CText shared
    # Open addressing by key and value. None: there are no children.
    uint32_t first_slot
    uint32_t slot_count
    uint32_t first_pattern
    uint32_t pattern_count
    # Of the children's values: longer ones need not be looked for.
    uint32_t longest
    # Negative: none.
    int32_t rule


cdef struct CSlot:
    uint32_t hash
    # 0: free.
    uint32_t node


cdef struct CPattern:
    # The key's parts, then the value's, of which there are none if it stands for any.
    uint32_t first_part
    uint32_t key_parts
    uint32_t value_parts
    uint32_t node


cdef struct CRuleTree:
    # The first one's children are the domains.
    CNode *nodes
    CSlot *slots
    CPattern *patterns
    CText *parts
    char *texts
    uint32_t depth


cdef inline bint equal(const CText *one, const CText *other) noexcept nogil:
    return one.size == other.size and memcmp(one.start, other.start, one.size) == 0


cdef inline bint parts_fit(const CText *parts, uint32_t count, const CText *text) noexcept nogil:
    """Whether a text is made of `parts`, in order, with anything or nothing between each two."""
    cdef const CText *first = parts
    cdef const CText *last = parts + count - 1
    cdef const CText *part
    cdef const char *at
    cdef const char *end
    if first == last:
        return equal(first, text)
    if text.size < first.size + last.size or memcmp(text.start, first.start, first.size) != 0:
        return False
    at = text.start + first.size
    end = text.start + text.size - last.size
    if memcmp(end, last.start, last.size) != 0:
        return False
    part = first + 1
    while part < last:
        # The leftmost place leaves the most room for the parts to come.
        if part.size:
            at = <const char *> memmem(at, end - at, part.start, part.size)
            if at == NULL:
                return False
            at += part.size
        part += 1
    return True


cdef inline bint pattern_fits(
    const CRuleTree *tree, const CPattern *pattern, const CEntryTexts *entry
) noexcept nogil:
    cdef const CText *parts = tree.parts + pattern.first_part
    if not parts_fit(parts, pattern.key_parts, &entry.key):
        return False
    return pattern.value_parts == 0 or parts_fit(parts + pattern.key_parts, pattern.value_parts, &entry.value)


cdef inline uint32_t find_child(
    const CRuleTree *tree, const CNode *node, uint32_t hashed, const CText *key, const CText *value
) noexcept nogil:
    """The number of the child of just that key and value, or of that key without a value; 0: there is none."""
    cdef const CSlot *slots = tree.slots + node.first_slot
    cdef uint32_t mask = node.slot_count - 1
    cdef uint32_t at = hashed & mask
    cdef const CNode *child
    if node.slot_count == 0:
        return 0
    # Half of the slots are free.
    while slots[at].node:
        if slots[at].hash == hashed:
            child = tree.nodes + slots[at].node
            if equal(&child.key, key) and (child.value.size == 0 if value == NULL else equal(&child.value, value)):
                return slots[at].node
        at = (at + 1) & mask
    return 0


cdef inline const CNode *root_of(const CRuleTree *tree, CText domain) noexcept nogil:
    """The node of a domain; NULL: there are no rules for it."""
    cdef hash128_t digest = siphash(hash128_t(0, 0), 0, domain.start, domain.size)
    cdef uint32_t found = find_child(tree, tree.nodes, <uint32_t> digest.low, &domain, NULL)
    return tree.nodes + found if found else NULL


cdef inline const CNode *met_by(
    const CRuleTree *tree, const CNode *node, const CEntryTexts *entry, CText *counted
) noexcept nogil:
    """The child for an entry: its very key and value, else the first pattern that fits, else the key's default."""
    cdef const CPattern *pattern = tree.patterns + node.first_pattern
    cdef const CPattern *end = pattern + node.pattern_count
    cdef hash128_t of_key, of_both
    cdef uint32_t found = 0
    if node.slot_count == 0:
        return NULL
    counted[0] = entry.value
    of_key = siphash(hash128_t(0, 0), 0, entry.key.start, entry.key.size)
    if 0 < entry.value.size <= node.longest:
        of_both = siphash(of_key, 1, entry.value.start, entry.value.size)
        found = find_child(tree, node, <uint32_t> of_both.low, &entry.key, &entry.value)
    while found == 0 and pattern < end:
        if pattern_fits(tree, pattern, entry):
            found = pattern.node
            if tree.nodes[found].shared.start != NULL:
                counted[0] = tree.nodes[found].shared
        pattern += 1
    if found == 0:
        found = find_child(tree, node, <uint32_t> of_key.low, &entry.key, NULL)
    return tree.nodes + found if found else NULL


cdef inline int32_t find_below(
    const CRuleTree *tree, const CNode *node, const CEntryTexts *entries, size_t count, CText *counted
) noexcept nogil:
    """`find_rule`, from the node of its domain on."""
    cdef size_t index
    if count > tree.depth:
        return -1
    for index in range(count):
        node = met_by(tree, node, entries + index, counted + index)
        if node == NULL:
            return -1
    return node.rule


cdef inline int32_t find_rule(
    const CRuleTree *tree, CText domain, const CEntryTexts *entries, size_t count, CText *counted
) noexcept nogil:
    """The number of the rule for a descriptor; negative: none.

    Sets for each entry which text its counter has for a value: the request's, or the tree's if a pattern shares one.
    """
    cdef const CNode *node = root_of(tree, domain)
    return -1 if node == NULL else find_below(tree, node, entries, count, counted)
