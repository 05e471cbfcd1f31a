/* Answers, in protobuf's wire format, as the real library writes them: fields by their numbers, defaults left out.
 *
 * They are written from their ends to their beginnings: each length is known when it is written, and digits come as
 * division gives them. A `uint8_t *at` below is where what has been written begins; each function returns a new one.
 */
#include "rls.h"

#include <stdlib.h>
#include <string.h>

#include "protobuf.h"

#define SECOND_US 1000000u
#define MAX_DURATION_SECONDS 315576000000u /* of a google.protobuf.Duration */
#define MAX_POLICIES 10                    /* `ratelimiter.headers` */

/* At most so many bytes without texts: numbers have up to 10 as varints and 20 as digits. */
#define ANSWER_BYTES 512
#define STATUS_BYTES 128
#define POLICY_BYTES 256
#define QUOTED_TIMES 3 /* a rule's name in headers */

enum { OK = 1, OVER_LIMIT = 2 }; /* envoy.service.ratelimit.v3.RateLimitResponse.Code */

/* What headers tell of one limit. */
typedef struct {
  const rls_status *status;
  uint64_t window_seconds, reset_seconds;
} policy;

static uint8_t *put(uint8_t *at, const void *data, size_t size) {
  at -= size;
  memcpy(at, data, size);
  return at;
}

/* A string literal. */
#define PUT(at, literal) put((at), (literal), sizeof(literal) - 1)

static uint8_t *put_byte(uint8_t *at, unsigned byte) {
  *--at = (uint8_t)byte;
  return at;
}

static uint8_t *put_varint(uint8_t *at, uint64_t number) {
  if (number < 0x80) return put_byte(at, (unsigned)number);
  unsigned bits = 64 - (unsigned)__builtin_clzll(number);
  unsigned last = (bits - 1) / 7;
  at -= last + 1;
  for (unsigned i = 0; i < last; i++, number >>= 7) at[i] = (uint8_t)(number | 0x80);
  at[last] = (uint8_t)number;
  return at;
}

/* A field that is left out if it is 0. */
static uint8_t *put_number(uint8_t *at, unsigned field, uint64_t number) {
  return number == 0 ? at : put_byte(put_varint(at, number), VARINT(field));
}

/* Makes a field of bytes of what was written last, before `end`. */
static uint8_t *put_length(uint8_t *at, unsigned field, const uint8_t *end) {
  return put_byte(put_varint(at, (size_t)(end - at)), BYTES(field));
}

/* A field that is left out if it is empty. */
static uint8_t *put_text(uint8_t *at, unsigned field, rls_text text) {
  return text.size == 0 ? at : put_length(put(at, text.start, text.size), field, at);
}

/* A google.protobuf.Duration, at most the longest; there also if it is 0. */
static uint8_t *put_duration(uint8_t *at, unsigned field, int64_t span_us) {
  const uint8_t *end = at;
  uint64_t seconds = (uint64_t)span_us / SECOND_US, rest_us = (uint64_t)span_us % SECOND_US;
  if (seconds >= MAX_DURATION_SECONDS) seconds = MAX_DURATION_SECONDS, rest_us = 0;
  at = put_number(at, 2, rest_us * 1000);
  at = put_number(at, 1, seconds);
  return put_length(at, field, end);
}

static uint8_t *put_digits(uint8_t *at, uint64_t number) {
  static const char pairs[] =
      "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
      "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
  for (; number >= 100; number /= 100) at = put(at, pairs + number % 100 * 2, 2);
  return number < 10 ? put_byte(at, '0' + (unsigned)number) : put(at, pairs + number * 2, 2);
}

static uint64_t capped(int64_t number) {
  return (uint64_t)number < UINT32_MAX ? (uint64_t)number : UINT32_MAX;
}

/* Whole seconds, rounded up. */
static uint64_t seconds_of(int64_t span_us) {
  return (uint64_t)span_us / SECOND_US + ((uint64_t)span_us % SECOND_US != 0);
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

/* The header whose value was written last, before `end`. */
static uint8_t *put_header(uint8_t *at, const char *name, size_t size, const uint8_t *end) {
  at = put_length(at, 2, end);
  const uint8_t *name_end = at;
  at = put_length(put(at, name, size), 1, name_end);
  return put_length(at, 3, end);
}

#define PUT_HEADER(at, name, end) put_header((at), (name), sizeof(name) - 1, (end))

static uint8_t *put_number_header(uint8_t *at, const char *name, size_t size, uint64_t number) {
  return put_header(put_digits(at, number), name, size, at);
}

#define PUT_NUMBER_HEADER(at, name, number) put_number_header((at), (name), sizeof(name) - 1, (number))

static int is_told(const rls_status *status) {
  return status->limited && status->rule != NULL && !status->rule->shadow_mode;
}

/* Whether one leaves less room than another: refusals first, of these the one that takes longest; else what has the
 * least left. */
static int is_tighter(const rls_status *one, const rls_status *other) {
  if (one->allowed != other->allowed) return !one->allowed;
  if (!one->allowed && one->reset_after_us != other->reset_after_us) {
    return one->reset_after_us > other->reset_after_us;
  }
  return one->remaining < other->remaining;
}

/* The one whose numbers are told; NULL: none. Of quotas, which refuse only together, the one with the most left. */
static const rls_status *deciding(const rls_answer *answer) {
  const rls_status *tightest = NULL, *quota = NULL;
  for (uint32_t i = 0; i < answer->statuses; i++) {
    const rls_status *status = answer->status + i;
    if (!is_told(status)) continue;
    if (status->rule->quota_mode) {
      if (quota == NULL || is_tighter(quota, status)) quota = status;
    } else if (tightest == NULL || is_tighter(status, tightest)) {
      tightest = status;
    }
  }
  return tightest == NULL || (quota != NULL && is_tighter(quota, tightest)) ? quota : tightest;
}

static uint32_t policies_of(const rls_answer *answer, policy *policies) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < answer->statuses && count < MAX_POLICIES; i++) {
    const rls_status *status = answer->status + i;
    if (!is_told(status)) continue;
    policies[count++] = (policy){status, seconds_of(status->window_us), seconds_of(status->reset_after_us)};
  }
  return count;
}

