"""The compiled twin of `native.rules.RuleTree`: the same answers, from flat arrays that need no interpreter."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from native._slots cimport hash128_t, siphash
from native._tree cimport (
    CEntryTexts,
    CNode,
    CPattern,
    CRuleTree,
    CSlot,
    CText,
    find_rule,
    met_by,
    root_of,
)

from native.rules import MAX_DEPTH as _MAX_DEPTH
from native.rules import in_order


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    str PyUnicode_DecodeUTF8(const char *text, Py_ssize_t size, const char *errors)


if _MAX_DEPTH != MAX_ENTRIES:
    raise ImportError("native._rules was built from another version of native.rules")


cdef class RuleTree:
    def __cinit__(self, roots):
        cdef list nodes
        cdef list names = list(roots)
        cdef dict places = {}
        cdef size_t size = 0
        nodes, self.tree.depth = in_order(roots)
        for index, node in enumerate(nodes):
            texts = (node.key, node.value) if index >= len(names) else (names[index], "")
            for text in texts:
                data = encoded(text)
                if data not in places:
                    places[data] = size
                    size += len(data)
        # One byte more: an empty text has a place, too.
        self.tree.texts = <char *> calloc(size + 1, 1)
        if self.tree.texts == NULL:
            raise MemoryError
        for data, place in places.items():
            memcpy(self.tree.texts + <size_t> place, <const char *> data, len(data))
        self._allocate(nodes, names, places)
        self._fill(nodes, names, places)

    def __dealloc__(self):
        free(self.tree.nodes)
        free(self.tree.slots)
        free(self.tree.patterns)
        free(self.tree.parts)
        free(self.tree.texts)

    cdef int _allocate(self, list nodes, list names, dict places) except -1:
        """The arrays, and each node's own texts and number."""
        cdef size_t slots = slots_for(len(names)), patterns = 0, parts = 0
        cdef CNode *own
        for index, node in enumerate(nodes):
            slots += slots_for(len(node.children))
            if index >= len(names) and ("*" in node.key or "*" in node.value):
                patterns += 1
                parts += node.key.count("*") + node.value.count("*") + 2
        # One more each: there are none of size 0.
        self.tree.nodes = <CNode *> calloc(len(nodes) + 1, sizeof(CNode))
        self.tree.slots = <CSlot *> calloc(slots + 1, sizeof(CSlot))
        self.tree.patterns = <CPattern *> calloc(patterns + 1, sizeof(CPattern))
        self.tree.parts = <CText *> calloc(parts + 1, sizeof(CText))
        if not (self.tree.nodes and self.tree.slots and self.tree.patterns and self.tree.parts):
            raise MemoryError
        for index, node in enumerate(nodes):
            own = self.tree.nodes + 1 + <size_t> index
            own.rule = node.number
            if index < len(names):
                own.key = held_text(self.tree.texts, places, names[index])
                own.value = held_text(self.tree.texts, places, "")
                continue
            own.key = held_text(self.tree.texts, places, node.key)
            own.value = held_text(self.tree.texts, places, node.value)
            if node.share_threshold:
                own.shared = own.value if own.value.size else own.key
        return 0

    cdef int _fill(self, list nodes, list names, dict places) except -1:
        """Each node's table of children and its patterns. Children stand together, in the order of their parents."""
        cdef CRuleTree *tree = &self.tree
        cdef CNode *own
        cdef CNode *child
        cdef CPattern *pattern
        cdef uint32_t index, count, first = 1, slots = 0, patterns = 0, parts = 0
        cdef Py_ssize_t parent
        for parent in range(len(nodes) + 1):
            own = tree.nodes + parent
            count = len(nodes[parent - 1].children) if parent else len(names)
            own.first_slot = slots
            own.slot_count = slots_for(count)
            slots += own.slot_count
            own.first_pattern = patterns
            for index in range(first, first + count):
                child = tree.nodes + index
                own.longest = max(own.longest, <uint32_t> child.value.size)
                add_child(tree, own, index)
                if parent == 0 or not (has_star(&child.key) or has_star(&child.value)):
                    continue
                pattern = tree.patterns + patterns
                pattern.node = index
                pattern.first_part = parts
                pattern.key_parts = split(&child.key, tree.parts + parts)
                parts += pattern.key_parts
                pattern.value_parts = split(&child.value, tree.parts + parts) if child.value.size else 0
                parts += pattern.value_parts
                patterns += 1
            own.pattern_count = patterns - own.first_pattern
            first += count
        return 0

    def match(self, str domain not None, entries not None):
        cdef CRuleTree *tree = &self.tree
        cdef CEntryTexts texts
        kept = entry_texts(domain, "", &texts)
        cdef const CNode *node = root_of(tree, texts.key)
        cdef tuple asked = entries if type(entries) is tuple else tuple(entries)
        cdef Py_ssize_t index, count = len(asked)
        cdef CText counted
        if node == NULL or <size_t> count > tree.depth:
            return None
        cdef tuple values = PyTuple_New(2 * count)
        for index in range(count):
            entry = asked[index]
            key, value = entry.key, entry.value
            kept = entry_texts(key, value, &texts)
            node = met_by(tree, node, &texts, &counted)
            if node == NULL:
                return None
            if counted.start != texts.value.start:
                value = PyUnicode_DecodeUTF8(counted.start, counted.size, "surrogatepass")
            set_item(values, 2 * index, key)
            set_item(values, 2 * index + 1, value)
        return None if node.rule < 0 else (node.rule, values)


