/* One call: what it brought, who holds it, and what it ends with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "wire.h"

enum { OK = 0, UNKNOWN = 2, RESOURCE_EXHAUSTED = 8, INTERNAL = 13 };

/* What the library keeps of a stream beside us, about. */
#define STREAM_BYTES 512
#define OWN_BYTES (sizeof(h2_call) + STREAM_BYTES)

/* A loop keeps so many calls for others, each of its buffers no larger than this. */
#if defined(MOST_SPARE) /* the build says how many */
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MOST_SPARE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MOST_SPARE 0 /* so that they see each that is used after its end */
#endif
#endif
#ifndef MOST_SPARE
#define MOST_SPARE 256
#endif
#define MOST_SPARE_BYTES 1024

static h2_call *fresh(h2_loop *loop) {
  h2_call *call = loop->spare;
  if (call == NULL) return calloc(1, sizeof *call);
  loop->spare = call->after;
  loop->spares--;
  h2_buffer buffers[H2_BUFFERS];
  memcpy(buffers, call->buffers, sizeof buffers);
  memset(call, 0, sizeof *call);
  for (size_t i = 0; i < H2_BUFFERS; i++) {
    call->buffers[i].data = buffers[i].data;
    call->buffers[i].capacity = buffers[i].capacity;
  }
  return call;
}

h2_call *h2_call_new(h2_connection *connection, int32_t stream) {
  h2_call *call = fresh(connection->loop);
  if (call == NULL) return NULL;
  call->server = connection->loop->server;
  call->loop = connection->loop;
  call->connection = connection;
  call->stream = stream;
  call->timeout_us = -1;
  call->arrived_ns = h2_now_ns();
  atomic_init(&call->references, 1);
  memcpy(call->peer, connection->peer, sizeof call->peer);
  h2_call_hold(call, OWN_BYTES);
  return call;
}

static int is_last(h2_call *call) {
  if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) != 1) return 0;
  atomic_fetch_sub_explicit(&call->server->waiting, call->held, memory_order_relaxed);
  return 1;
}

static void free_call(h2_call *call) {
  for (size_t i = 0; i < H2_BUFFERS; i++) h2_buffer_free(&call->buffers[i]);
  free(call);
}

void h2_call_release(h2_call *call) {
  if (is_last(call)) free_call(call);
}

void h2_call_recycle(h2_call *call) {
  h2_loop *loop = call->loop;
  if (!is_last(call)) return;
  if (loop->spares >= MOST_SPARE) {
    free_call(call);
    return;
  }
  for (size_t i = 0; i < H2_BUFFERS; i++) {
    if (call->buffers[i].capacity > MOST_SPARE_BYTES) h2_buffer_free(&call->buffers[i]);
  }
  call->after = loop->spare;
  loop->spare = call;
  loop->spares++;
}

void h2_calls_free(h2_loop *loop) {
  while (loop->spare != NULL) {
    h2_call *next = loop->spare->after;
    free_call(loop->spare);
    loop->spare = next;
  }
  loop->spares = 0;
}

static uint64_t hold(h2_call *call, size_t bytes) {
  call->held += bytes;
  return atomic_fetch_add_explicit(&call->server->waiting, bytes, memory_order_relaxed) + bytes;
}

int h2_call_hold(h2_call *call, size_t bytes) {
  return hold(call, bytes) <= call->server->config.max_waiting_bytes;
}

/* Counts no more what is not kept. */
static void drop(h2_call *call, size_t bytes) {
  call->held -= bytes;
  atomic_fetch_sub_explicit(&call->server->waiting, bytes, memory_order_relaxed);
}

void h2_call_forget(h2_call *call) {
  h2_buffer_free(&call->path);
  h2_buffer_free(&call->fields);
  h2_buffer_free(&call->message);
  drop(call, call->held - OWN_BYTES);
}

/* ---- what it ends with ---- */

/* Ends it with an error instead of what it had. */
static void spoil(h2_call *call, int status, const char *message) {
  h2_buffer *answer[] = {&call->reply, &call->initial, &call->trailing, &call->status_message};
  for (size_t i = 0; i < sizeof answer / sizeof *answer; i++) h2_buffer_free(answer[i]);
  call->status = status;
  h2_buffer_add(&call->status_message, message, strlen(message));
}

