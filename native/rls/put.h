/* Protobuf's wire format and digits, written from the end to the beginning: each length is known when it is written, and
 * digits come as division gives them. A `uint8_t *at` is where what has been written begins; each function returns a new
 * one. Who calls has made sure of the room.
 */
#ifndef WAYPOST_RLS_PUT_H
#define WAYPOST_RLS_PUT_H

#include <string.h>

#include "protobuf.h"
#include "rls.h"

#define SECOND_US 1000000u

static inline uint8_t *put(uint8_t *at, const void *data, size_t size) {
  at -= size;
  memcpy(at, data, size);
  return at;
}

/* A string literal. */
#define PUT(at, literal) put((at), (literal), sizeof(literal) - 1)

static inline uint8_t *put_byte(uint8_t *at, unsigned byte) {
  *--at = (uint8_t)byte;
  return at;
}

static inline uint8_t *put_varint(uint8_t *at, uint64_t number) {
  if (number < 0x80) return put_byte(at, (unsigned)number);
  unsigned bits = 64 - (unsigned)__builtin_clzll(number);
  unsigned last = (bits - 1) / 7;
  at -= last + 1;
  for (unsigned i = 0; i < last; i++, number >>= 7) at[i] = (uint8_t)(number | 0x80);
  at[last] = (uint8_t)number;
  return at;
}

/* A field that is left out if it is 0. */
static inline uint8_t *put_number(uint8_t *at, unsigned field, uint64_t number) {
  return number == 0 ? at : put_byte(put_varint(at, number), VARINT(field));
}

/* Makes a field of bytes of what was written last, before `end`. */
static inline uint8_t *put_length(uint8_t *at, unsigned field, const uint8_t *end) {
  return put_byte(put_varint(at, (size_t)(end - at)), BYTES(field));
}

/* A field that is left out if it is empty. */
static inline uint8_t *put_text(uint8_t *at, unsigned field, rls_text text) {
  return text.size == 0 ? at : put_length(put(at, text.start, text.size), field, at);
}

/* What HTTP clients are told of an answer's limits, as fields of a RateLimitResponse; at most HEADERS_BYTES, and for each
 * status POLICY_BYTES and QUOTED_TIMES the name of its rule. */
#define HEADERS_BYTES 512
#define POLICY_BYTES 256
#define QUOTED_TIMES 3
uint8_t *rls_put_headers(uint8_t *at, const rls_answer *answer, int shadow_mode);

#endif