cdef class CurrentTree:
    def __cinit__(self, RuleTree tree not None):
        memset(self._readers, 0, sizeof(self._readers))
        self._old = []
        self._tree = tree
        self._current = &tree.tree

    @property
    def tree(self):
        return self._tree

    def publish(self, RuleTree tree not None):
        self._old.append(self._tree)
        self._tree = tree
        readers_replace(&self._current, &tree.tree)
        return self.sweep()

    def sweep(self):
        cdef RuleTree tree
        cdef list held = []
        for tree in self._old:
            if readers_hold(self._readers, MAX_READERS, &tree.tree):
                held.append(tree)
        self._old = held
        return len(held)

    cdef reader_t *register(self) except NULL:
        """For one thread at a time; it may have been made by another. Who registered keeps this object."""
        cdef size_t index
        for index in range(MAX_READERS):
            if not self._readers[index].taken:
                self._readers[index].taken = True
                return self._readers + index
        raise RuntimeError(f"a tree has at most {MAX_READERS} readers at once")

    cdef void unregister(self, reader_t *reader) noexcept:
        reader_leave(reader)
        reader.taken = False

    cdef const CRuleTree *enter(self, reader_t *reader) noexcept nogil:
        """The tree in force, which stays as it is until `reader_leave(reader)`."""
        return <const CRuleTree *> reader_enter(reader, &self._current)

    def match_without_gil(self, str domain not None, entries not None, size_t times):
        cdef CEntryTexts asked[MAX_ENTRIES]
        cdef CText counted[MAX_ENTRIES]
        cdef CEntryTexts name
        cdef list kept = [entry_texts(domain, "", &name)]
        cdef size_t index, count = len(entries)
        cdef int32_t *found
        cdef reader_t *reader
        if count > MAX_ENTRIES:
            raise ValueError(f"at most {MAX_ENTRIES} entries")
        for index in range(count):
            key, value = entries[index].key, entries[index].value
            kept += key, value, entry_texts(key, value, asked + index)
        found = <int32_t *> calloc(times + 1, sizeof(int32_t))
        if found == NULL:
            raise MemoryError
        try:
            reader = self.register()
            with nogil:
                for index in range(times):
                    found[index] = find_rule(self.enter(reader), name.key, asked, count, counted)
                    reader_leave(reader)
            self.unregister(reader)
            return [found[index] for index in range(times)]
        finally:
            free(found)


cdef uint32_t slots_for(size_t children) noexcept:
    """A power of two, at least twice as many; none for none."""
    cdef uint32_t slots = 2
    while slots < 2 * children:
        slots *= 2
    return slots if children else 0


cdef void add_child(CRuleTree *tree, const CNode *node, uint32_t index) noexcept:
    """Nobody can crowd the table with requests: what it holds is the operator's. So the hash has no seed."""
    cdef CSlot *slots = tree.slots + node.first_slot
    cdef const CNode *child = tree.nodes + index
    cdef hash128_t digest = siphash(hash128_t(0, 0), 0, child.key.start, child.key.size)
    if child.value.size:
        digest = siphash(digest, 1, child.value.start, child.value.size)
    cdef uint32_t hashed = <uint32_t> digest.low
    cdef uint32_t at = hashed & (node.slot_count - 1)
    while slots[at].node:
        at = (at + 1) & (node.slot_count - 1)
    slots[at] = CSlot(hashed, index)


cdef bint has_star(const CText *text) noexcept:
    cdef size_t index
    for index in range(text.size):
        if text.start[index] == c"*":
            return True
    return False


cdef uint32_t split(const CText *text, CText *parts) noexcept:
    """What stands before, between and behind the `*` of a text; returns how many parts there are."""
    cdef uint32_t count = 0
    cdef size_t start = 0, index
    for index in range(text.size):
        if text.start[index] == c"*":
            parts[count] = CText(text.start + start, index - start)
            count += 1
            start = index + 1
    parts[count] = CText(text.start + start, text.size - start)
    return count + 1


cdef CText held_text(const char *texts, dict places, str text) except *:
    cdef bytes data = encoded(text)
    return CText(texts + <size_t> places[data], len(data))


cdef bytes encoded(str text):
    """Also half of a surrogate pair, which no request carries, but perhaps who asks on a command line."""
    return text.encode("utf-8", "surrogatepass")


cdef inline object entry_texts(object key, object value, CEntryTexts *texts):
    """Sets the texts of an entry, and returns what to keep for as long as they are used, besides `key` and `value`."""
    cdef bytes key_data, value_data
    try:
        texts[0] = CEntryTexts(text_of(key), text_of(value))
    except UnicodeEncodeError:
        key_data, value_data = encoded(key), encoded(value)
        texts.key = CText(PyBytes_AS_STRING(key_data), len(key_data))
        texts.value = CText(PyBytes_AS_STRING(value_data), len(value_data))
        return key_data, value_data
    return None


cdef inline CText text_of(object text) except *:
    cdef Py_ssize_t size
    cdef const char *start = PyUnicode_AsUTF8AndSize(text, &size)
    return CText(start, size)


cdef inline void set_item(tuple items, Py_ssize_t index, object item) noexcept:
    Py_INCREF(item)
    PyTuple_SET_ITEM(items, index, item)
