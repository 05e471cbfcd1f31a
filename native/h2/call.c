/* One call: what it brought, who holds it, and what it ends with. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

h2_call *h2_call_new(h2_connection *connection, int32_t stream) {
  h2_call *call = calloc(1, sizeof *call);
  if (call == NULL) return NULL;
  call->server = connection->loop->server;
  call->loop = connection->loop;
  call->connection = connection;
  call->stream = stream;
  call->timeout_us = -1;
  call->arrived_ns = h2_now_ns();
  atomic_init(&call->references, 1);
  memcpy(call->peer, connection->peer, sizeof call->peer);
  h2_call_hold(call, sizeof *call);
  return call;
}

void h2_call_release(h2_call *call) {
  if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) != 1) return;
  atomic_fetch_sub_explicit(&call->server->waiting, call->held, memory_order_relaxed);
  h2_buffer *buffers[] = {&call->path,    &call->fields,   &call->message,       &call->reply,
                          &call->initial, &call->trailing, &call->status_message};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) h2_buffer_free(buffers[i]);
  free(call);
}

int h2_call_hold(h2_call *call, size_t bytes) {
  call->held += bytes;
  uint64_t waiting = atomic_fetch_add_explicit(&call->server->waiting, bytes, memory_order_relaxed) + bytes;
  return waiting <= call->server->config.max_waiting_bytes;
}

void h2_call_keep(h2_call *call, const h2_answer *answer) {
  static const char short_of_memory[] = "out of memory";
  h2_slice body = answer->status == 0 ? answer->body : (h2_slice){NULL, 0};
  if (answer->status == 0) {
    uint8_t prefix[5] = {0, (uint8_t)(body.length >> 24), (uint8_t)(body.length >> 16), (uint8_t)(body.length >> 8),
                         (uint8_t)body.length};
    h2_buffer_add(&call->reply, prefix, sizeof prefix);
    h2_buffer_add(&call->reply, body.data, body.length);
  }
  h2_buffer_add(&call->initial, answer->initial.data, answer->initial.length);
  h2_buffer_add(&call->trailing, answer->trailing.data, answer->trailing.length);
  h2_buffer_add(&call->status_message, answer->message.data, answer->message.length);
  call->status = answer->status;
  if (call->reply.failed || call->initial.failed || call->trailing.failed || call->status_message.failed) {
    h2_buffer_free(&call->reply);
    h2_buffer_free(&call->initial);
    h2_buffer_free(&call->trailing);
    h2_buffer_free(&call->status_message);
    call->status = 8; /* RESOURCE_EXHAUSTED */
    h2_buffer_add(&call->status_message, short_of_memory, sizeof short_of_memory - 1);
  }
  h2_call_hold(call, call->reply.length + call->initial.length + call->trailing.length + call->status_message.length);
}

h2_slice h2_call_path(const h2_call *call) { return (h2_slice){call->path.data, call->path.length}; }

h2_slice h2_call_fields(const h2_call *call) { return (h2_slice){call->fields.data, call->fields.length}; }

h2_slice h2_call_message(const h2_call *call, int *whole) {
  *whole = call->whole;
  return (h2_slice){call->message.data, call->whole ? call->message_length : 0};
}

int64_t h2_call_timeout_us(const h2_call *call) { return call->timeout_us; }

const char *h2_call_peer(const h2_call *call) { return call->peer; }

void h2_call_set_owner(h2_call *call, void *owner) { call->owner = owner; }

void *h2_call_owner(const h2_call *call) { return call->owner; }
