/* What arrives for a call: its fields, its message, or too much of either. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"
#include "wire.h"

enum { OK = 0, RESOURCE_EXHAUSTED = 8, UNIMPLEMENTED = 12, INTERNAL = 13 };

static int is(h2_slice text, const char *other) {
  return text.length == strlen(other) && memcmp(text.data, other, text.length) == 0;
}

/* Ends a call that nobody shall see. */
static void refuse(h2_call *call, int status, const char *message) {
  if (call->state != H2_ARRIVING) return;
  call->refused = 1;
  H2_COUNT(call->loop->counts.refused, 1);
  h2_answer answer = {.status = status, .message = h2_text(message)};
  h2_call_keep(call, &answer);
  h2_call_answer(call);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2_connection *connection = user;
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  h2_call *call = h2_call_new(connection, frame->hd.stream_id);
  if (call == NULL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
  call->after = connection->first;
  if (connection->first != NULL) connection->first->before = call;
  connection->first = call;
  connection->calls++;
  h2_timer_remove(&connection->idle);
  h2_timers_add(&connection->loop->arriving, &call->timer, h2_now_ms() + call->server->config.message_ms);
  return 0;
}

/* Fields that are the protocol's own business, not metadata. */
static int is_protocols(h2_slice name) {
  return is(name, "te") || is(name, "grpc-accept-encoding") || is(name, "host") || is(name, "content-length") ||
         is(name, "accept-encoding");
}

static void add_field(h2_call *call, h2_slice name, h2_slice value) {
  if (!h2_is_binary(name)) {
    h2_fields_add(&call->fields, name, value);
    return;
  }
  /* Several values may stand in one, with commas between. */
  while (1) {
    const uint8_t *comma = value.length ? memchr(value.data, ',', value.length) : NULL;
    h2_slice one = {value.data, comma == NULL ? value.length : (size_t)(comma - value.data)};
    h2_buffer *scratch = &call->loop->scratch;
    scratch->length = 0;
    if (h2_base64_decode(scratch, one)) h2_fields_add(&call->fields, name, (h2_slice){scratch->data, scratch->length});
    if (comma == NULL) return;
    value = (h2_slice){comma + 1, value.length - one.length - 1};
  }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_data, size_t name_length,
                     const uint8_t *value_data, size_t value_length, uint8_t flags, void *user) {
  (void)flags;
  (void)user;
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (call == NULL || call->refused) return 0;
  h2_slice name = {name_data, name_length}, value = {value_data, value_length};
  uint64_t bytes = call->header_bytes + name_length + value_length + 32;
  if (bytes > call->server->config.max_header_bytes) {
    h2_count_cap(call->loop, H2_CAP_HEADERS);
    refuse(call, RESOURCE_EXHAUSTED, "metadata is larger than this server takes");
    return 0;
  }
  call->header_bytes = (uint32_t)bytes;
  if (!h2_call_hold(call, name_length + value_length + 8)) {
    h2_count_cap(call->loop, H2_CAP_WAITING);
    refuse(call, RESOURCE_EXHAUSTED, "the server holds as much as it may; try again in a moment");
    return 0;
  }
  if (is(name, ":path")) {
    h2_buffer_add(&call->path, value.data, value.length);
  } else if (is(name, ":method")) {
    call->post = is(value, "POST");
  } else if (is(name, "content-type")) {
    call->grpc = h2_is_grpc(value);
  } else if (is(name, "grpc-encoding")) {
    call->encoded = !is(value, "identity");
  } else if (is(name, "grpc-timeout")) {
    call->timeout_us = h2_parse_timeout(value);
  } else if (name.length > 0 && name.data[0] != ':' && !is_protocols(name)) {
    add_field(call, name, value);
  }
  return 0;
}

static void go_up(h2_call *call) {
  h2_server *server = call->server;
  if (atomic_fetch_add_explicit(&server->in_flight, 1, memory_order_relaxed) >= server->config.max_in_flight) {
    atomic_fetch_sub_explicit(&server->in_flight, 1, memory_order_relaxed);
    h2_count_cap(call->loop, H2_CAP_IN_FLIGHT);
    refuse(call, RESOURCE_EXHAUSTED, "too many calls are under way; try again in a moment");
    return;
  }
  h2_timer_remove(&call->timer);
  call->state = H2_UP;
  atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
  H2_COUNT(call->loop->counts.up, 1);
  h2_loop_go_up(call->loop, call);
}

static void count_handled(h2_loop *loop, size_t number, int status, uint64_t nanoseconds) {
  H2_COUNT(loop->counts.calls[number], 1);
  if (status != OK) H2_COUNT(loop->counts.failed[number], 1);
  H2_COUNT(loop->counts.nanoseconds[number], nanoseconds);
  int bucket = 0;
  while (bucket < H2_BUCKETS && (double)nanoseconds > h2_buckets[bucket] * 1e9) bucket++;
  H2_COUNT(loop->counts.seconds[number][bucket], 1);
}

/* All that is awaited of a call has come, or will not come any more. */
static void arrived(h2_call *call) {
  if (call->state != H2_ARRIVING) return;
  h2_server *server = call->server;
  for (uint32_t i = 0; i < server->method_count && call->whole; i++) {
    const h2_method *method = &server->methods[i];
    if (method->length != call->path.length || memcmp(method->path, call->path.data, method->length) != 0) continue;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    h2_buffer *scratch = &call->loop->scratch;
    scratch->length = 0;
    h2_answer answer = {.status = OK};
    if (method->handler(method->state, call, now.tv_sec * 1000000LL + now.tv_nsec / 1000, scratch, &answer) !=
        H2_ANSWERED) {
      break;
    }
    h2_call_keep(call, &answer);
    count_handled(call->loop, i, answer.status, h2_now_ns() - call->arrived_ns);
    h2_call_answer(call);
    return;
  }
  go_up(call);
}

/* All fields of a call are there. */
static void on_fields(h2_call *call) {
  if (call->state != H2_ARRIVING) return;
  call->has_fields = 1;
  if (!call->post || !call->grpc) {
    /* Not gRPC: the answer is HTTP's. */
    call->refused = 1;
    H2_COUNT(call->loop->counts.refused, 1);
    call->status = call->post ? -415 : -405;
    h2_call_answer(call);
  } else if (call->path.failed || call->fields.failed || !h2_is_utf8(h2_call_path(call))) {
    refuse(call, UNIMPLEMENTED, "the path is no method's name");
  } else if (call->encoded) {
    h2_answer answer = {.status = UNIMPLEMENTED, .message = h2_text("only the encoding identity is taken here")};
    h2_buffer fields = {0};
    h2_fields_add(&fields, h2_text("grpc-accept-encoding"), h2_text("identity"));
    answer.trailing = (h2_slice){fields.data, fields.length};
    call->refused = 1;
    H2_COUNT(call->loop->counts.refused, 1);
    h2_call_keep(call, &answer);
    h2_buffer_free(&fields);
    h2_call_answer(call);
  }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length,
                   void *user) {
  (void)flags;
  (void)user;
  h2_call *call = nghttp2_session_get_stream_user_data(session, stream);
  /* What follows the first message is nobody's. */
  if (call == NULL || call->state != H2_ARRIVING || call->whole) return 0;
  size_t missing = sizeof call->prefix - call->prefix_length;
  if (missing > 0) {
    size_t now = length < missing ? length : missing;
    memcpy(call->prefix + call->prefix_length, data, now);
    call->prefix_length += (uint32_t)now;
    data += now;
    length -= now;
    if (call->prefix_length < sizeof call->prefix) return 0;
    const uint8_t *p = call->prefix;
    call->message_length = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    if (p[0] != 0) {
      refuse(call, INTERNAL, "the message is marked as compressed, but no encoding was named");
      return 0;
    }
    if (call->message_length > call->server->config.max_message_bytes) {
      char message[80];
      snprintf(message, sizeof message, "the message has %u bytes, at most %u are taken", call->message_length,
               call->server->config.max_message_bytes);
      h2_count_cap(call->loop, H2_CAP_MESSAGE);
      refuse(call, RESOURCE_EXHAUSTED, message);
      return 0;
    }
  }
  size_t rest = call->message_length - call->message.length;
  if (length > rest) length = rest;
  if (!h2_call_hold(call, length)) {
    h2_count_cap(call->loop, H2_CAP_WAITING);
    refuse(call, RESOURCE_EXHAUSTED, "the server holds as much as it may; try again in a moment");
    return 0;
  }
  h2_buffer_add(&call->message, data, length);
  if (call->message.failed) {
    refuse(call, RESOURCE_EXHAUSTED, "out of memory");
    return 0;
  }
  call->whole = call->message.length == call->message_length;
  return 0;
}

/* Counts a frame that costs the server more than its sender; ends the connection that sends too many in a second. */
static int too_many(h2_connection *connection, uint32_t *count, uint32_t most, int cap) {
  uint64_t second = h2_now_ms() / 1000;
  if (second != connection->second) {
    connection->second = second;
    connection->resets = connection->pings = connection->settings = 0;
  }
  if (++*count <= most) return 0;
  h2_count_cap(connection->loop, cap);
  connection->broken = 1;
  nghttp2_session_terminate_session(connection->session, NGHTTP2_ENHANCE_YOUR_CALM);
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2_connection *connection = user;
  const h2_config *config = &connection->loop->server->config;
  h2_call *call;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
      if (frame->hd.type == NGHTTP2_DATA && frame->hd.length == 0 && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
          too_many(connection, &connection->pings, config->max_pings, H2_CAP_PINGS)) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
      }
      call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
      if (call == NULL) return 0;
      if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) on_fields(call);
      if (call->whole || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) arrived(call);
      return 0;
    case NGHTTP2_RST_STREAM:
      return too_many(connection, &connection->resets, config->max_resets, H2_CAP_RESETS);
    case NGHTTP2_SETTINGS:
      if (frame->hd.flags & NGHTTP2_FLAG_ACK) return 0;
      return too_many(connection, &connection->settings, config->max_settings, H2_CAP_SETTINGS);
    case NGHTTP2_PING:
    case NGHTTP2_PRIORITY:
      return too_many(connection, &connection->pings, config->max_pings, H2_CAP_PINGS);
    default:
      return 0;
  }
}

void h2_call_late(h2_call *call) {
  h2_connection *connection = call->connection;
  h2_count_cap(call->loop, H2_CAP_SLOW_MESSAGE);
  h2_timer_remove(&call->timer);
  if (!call->has_fields) {
    /* Its fields are not all there: until they are, nothing else can come on this connection. */
    connection->broken = 1;
    nghttp2_session_terminate_session(connection->session, NGHTTP2_ENHANCE_YOUR_CALM);
  } else {
    arrived(call);
  }
  h2_connection_dirty(connection);
}

void h2_arriving_callbacks(nghttp2_session_callbacks *callbacks) {
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
}
