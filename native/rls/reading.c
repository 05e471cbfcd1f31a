/* Requests, from protobuf's wire format (https://protobuf.dev/programming-guides/encoding/).
 *
 * Read is what a serialiser writes: each number in its shortest form, each field known and, where one value counts, there
 * once. Fields may come in any order.
 */
#include "rls.h"

#include <string.h>

#include "../h2/wire.h"
#include "protobuf.h"

/* As in `ratelimiter.requests` and `ratelimiter.ruletree`. */
#define MAX_DOMAIN_BYTES 255
#define MAX_KEY_BYTES 255
#define MAX_VALUE_BYTES 4096
#define MAX_ENTRIES 32 /* of one descriptor */

/* What is left to read. */
typedef struct {
  const uint8_t *at, *end;
} cursor;

typedef int (*read_cost)(cursor *in, uint8_t tag, rls_descriptor *descriptor);

static cursor whole(h2_slice message) {
  static const uint8_t none[1] = {0};
  const uint8_t *start = message.length == 0 ? none : message.data;
  return (cursor){start, start + message.length};
}

/* A varint of at most 32 bits, in its shortest form. */
static int read_number(cursor *in, uint32_t *number) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35 && in->at < in->end; shift += 7) {
    uint8_t byte = *in->at++;
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) {
      *number = (uint32_t)value;
      return value <= UINT32_MAX && (byte != 0 || shift == 0);
    }
  }
  return 0;
}

/* A length and as many bytes. */
static int read_bytes(cursor *in, cursor *bytes) {
  uint32_t length;
  if (!read_number(in, &length) || length > (size_t)(in->end - in->at)) return 0;
  *bytes = (cursor){in->at, in->at + length};
  in->at += length;
  return 1;
}

static int is_ascii(const uint8_t *bytes, size_t length) {
  uint64_t all = 0, word;
  for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
    memcpy(&word, bytes, sizeof word);
    all |= word;
  }
  for (; length > 0; bytes++, length--) all |= *bytes;
  return (all & 0x8080808080808080) == 0;
}

static int read_text(cursor *in, size_t most, rls_text *text) {
  cursor bytes;
  if (!read_bytes(in, &bytes)) return 0;
  size_t length = (size_t)(bytes.end - bytes.at);
  *text = (rls_text){(const char *)bytes.at, length};
  return length <= most && (is_ascii(bytes.at, length) || h2_is_utf8((h2_slice){bytes.at, length}));
}

static int read_entry(cursor in, rls_entry *entry) {
  int keyed = 0, valued = 0;
  entry->value = (rls_text){"", 0};
  while (in.at < in.end) {
    uint8_t tag = *in.at++;
    if (tag == BYTES(1) && !keyed) {
      if (!read_text(&in, MAX_KEY_BYTES, &entry->key) || entry->key.size == 0) return 0;
      keyed = 1;
    } else if (tag == BYTES(2) && !valued) {
      if (!read_text(&in, MAX_VALUE_BYTES, &entry->value)) return 0;
      valued = 1;
    } else {
      return 0;
    }
  }
  return keyed;
}

static int read_descriptor(cursor in, uint32_t first_entry, rls_entry *entries, rls_descriptor *descriptor,
                           read_cost read_own_cost) {
  *descriptor = (rls_descriptor){.first_entry = first_entry};
  while (in.at < in.end) {
    uint8_t tag = *in.at++;
    if (tag != BYTES(1)) {
      if (descriptor->has_hits || !read_own_cost(&in, tag, descriptor)) return 0;
      continue;
    }
    cursor entry;
    if (descriptor->entries == MAX_ENTRIES || first_entry + descriptor->entries == RLS_ENTRIES) return 0;
    if (!read_bytes(&in, &entry) || !read_entry(entry, entries + first_entry + descriptor->entries)) return 0;
    descriptor->entries++;
  }
  return descriptor->entries > 0;
}

static int read_request(h2_slice message, rls_request *request, read_cost read_own_cost) {
  cursor in = whole(message), part;
  uint32_t entries = 0;
  int named = 0, costed = 0;
  request->hits = 1;
  request->descriptors = 0;
  while (in.at < in.end) {
    uint8_t tag = *in.at++;
    if (tag == BYTES(2)) {
      if (request->descriptors == RLS_DESCRIPTORS || !read_bytes(&in, &part)) return 0;
      rls_descriptor *descriptor = request->descriptor + request->descriptors;
      if (!read_descriptor(part, entries, request->entry, descriptor, read_own_cost)) return 0;
      entries += descriptor->entries;
      request->descriptors++;
    } else if (tag == BYTES(1) && !named) {
      if (!read_text(&in, MAX_DOMAIN_BYTES, &request->domain) || request->domain.size == 0) return 0;
      named = 1;
    } else if (tag == VARINT(3) && !costed) {
      if (!read_number(&in, &request->hits)) return 0;
      /* As if it were absent. */
      if (request->hits == 0) request->hits = 1;
      costed = 1;
    } else {
      return 0;
    }
  }
  return named && request->descriptors > 0;
}

/* A google.protobuf.UInt64Value: one that is there and empty is 0. Larger ones than an uint32 are out of bounds. */
static int read_wrapped_cost(cursor *in, uint8_t tag, rls_descriptor *descriptor) {
  cursor wrapper;
  uint32_t hits = 0;
  if (tag != BYTES(3) || !read_bytes(in, &wrapper)) return 0;
  if (wrapper.at < wrapper.end && (*wrapper.at++ != VARINT(1) || !read_number(&wrapper, &hits))) return 0;
  descriptor->has_hits = 1;
  descriptor->hits = hits;
  return wrapper.at == wrapper.end;
}

/* An int32; a negative one has ten bytes, and is not read. */
static int read_plain_cost(cursor *in, uint8_t tag, rls_descriptor *descriptor) {
  uint32_t hits;
  if (tag != VARINT(2) || !read_number(in, &hits) || hits > INT32_MAX) return 0;
  descriptor->has_hits = 1;
  descriptor->hits = hits;
  return 1;
}

int rls_read_envoy(h2_slice message, rls_request *request) {
  return read_request(message, request, read_wrapped_cost);
}

int rls_read_check(h2_slice message, rls_request *request) {
  return read_request(message, request, read_plain_cost);
}

int rls_read_health(h2_slice message, rls_text *service) {
  cursor in = whole(message);
  *service = (rls_text){"", 0};
  if (in.at == in.end) return 1;
  return *in.at++ == BYTES(1) && read_text(&in, SIZE_MAX, service) && in.at == in.end;
}
