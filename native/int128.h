/* Exact products and quotients of numbers of 63 bits; a result that needs more is cut off at INT64_MAX. */
#ifndef WAYPOST_INT128_H
#define WAYPOST_INT128_H

#include <stdint.h>

typedef unsigned __int128 wide_t;

static inline int64_t saturated(wide_t value) {
    return value > (wide_t)INT64_MAX ? INT64_MAX : (int64_t)value;
}

/* one + other, of numbers from 0. */
static inline int64_t add_saturating(int64_t one, int64_t other) {
    return one > INT64_MAX - other ? INT64_MAX : one + other;
}

/* floor((a * b + c) / divisor), and what is left over, which means nothing where the quotient was cut off. */
static inline int64_t mul_add_divmod(int64_t a, int64_t b, int64_t c, int64_t divisor, int64_t *rest) {
    const wide_t dividend = (wide_t)a * (wide_t)b + (wide_t)c;
    if (dividend <= UINT64_MAX) {
        /* A division of 64 bits is several times as fast. */
        const uint64_t small = (uint64_t)dividend;
        *rest = (int64_t)(small % (uint64_t)divisor);
        return saturated(small / (uint64_t)divisor);
    }
    *rest = (int64_t)(dividend % (wide_t)divisor);
    return saturated(dividend / (wide_t)divisor);
}

/* floor(a * b / divisor) */
static inline int64_t mul_div_floor(int64_t a, int64_t b, int64_t divisor) {
    int64_t rest;
    return mul_add_divmod(a, b, 0, divisor, &rest);
}

/* ceil((a * b - c) / divisor), for c <= a * b */
static inline int64_t mul_sub_div_ceil(int64_t a, int64_t b, int64_t c, int64_t divisor) {
    const wide_t dividend = (wide_t)a * (wide_t)b - (wide_t)c;
    if (dividend <= UINT64_MAX - (uint64_t)INT64_MAX)
        return saturated(((uint64_t)dividend + (uint64_t)divisor - 1) / (uint64_t)divisor);
    return saturated((dividend + (wide_t)divisor - 1) / (wide_t)divisor);
}

/* Whether a * b < c * d. */
static inline int product_is_less(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (wide_t)a * (wide_t)b < (wide_t)c * (wide_t)d;
}

#endif
