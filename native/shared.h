/* What threads share without locks: counters, numbers, and places that one of them has at a time. */
#ifndef WAYPOST_SHARED_H
#define WAYPOST_SHARED_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t count_add(uint64_t *counter, uint64_t more) {
    return __atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

/* What was counted since the last time. */
static inline uint64_t count_take(uint64_t *counter) {
    if (__atomic_load_n(counter, __ATOMIC_RELAXED) == 0)
        return 0;
    return __atomic_exchange_n(counter, 0, __ATOMIC_RELAXED);
}

static inline int64_t number_get(const int64_t *number) {
    return __atomic_load_n(number, __ATOMIC_ACQUIRE);
}

static inline void number_set(int64_t *number, int64_t value) {
    __atomic_store_n(number, value, __ATOMIC_RELEASE);
}

/* Takes a place that nobody has; 0: somebody has it. */
static inline int place_take(int *taken) {
    int nobody = 0;
    return __atomic_load_n(taken, __ATOMIC_RELAXED) == 0 &&
           __atomic_compare_exchange_n(taken, &nobody, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void place_leave(int *taken) {
    __atomic_store_n(taken, 0, __ATOMIC_RELEASE);
}

/* A number by which threads rarely meet at one place: of their stacks, which lie megabytes and a page apart. What is
   declared for each thread would not do: of a module that is loaded late it lies at one place of each thread's heap. */
static inline size_t thread_hint(void) {
    return (size_t)((uintptr_t)__builtin_frame_address(0) >> 12);
}

/* Counts while the machine sleeps too, where the system has such a clock. */
static inline int64_t elapsed_ns(void) {
    struct timespec now;
#ifdef CLOCK_BOOTTIME
    clock_gettime(CLOCK_BOOTTIME, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
