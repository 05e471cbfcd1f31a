/* Any bytes as the rate limiter's requests: what is read lies in them and within the bounds. Any numbers and names as
 * its answers: what is written is protobuf.
 */
#include "rls/rls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h2/wire.h"

#define CHECK(claim) ((claim) ? (void)0 : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim), abort()))

/* As in `ratelimiter.requests` and `ratelimiter.ruletree`. */
#define MAX_DOMAIN_BYTES 255
#define MAX_KEY_BYTES 255
#define MAX_VALUE_BYTES 4096
#define MAX_ENTRIES 32

/* ---- requests ---- */

static void check_text(h2_slice message, rls_text text, size_t least, size_t most) {
  CHECK(text.start != NULL && text.size >= least && text.size <= most);
  const uint8_t *start = (const uint8_t *)text.start;
  if (text.size == 0) return;
  CHECK(start >= message.data && text.size <= (size_t)(message.data + message.length - start));
  CHECK(h2_is_utf8((h2_slice){start, text.size}));
}

static void check_request(h2_slice message, const rls_request *request, int64_t most_hits) {
  uint32_t entries = 0;
  check_text(message, request->domain, 1, MAX_DOMAIN_BYTES);
  CHECK(request->hits >= 1);
  CHECK(request->descriptors >= 1 && request->descriptors <= RLS_DESCRIPTORS);
  for (uint32_t i = 0; i < request->descriptors; i++) {
    const rls_descriptor *descriptor = &request->descriptor[i];
    CHECK(descriptor->first_entry == entries);
    CHECK(descriptor->entries >= 1 && descriptor->entries <= MAX_ENTRIES);
    CHECK(descriptor->entries <= RLS_ENTRIES - entries);
    CHECK(descriptor->has_hits == 0 || descriptor->has_hits == 1);
    CHECK(descriptor->hits >= 0 && descriptor->hits <= (descriptor->has_hits ? most_hits : 0));
    entries += descriptor->entries;
  }
  for (uint32_t i = 0; i < entries; i++) {
    check_text(message, request->entry[i].key, 1, MAX_KEY_BYTES);
    check_text(message, request->entry[i].value, 0, MAX_VALUE_BYTES);
  }
}

static void read_all(h2_slice message) {
  /* Exactly as large, so that the sanitizer sees what is written beyond it; with nothing that could pass for a text. */
  rls_request *request = malloc(sizeof *request);
  rls_text service;
  CHECK(request != NULL);
  memset(request, 0xff, sizeof *request);
  if (rls_read_envoy(message, request)) check_request(message, request, UINT32_MAX);
  memset(request, 0xff, sizeof *request);
  if (rls_read_check(message, request)) check_request(message, request, INT32_MAX);
  if (rls_read_health(message, &service)) check_text(message, service, 0, message.length);
  free(request);
}

/* ---- answers ---- */

typedef struct {
  const uint8_t *data;
  size_t size;
} input;

static uint8_t next(input *in) {
  if (in->size == 0) return 0;
  in->size--;
  return *in->data++;
}

/* Not negative, of any size. */
static int64_t number(input *in) {
  uint8_t what = next(in);
  uint64_t value = what & 63;
  for (int i = what >> 6 & 3; i > 0; i--) value = value << 19 | next(in);
  return what == 255 ? INT64_MAX : (int64_t)(value & INT64_MAX);
}

static rls_text name(input *in) {
  static char filler[1024];
  memset(filler, 'n', sizeof filler);
  return (rls_text){filler, next(in) * 4U};
}

/* One varint; 0: there is none. */
static int skip_number(input *in, uint64_t *value) {
  *value = 0;
  for (unsigned shift = 0; shift < 70 && in->size > 0; shift += 7) {
    uint8_t byte = next(in);
    *value |= (uint64_t)(byte & 0x7f) << (shift & 63);
    if (byte < 0x80) return byte != 0 || shift == 0;
  }
  return 0;
}

/* Fields by their numbers, no lower one after a higher, `deep` levels of messages in messages. */
static void check_message(input in, int deep) {
  uint64_t tag, value, last = 0;
  while (in.size > 0) {
    CHECK(skip_number(&in, &tag) && (tag & 7) != 1 && tag >> 3 >= last && tag >> 3 > 0);
    last = tag >> 3;
    CHECK((tag & 7) == 0 || (tag & 7) == 2);
    CHECK(skip_number(&in, &value));
    if ((tag & 7) == 0) continue;
    CHECK(value <= in.size);
    if (deep > 1) check_message((input){in.data, value}, deep - 1);
    in = (input){in.data + value, in.size - value};
  }
}

static void check_written(h2_buffer *out, int deep) {
  CHECK(!out->failed && out->length <= out->capacity);
  check_message((input){out->data, out->length}, deep);
  h2_buffer_free(out);
}

static void write_all(input in) {
  rls_rule rules[4];
  rls_answer answer = {.statuses = next(&in) % (RLS_DESCRIPTORS + 1)};
  h2_buffer out = {0};
  uint8_t flags = next(&in);
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    uint8_t what = next(&in);
    rules[i] = (rls_rule){.place = name(&in), .name = name(&in), .quoted = name(&in)};
    rules[i].shadow_mode = what & 1;
    rules[i].quota_mode = what >> 1 & 1;
  }
  answer.allowed = flags & 1;
  answer.retry_after_us = answer.allowed ? -1 : number(&in) - 1;
  for (uint32_t i = 0; i < answer.statuses; i++) {
    uint8_t what = next(&in);
    rls_status *status = &answer.status[i];
    *status = (rls_status){.limited = what >> 3 & 1, .remaining = number(&in)};
    if (what & 4) status->rule = &rules[what & 3];
    status->allowed = what >> 4 & 1;
    status->over_limit = what >> 5 & 1;
    status->retry_after_us = status->allowed ? -1 : number(&in) - 1;
    if (!status->limited) continue;
    status->limit = number(&in);
    status->window_us = number(&in);
    status->unit = what >> 6 & 3;
    status->reset_after_us = number(&in);
  }
  /* What is deeper may be names as well as messages. */
  rls_write_envoy(&answer, flags >> 1 & 1, flags >> 2 & 1, &out);
  check_written(&out, 2);
  rls_write_check(&answer, &out);
  check_written(&out, 2);
  rls_write_health(flags & 3, &out);
  check_written(&out, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_all((h2_slice){data, size});
  write_all((input){data, size});
  return 0;
}
