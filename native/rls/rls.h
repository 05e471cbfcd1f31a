/* What the rate limiter is asked and answers, as protobuf has it on the wire: read without copies, written without a
 * library, for threads without an interpreter.
 *
 * Only ordinary requests are read here; whatever is unusual in any way is left to the real library (0), which knows what
 * to say of it. What has been read of it by then means nothing. Numbers of answers are from 0 where nothing else is said.
 */
#ifndef WAYPOST_RLS_H
#define WAYPOST_RLS_H

#include <stddef.h>
#include <stdint.h>

#include "../h2/h2.h"

#define RLS_DESCRIPTORS 16
#define RLS_ENTRIES 64 /* of all descriptors together */

/* UTF-8 that lies in the request; `start` is never NULL. */
typedef struct {
  const char *start;
  size_t size;
} rls_text;

typedef struct {
  rls_text key, value;
} rls_entry;

typedef struct {
  uint32_t first_entry, entries;
  int has_hits; /* a cost of its own */
  int64_t hits;
} rls_descriptor;

typedef struct {
  rls_text domain;
  uint32_t hits; /* 1 if none were named */
  uint32_t descriptors;
  rls_descriptor descriptor[RLS_DESCRIPTORS];
  rls_entry entry[RLS_ENTRIES];
} rls_request;

/* envoy.service.ratelimit.v3.RateLimitRequest. 1: read, and within all bounds of the limiter (`ratelimiter.requests`). */
int rls_read_envoy(h2_slice message, rls_request *request);
/* waypost.api.v1.CheckRequest. */
int rls_read_check(h2_slice message, rls_request *request);
/* grpc.health.v1.HealthCheckRequest. */
int rls_read_health(h2_slice message, rls_text *service);

/* The rule that a descriptor met, as answers tell of it; made once for each rule. */
typedef struct {
  rls_text place;  /* `waypost.route_class_create.remote_address` */
  rls_text name;   /* its own, or empty */
  rls_text quoted; /* name or place as headers have it: `waypost.limit_headers._quoted` of its first characters */
  int shadow_mode, quota_mode;
} rls_rule;

/* What became of one descriptor: `ratelimiter.results.DescriptorStatus`. */
typedef struct {
  const rls_rule *rule; /* NULL: it met none */
  int limited;          /* 0: its rule is unlimited, and what follows but `remaining` is 0 */
  int64_t limit, window_us;
  int unit; /* of Envoy's enum, by the window */
  int64_t remaining, reset_after_us;
  int64_t retry_after_us; /* in a refusal; -1: never */
  int allowed, over_limit;
} rls_status;

typedef struct {
  int allowed;
  int64_t retry_after_us; /* in a refusal; -1: none is told */
  uint32_t statuses;
  rls_status status[RLS_DESCRIPTORS];
} rls_answer;

/* envoy.service.ratelimit.v3.RateLimitResponse, byte for byte what the real library writes. `headers`: with those for
 * clients (`ratelimiter.headers`); `shadow_mode`: nothing is refused by a setting of the process. */
void rls_write_envoy(const rls_answer *answer, int headers, int shadow_mode, h2_buffer *out);
/* waypost.api.v1.CheckResponse. */
void rls_write_check(const rls_answer *answer, h2_buffer *out);
/* grpc.health.v1.HealthCheckResponse. */
void rls_write_health(int status, h2_buffer *out);

#endif
