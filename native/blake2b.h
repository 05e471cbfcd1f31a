/* BLAKE2b (RFC 7693) of texts with their lengths before them, without a key: a digest of 32 bytes for a purpose. */
#ifndef WAYPOST_BLAKE2B_H
#define WAYPOST_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BLAKE2B_DIGEST = 32, BLAKE2B_BLOCK = 128, BLAKE2B_PURPOSE = 16 };

typedef struct {
    uint64_t state[8];
    uint64_t hashed; /* bytes */
    size_t length;   /* of what waits in `block` */
    unsigned char block[BLAKE2B_BLOCK];
} blake2b_t;

static const uint64_t blake2b_start[8] = {
    UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b),
    UINT64_C(0xa54ff53a5f1d36f1), UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
    UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179),
};

static const unsigned char blake2b_order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t blake2b_word(const unsigned char *from) {
    uint64_t word = 0;
    for (unsigned index = 0; index < 8; index++)
        word |= (uint64_t)from[index] << (8 * index);
    return word;
}

static inline void blake2b_mix(uint64_t *v, unsigned a, unsigned b, unsigned c, unsigned d, uint64_t x, uint64_t y) {
    v[a] += v[b] + x;
    v[d] ^= v[a];
    v[d] = v[d] >> 32 | v[d] << 32;
    v[c] += v[d];
    v[b] ^= v[c];
    v[b] = v[b] >> 24 | v[b] << 40;
    v[a] += v[b] + y;
    v[d] ^= v[a];
    v[d] = v[d] >> 16 | v[d] << 48;
    v[c] += v[d];
    v[b] ^= v[c];
    v[b] = v[b] >> 63 | v[b] << 1;
}

static inline void blake2b_compress(blake2b_t *hash, int last) {
    uint64_t v[16], words[16];
    for (unsigned index = 0; index < 16; index++)
        words[index] = blake2b_word(hash->block + 8 * index);
    memcpy(v, hash->state, sizeof hash->state);
    memcpy(v + 8, blake2b_start, sizeof blake2b_start);
    v[12] ^= hash->hashed;
    v[14] ^= last ? ~UINT64_C(0) : 0;
    for (unsigned round = 0; round < 12; round++) {
        const unsigned char *order = blake2b_order[round % 10];
        for (unsigned column = 0; column < 4; column++)
            blake2b_mix(v, column, 4 + column, 8 + column, 12 + column, words[order[2 * column]],
                        words[order[2 * column + 1]]);
        for (unsigned diagonal = 0; diagonal < 4; diagonal++)
            blake2b_mix(v, diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4,
                        words[order[8 + 2 * diagonal]], words[order[9 + 2 * diagonal]]);
    }
    for (unsigned index = 0; index < 8; index++)
        hash->state[index] ^= v[index] ^ v[8 + index];
}

/* `purpose`: what tells its digests from others', 16 bytes. */
static inline void blake2b_begin(blake2b_t *hash, const char *purpose) {
    memcpy(hash->state, blake2b_start, sizeof blake2b_start);
    hash->state[0] ^= UINT64_C(0x01010000) ^ BLAKE2B_DIGEST;
    hash->state[6] ^= blake2b_word((const unsigned char *)purpose);
    hash->state[7] ^= blake2b_word((const unsigned char *)purpose + 8);
    hash->hashed = 0;
    hash->length = 0;
}

static inline void blake2b_add(blake2b_t *hash, const void *data, size_t length) {
    const unsigned char *at = data;
    while (length > 0) {
        size_t room = BLAKE2B_BLOCK - hash->length;
        size_t now = length < room ? length : room;
        if (room == 0) {
            /* Only now it is known that it is not the last one. */
            hash->hashed += BLAKE2B_BLOCK;
            blake2b_compress(hash, 0);
            hash->length = 0;
            continue;
        }
        memcpy(hash->block + hash->length, at, now);
        hash->length += now;
        at += now;
        length -= now;
    }
}

/* A text behind its length in four bytes, the highest first. */
static inline void blake2b_add_text(blake2b_t *hash, const char *text, size_t length) {
    unsigned char bytes[4] = {(unsigned char)(length >> 24), (unsigned char)(length >> 16), (unsigned char)(length >> 8),
                              (unsigned char)length};
    blake2b_add(hash, bytes, sizeof bytes);
    blake2b_add(hash, text, length);
}

static inline void blake2b_end(blake2b_t *hash, unsigned char *digest) {
    memset(hash->block + hash->length, 0, BLAKE2B_BLOCK - hash->length);
    hash->hashed += hash->length;
    blake2b_compress(hash, 1);
    for (unsigned index = 0; index < BLAKE2B_DIGEST; index++)
        digest[index] = (unsigned char)(hash->state[index / 8] >> (8 * (index % 8)));
}

#endif
