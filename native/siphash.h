/* SipHash-1-3 with a tag of 128 bits (Aumasson and Bernstein, 2012; the tag of their reference code), of a number and a
   text: the message is the number in 8 bytes, little-endian, then the text. */
#ifndef WAYPOST_SIPHASH_H
#define WAYPOST_SIPHASH_H

#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t low;
    uint64_t high;
} hash128_t;

#define SIP_ROTATE(x, by) (((x) << (by)) | ((x) >> (64 - (by))))
#define SIP_ROUND                                                                                                      \
    do {                                                                                                               \
        v0 += v1; v1 = SIP_ROTATE(v1, 13); v1 ^= v0; v0 = SIP_ROTATE(v0, 32);                                          \
        v2 += v3; v3 = SIP_ROTATE(v3, 16); v3 ^= v2;                                                                   \
        v0 += v3; v3 = SIP_ROTATE(v3, 21); v3 ^= v0;                                                                   \
        v2 += v1; v1 = SIP_ROTATE(v1, 17); v1 ^= v2; v2 = SIP_ROTATE(v2, 32);                                          \
    } while (0)

static inline uint64_t sip_word(const unsigned char *from) {
    uint64_t word;
    memcpy(&word, from, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline hash128_t siphash(hash128_t key, uint64_t number, const char *text, uint64_t length) {
    const unsigned char *at = (const unsigned char *)text;
    const unsigned char *words_end = at + (length & ~(uint64_t)7);
    uint64_t v0 = UINT64_C(0x736f6d6570736575) ^ key.low;
    uint64_t v1 = UINT64_C(0x646f72616e646f6d) ^ key.high ^ 0xee;
    uint64_t v2 = UINT64_C(0x6c7967656e657261) ^ key.low;
    uint64_t v3 = UINT64_C(0x7465646279746573) ^ key.high;
    uint64_t last = (length + 8) << 56;
    hash128_t tag;

    v3 ^= number;
    SIP_ROUND;
    v0 ^= number;
    for (; at != words_end; at += 8) {
        const uint64_t word = sip_word(at);
        v3 ^= word;
        SIP_ROUND;
        v0 ^= word;
    }
    for (unsigned index = 0; index < (length & 7); index++)
        last |= (uint64_t)at[index] << (8 * index);
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xee;
    SIP_ROUND; SIP_ROUND; SIP_ROUND;
    tag.low = v0 ^ v1 ^ v2 ^ v3;
    v1 ^= 0xdd;
    SIP_ROUND; SIP_ROUND; SIP_ROUND;
    tag.high = v0 ^ v1 ^ v2 ^ v3;
    return tag;
}

#endif
