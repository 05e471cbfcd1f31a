/* Answers, in protobuf's wire format, as the real library writes them: fields by their numbers, defaults left out. */
#include <stdlib.h>

#include "put.h"

#define MAX_DURATION_SECONDS 315576000000u /* of a google.protobuf.Duration */

/* At most so many without texts and headers: numbers have up to 10 as varints. */
#define ANSWER_BYTES 32
#define STATUS_BYTES 128

enum { OK = 1, OVER_LIMIT = 2 }; /* envoy.service.ratelimit.v3.RateLimitResponse.Code */

/* A google.protobuf.Duration, at most the longest; there also if it is 0. */
static uint8_t *put_duration(uint8_t *at, unsigned field, int64_t span_us) {
  const uint8_t *end = at;
  uint64_t seconds = (uint64_t)span_us / SECOND_US, rest_us = (uint64_t)span_us % SECOND_US;
  if (seconds >= MAX_DURATION_SECONDS) {
    seconds = MAX_DURATION_SECONDS;
    rest_us = 0;
  }
  at = put_number(at, 2, rest_us * 1000);
  at = put_number(at, 1, seconds);
  return put_length(at, field, end);
}

static uint64_t capped(int64_t number) {
  return (uint64_t)number < UINT32_MAX ? (uint64_t)number : UINT32_MAX;
}

/* Room at the end of what there is, for at most `size` bytes; NULL: out of memory. */
static uint8_t *room(h2_buffer *out, size_t size) {
  if (out->failed) return NULL;
  if (size > out->capacity - out->length) {
    size_t capacity = out->capacity > SIZE_MAX / 4 ? 0 : 2 * out->capacity;
    if (capacity < out->length + size) capacity = out->length + size;
    uint8_t *larger = realloc(out->data, capacity);
    if (larger == NULL) {
      out->failed = 1;
      return NULL;
    }
    out->data = larger;
    out->capacity = capacity;
  }
  return out->data + out->length;
}

/* Moves what was written to where it belongs. */
static void keep(h2_buffer *out, const uint8_t *at, const uint8_t *end) {
  size_t size = (size_t)(end - at);
  memmove(out->data + out->length, at, size);
  out->length += size;
}

/* RateLimitResponse.DescriptorStatus */
static uint8_t *put_envoy_status(uint8_t *at, const rls_status *status) {
  const uint8_t *end = at;
  int over_limit = 0;
  if (status->limited && status->rule != NULL) {
    /* Also where nothing refuses by a setting of the process. */
    over_limit = status->over_limit && !status->rule->shadow_mode;
    at = put_duration(at, 4, status->reset_after_us);
    at = put_number(at, 3, capped(status->remaining));
    const uint8_t *limit_end = at;
    at = put_text(at, 3, status->rule->name);
    at = put_number(at, 2, (uint64_t)status->unit);
    at = put_number(at, 1, capped(status->limit));
    at = put_length(at, 2, limit_end);
  } else {
    at = put_number(at, 3, capped(status->remaining));
  }
  at = put_number(at, 1, over_limit ? OVER_LIMIT : OK);
  return put_length(at, 2, end);
}

void rls_write_envoy(const rls_answer *answer, int headers, int shadow_mode, h2_buffer *out) {
  size_t most = ANSWER_BYTES + HEADERS_BYTES;
  for (uint32_t i = 0; i < answer->statuses; i++) {
    const rls_rule *rule = answer->status[i].rule;
    most += STATUS_BYTES + POLICY_BYTES;
    if (rule != NULL) most += rule->name.size + QUOTED_TIMES * rule->quoted.size;
  }
  uint8_t *start = room(out, most);
  if (start == NULL) return;
  uint8_t *at = start + most;
  if (headers) at = rls_put_headers(at, answer, shadow_mode);
  for (uint32_t i = answer->statuses; i-- > 0;) at = put_envoy_status(at, answer->status + i);
  at = put_number(at, 1, answer->allowed ? OK : OVER_LIMIT);
  keep(out, at, start + most);
}

/* waypost.api.v1.DescriptorStatus */
static uint8_t *put_check_status(uint8_t *at, const rls_status *status) {
  const uint8_t *end = at;
  at = put_number(at, 7, status->over_limit != 0);
  if (status->limited) at = put_duration(at, 6, status->reset_after_us);
  at = put_number(at, 5, capped(status->remaining));
  if (status->limited) {
    at = put_duration(at, 4, status->window_us);
    at = put_number(at, 3, capped(status->limit));
  }
  if (status->rule != NULL) at = put_text(at, 2, status->rule->place);
  at = put_number(at, 1, status->allowed != 0);
  return put_length(at, 2, end);
}

void rls_write_check(const rls_answer *answer, h2_buffer *out) {
  size_t most = ANSWER_BYTES;
  for (uint32_t i = 0; i < answer->statuses; i++) {
    const rls_rule *rule = answer->status[i].rule;
    most += STATUS_BYTES;
    if (rule != NULL) most += rule->place.size;
  }
  uint8_t *start = room(out, most);
  if (start == NULL) return;
  uint8_t *at = start + most;
  if (answer->retry_after_us >= 0) at = put_duration(at, 3, answer->retry_after_us);
  for (uint32_t i = answer->statuses; i-- > 0;) at = put_check_status(at, answer->status + i);
  at = put_number(at, 1, answer->allowed != 0);
  keep(out, at, start + most);
}

void rls_write_health(int status, h2_buffer *out) {
  uint8_t bytes[16], *end = bytes + sizeof bytes;
  uint8_t *at = put_number(end, 1, (uint64_t)status);
  h2_buffer_add(out, at, (size_t)(end - at));
}
