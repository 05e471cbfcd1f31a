/* What HTTP clients are told of their limits, as `ratelimiter.headers` and `waypost.limit_headers` have it. */
#include "put.h"

#define MAX_POLICIES 10

/* What headers tell of one limit. */
typedef struct {
  const rls_status *status;
  uint64_t window_seconds, reset_seconds;
} policy;

static uint8_t *put_digits(uint8_t *at, uint64_t number) {
  static const char pairs[] =
      "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
      "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
  for (; number >= 100; number /= 100) at = put(at, pairs + number % 100 * 2, 2);
  return number < 10 ? put_byte(at, '0' + (unsigned)number) : put(at, pairs + number * 2, 2);
}

/* Whole seconds, rounded up. */
static uint64_t seconds_of(int64_t span_us) {
  return (uint64_t)span_us / SECOND_US + ((uint64_t)span_us % SECOND_US != 0);
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

static uint8_t *put_name(uint8_t *at, const policy *one) {
  return put(at, one->status->rule->quoted.start, one->status->rule->quoted.size);
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
    at = put_name(at, one);
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
    at = put_name(at, one);
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
    at = put_name(at, one);
    at = PUT(at, ";name=\"");
    at = put_digits(at, one->window_seconds);
    at = PUT(at, ";w=");
    at = put_digits(at, (uint64_t)one->status->limit);
    at = PUT(at, ", ");
  }
  at = put_digits(at, (uint64_t)tightest->limit);
  return PUT_HEADER(at, "X-RateLimit-Limit", end);
}

uint8_t *rls_put_headers(uint8_t *at, const rls_answer *answer, int shadow_mode) {
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