static int is_same_policy(const policy *one, const policy *other) {
  rls_text name = one->status->rule->quoted, other_name = other->status->rule->quoted;
  return one->status->limit == other->status->limit && one->window_seconds == other->window_seconds &&
         name.size == other_name.size && memcmp(name.start, other_name.start, name.size) == 0;
}

/* `"name";q=100;w=60`, each once. */
static uint8_t *put_policies(uint8_t *at, const policy *policies, uint32_t count) {
  const uint8_t *end = at;
  for (uint32_t i = count; i-- > 0;) {
    const policy *one = policies + i;
    uint32_t first = 0;
    while (!is_same_policy(policies + first, one)) first++;
    if (first < i) continue;
    at = put_digits(at, one->window_seconds);
    at = PUT(at, ";w=");
    at = put_digits(at, (uint64_t)one->status->limit);
    at = PUT(at, "\";q=");
    at = put(at, one->status->rule->quoted.start, one->status->rule->quoted.size);
    at = i == 0 ? PUT(at, "\"") : PUT(at, ", \"");
  }
  return PUT_HEADER(at, "RateLimit-Policy", end);
}

/* `"name";r=99;t=60` */
static uint8_t *put_quotas(uint8_t *at, const policy *policies, uint32_t count) {
  const uint8_t *end = at;
  for (uint32_t i = count; i-- > 0;) {
    const policy *one = policies + i;
    at = put_digits(at, one->reset_seconds);
    at = PUT(at, ";t=");
    at = put_digits(at, (uint64_t)one->status->remaining);
    at = PUT(at, "\";r=");
    at = put(at, one->status->rule->quoted.start, one->status->rule->quoted.size);
    at = i == 0 ? PUT(at, "\"") : PUT(at, ", \"");
  }
  return PUT_HEADER(at, "RateLimit", end);
}

/* The limit, and `100;w=60;name="name"`. */
static uint8_t *put_limits(uint8_t *at, const policy *policies, uint32_t count, const rls_status *tightest) {
  const uint8_t *end = at;
  for (uint32_t i = count; i-- > 0;) {
    const policy *one = policies + i;
    at = PUT(at, "\"");
    at = put(at, one->status->rule->quoted.start, one->status->rule->quoted.size);
    at = PUT(at, ";name=\"");
    at = put_digits(at, one->window_seconds);
    at = PUT(at, ";w=");
    at = put_digits(at, (uint64_t)one->status->limit);
    at = PUT(at, ", ");
  }
  at = put_digits(at, (uint64_t)tightest->limit);
  return PUT_HEADER(at, "X-RateLimit-Limit", end);
}

/* As `ratelimiter.headers` and `waypost.limit_headers` have them. */
static uint8_t *put_headers(uint8_t *at, const rls_answer *answer, int shadow_mode) {
  if (!answer->allowed && answer->retry_after_us >= 0) {
    at = PUT_NUMBER_HEADER(at, "Retry-After", seconds_of(answer->retry_after_us));
  }
  const rls_status *tightest = shadow_mode ? NULL : deciding(answer);
  if (tightest == NULL) return at;
  policy policies[MAX_POLICIES];
  uint32_t count = policies_of(answer, policies);
  at = put_policies(at, policies, count);
  at = put_quotas(at, policies, count);
  at = PUT_NUMBER_HEADER(at, "X-RateLimit-Reset", seconds_of(tightest->reset_after_us));
  at = PUT_NUMBER_HEADER(at, "X-RateLimit-Remaining", (uint64_t)tightest->remaining);
  return put_limits(at, policies, count, tightest);
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
  size_t most = ANSWER_BYTES;
  for (uint32_t i = 0; i < answer->statuses; i++) {
    const rls_rule *rule = answer->status[i].rule;
    most += STATUS_BYTES + POLICY_BYTES;
    if (rule != NULL) most += rule->name.size + QUOTED_TIMES * rule->quoted.size;
  }
  uint8_t *start = room(out, most);
  if (start == NULL) return;
  uint8_t *at = start + most;
  if (headers) at = put_headers(at, answer, shadow_mode);
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
