/* Pointers that threads read while another one replaces what they point to: hazard pointers (Michael, 2004). A reader
   says what it holds; who replaced it frees it when no reader says so any more. */
#ifndef WAYPOST_READERS_H
#define WAYPOST_READERS_H

#include <stddef.h>

/* As far apart as a processor's cache lines, so that two readers do not share one. */
typedef struct {
    const void *held;
    int taken;
    char padding[64 - sizeof(void *) - sizeof(int)];
} reader_t;

/* What is current, which stays valid until `reader_leave`. */
static inline const void *reader_enter(reader_t *reader, const void **current) {
    const void *seen = __atomic_load_n(current, __ATOMIC_ACQUIRE);
    for (;;) {
        const void *again;
        __atomic_store_n(&reader->held, seen, __ATOMIC_SEQ_CST);
        /* Who replaced it before it was announced may not have seen that. */
        again = __atomic_load_n(current, __ATOMIC_SEQ_CST);
        if (again == seen)
            return seen;
        seen = again;
    }
}

static inline void reader_leave(reader_t *reader) {
    __atomic_store_n(&reader->held, NULL, __ATOMIC_RELEASE);
}

static inline void readers_replace(const void **current, const void *by) {
    __atomic_store_n(current, by, __ATOMIC_SEQ_CST);
}

/* Whether one of them holds what is not current any more. */
static inline int readers_hold(const reader_t *readers, size_t count, const void *old) {
    for (size_t index = 0; index < count; index++)
        if (__atomic_load_n(&readers[index].held, __ATOMIC_SEQ_CST) == old)
            return 1;
    return 0;
}

#endif