/* The bytes of fields, as HTTP/2 counts them; -1: one cannot be sent. */
static int64_t sent_bytes(h2_slice packed) {
  size_t position = 0;
  int64_t bytes = 0;
  h2_slice name, value;
  while (h2_fields_next(packed, &position, &name, &value)) {
    if (name.length == 0 || name.data[0] == ':' || !nghttp2_check_header_name(name.data, name.length)) return -1;
    int binary = h2_is_binary(name);
    if (!binary && !nghttp2_check_header_value(value.data, value.length)) return -1;
    bytes += (int64_t)(name.length + (binary ? value.length / 3 * 4 + 4 : value.length) + 32);
  }
  return bytes;
}

/* Whether the fields of an answer can be sent; if not, it is one that says so. */
static int fit(h2_call *call, const h2_answer *answer) {
  int64_t before = sent_bytes(answer->initial), after = sent_bytes(answer->trailing);
  int64_t most = before > after ? before : after;
  char message[96];
  if (before < 0 || after < 0) {
    spoil(call, INTERNAL, "the answer's metadata has a name or a value that HTTP/2 cannot carry");
  } else if (most > H2_FIELD_BYTES) {
    snprintf(message, sizeof message, "the answer's metadata has %lld bytes, at most %d are sent", (long long)most,
             H2_FIELD_BYTES);
    spoil(call, RESOURCE_EXHAUSTED, message);
  }
  return before >= 0 && after >= 0 && most <= H2_FIELD_BYTES;
}

/* The first H2_MESSAGE_BYTES, but no part of a character. */
static h2_slice cut(h2_slice text) {
  if (text.length <= H2_MESSAGE_BYTES) return text;
  text.length = H2_MESSAGE_BYTES;
  while (text.length > 0 && (text.data[text.length] & 0xC0) == 0x80) text.length--;
  return text;
}

void h2_call_keep(h2_call *call, const h2_answer *answer) {
  int ok = answer->status == OK;
  size_t bytes = answer->initial.length + answer->trailing.length + (ok ? answer->body.length + 5 : 0);
  h2_slice message = cut(answer->message);
  call->status = answer->status < 0 ? UNKNOWN : answer->status;
  if ((answer->initial.length || answer->trailing.length) && !fit(call, answer)) return;
  if (ok && answer->body.length > UINT32_MAX) {
    spoil(call, RESOURCE_EXHAUSTED, "the answer has more bytes than a message of gRPC can");
    return;
  }
  /* Beyond the bound, so that who asks for too much does not take the answers of those who were served. */
  if (hold(call, bytes + message.length) / 2 > call->server->config.max_waiting_bytes) {
    atomic_fetch_add_explicit(&call->server->refused_answers, 1, memory_order_relaxed);
    drop(call, bytes + message.length);
    spoil(call, RESOURCE_EXHAUSTED, "the server holds as much as it may; try again in a moment");
    return;
  }
  if (ok) {
    size_t length = answer->body.length;
    uint8_t prefix[5] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
    h2_buffer_reserve(&call->reply, sizeof prefix + length);
    h2_buffer_add(&call->reply, prefix, sizeof prefix);
    h2_buffer_add(&call->reply, answer->body.data, length);
  }
  h2_buffer_add(&call->initial, answer->initial.data, answer->initial.length);
  h2_buffer_add(&call->trailing, answer->trailing.data, answer->trailing.length);
  h2_buffer_add(&call->status_message, message.data, message.length);
  if (call->reply.failed || call->initial.failed || call->trailing.failed || call->status_message.failed) {
    drop(call, bytes + message.length);
    spoil(call, RESOURCE_EXHAUSTED, "out of memory");
  }
}

/* ---- what it brought ---- */

h2_slice h2_call_path(const h2_call *call) { return (h2_slice){call->path.data, call->path.length}; }

h2_slice h2_call_fields(const h2_call *call) { return (h2_slice){call->fields.data, call->fields.length}; }

h2_slice h2_call_message(const h2_call *call, int *whole) {
  *whole = call->whole;
  return (h2_slice){call->message.data, call->whole ? call->message_length : 0};
}

int64_t h2_call_timeout_us(const h2_call *call) { return call->timeout_us; }

uint64_t h2_call_waited_ns(const h2_call *call) { return h2_now_ns() - call->up_ns; }

const char *h2_call_peer(const h2_call *call) { return call->peer; }

void h2_call_set_owner(h2_call *call, void *owner) { call->owner = owner; }

void *h2_call_owner(const h2_call *call) { return call->owner; }
