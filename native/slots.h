/* What a table of groups of slots needs of the machine: tags, locks, memory, the clock. */
#ifndef WAYPOST_SLOTS_H
#define WAYPOST_SLOTS_H

#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { GROUP = 16 };

/* A bit for each of a group's 16 tags that is `tag`. */
static inline uint32_t tags_equal(const uint8_t *tags, uint8_t tag) {
#ifdef __SSE2__
    const __m128i group = _mm_loadu_si128((const __m128i *)tags);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(group, _mm_set1_epi8((char)tag)));
#else
    uint32_t found = 0;
    for (unsigned index = 0; index < GROUP; index++)
        found |= (uint32_t)(tags[index] == tag) << index;
    return found;
#endif
}

static inline uint32_t lowest_bit(uint64_t bits) {
    return (uint32_t)__builtin_ctzll(bits);
}

static inline uint32_t count_bits(uint32_t bits) {
    return (uint32_t)__builtin_popcount(bits);
}

static inline void prefetch(const void *address) {
    __builtin_prefetch(address, 1);
}

/* A lock for a few hundred nanoseconds at most; who waits for longer lets others run. */
static inline void spin_lock(uint32_t *lock) {
    unsigned spins = 0;
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
            if (++spins % 64 == 0)
                sched_yield();
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        }
    }
}

static inline void spin_unlock(uint32_t *lock) {
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

/* Zeroed memory that becomes real page by page when it is written to; NULL if there is none. Large tables are met at
   random places: huge pages spare them most misses of the processor's cache of addresses. */
static inline void *pages_map(size_t size) {
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (size >= ((size_t)8 << 20))
        (void)madvise(pages, size, MADV_HUGEPAGE);
#endif
    return pages;
}

static inline void pages_unmap(void *pages, size_t size) {
    if (pages != NULL)
        (void)munmap(pages, size);
}

static inline int64_t clock_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Counts while the machine sleeps too, where the system has such a clock. */
static inline int64_t elapsed_us(void) {
#ifdef CLOCK_BOOTTIME
    return clock_us(CLOCK_BOOTTIME);
#else
    return clock_us(CLOCK_MONOTONIC);
#endif
}

static inline int64_t wall_us(void) {
    return clock_us(CLOCK_REALTIME);
}

#endif
