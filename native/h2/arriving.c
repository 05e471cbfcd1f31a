/* What arrives for a call: its fields, its message, or too much of either. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"
#include "wire.h"

enum { OK = 0, RESOURCE_EXHAUSTED = 8, UNIMPLEMENTED = 12, INTERNAL = 13 };

/* Fields are read on, so that the tables of both sides stay the same, up to so many times what is taken of them. */
#define MOST_READ 8

/* So many calls are asked to make room for another. */
#define MOST_LOOKED_AT 1024

static const char full[] = "the server holds as much as it may; try again in a moment";

static int is(h2_slice text, const char *other) {
  return text.length == strlen(other) && memcmp(text.data, other, text.length) == 0;
}

/* Ends a call that nobody shall see. */
static void refuse_with(h2_call *call, int status, const char *message, h2_slice trailing) {
  if (call->state != H2_ARRIVING) return;
  H2_COUNT(call->loop->counts.refused, 1);
  h2_call_forget(call);
  h2_answer answer = {.status = status, .message = h2_text(message), .trailing = trailing};
  h2_call_keep(call, &answer);
  h2_call_answer(call);
}

static void refuse(h2_call *call, int status, const char *message) {
  refuse_with(call, status, message, (h2_slice){NULL, 0});
}

/* Counts bytes that a call holds; 0 if that is too much for the server. Before that those give way whose callers have
 * kept us waiting longest: what is sent whole must not be refused for what never will be. */
static int hold(h2_call *call, size_t bytes) {
  h2_server *server = call->server;
  h2_timers *arriving = &call->loop->arriving;
  if (h2_call_hold(call, bytes)) return 1;
  h2_timer *timer = arriving->head.after;
  for (int looked = 0; looked < MOST_LOOKED_AT && timer != &arriving->head && timer != &call->timer; looked++) {
    h2_call *other = H2_OF(h2_call, timer, timer);
    timer = timer->after;
    /* It cannot be answered within its fields. */
    if (!other->has_fields) continue;
    h2_count_cap(call->loop, H2_CAP_WAITING);
    refuse(other, RESOURCE_EXHAUSTED, full);
    if (atomic_load_explicit(&server->waiting, memory_order_relaxed) <= server->config.max_waiting_bytes) return 1;
  }
  return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2_connection *connection = user;
  h2_loop *loop = connection->loop;
  if (connection->broken) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  connection->begun++;
  if (connection->calls >= loop->server->config.max_streams) {
    h2_count_cap(loop, H2_CAP_STREAMS);
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    return 0;
  }
  h2_call *call = h2_call_new(connection, frame->hd.stream_id);
  if (call == NULL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
  call->after = connection->first;
  if (connection->first != NULL) connection->first->before = call;
  connection->first = call;
  connection->calls++;
  h2_timer_remove(&connection->clock);
  h2_timers_add(&loop->arriving, &call->timer, loop->now_ms + call->server->config.message_ms);
  return 0;
}

/* Fields that are the protocol's own business, not metadata. */
static int is_protocols(h2_slice name) {
  return is(name, "te") || is(name, "grpc-accept-encoding");
}

/* Counts what a field takes; 0 if that is too much. */
static int count_field(h2_call *call, size_t bytes) {
  uint64_t most = call->server->config.max_header_bytes, before = call->header_bytes;
  call->header_bytes += bytes + 32;
  if (call->header_bytes <= most) return 1;
  if (before <= most) {
    h2_count_cap(call->loop, H2_CAP_HEADERS);
    char message[96];
    snprintf(message, sizeof message, "the metadata has more than %u bytes, with 32 for each field", (unsigned)most);
    refuse(call, RESOURCE_EXHAUSTED, message);
  }
  /* A few bytes can stand for many that were sent before. */
  if (call->header_bytes / MOST_READ > most) h2_connection_break(call->connection, NGHTTP2_ENHANCE_YOUR_CALM);
  return 0;
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
    if (comma == NULL || !count_field(call, name.length)) return;
    value = (h2_slice){comma + 1, value.length - one.length - 1};
  }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_data, size_t name_length,
                     const uint8_t *value_data, size_t value_length, uint8_t flags, void *user) {
  h2_connection *connection = user;
  (void)flags;
  if (connection->broken) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (call == NULL) return 0;
  h2_slice name = {name_data, name_length}, value = {value_data, value_length};
  /* A client's trailers are nobody's, but read they are. */
  if (!count_field(call, name_length + value_length) || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  if (call->state != H2_ARRIVING) return 0;
  if (name.length > 0 && name.data[0] == ':') {
    if (is(name, ":path")) h2_buffer_add(&call->path, value.data, value.length);
    if (is(name, ":method")) call->post = is(value, "POST");
  } else if (is(name, "content-type")) {
    call->grpc = h2_is_grpc(value);
  } else if (is(name, "grpc-encoding")) {
    call->encoded = !is(value, "identity");
  } else if (is(name, "grpc-timeout")) {
    call->timeout_us = h2_parse_timeout(value);
  } else if (!is_protocols(name)) {
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
  call->up_ns = h2_now_ns();
  atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
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
    count_handled(call->loop, i, call->status, h2_now_ns() - call->arrived_ns);
    h2_call_answer(call);
    return;
  }
  go_up(call);
}

/* All fields of a call are there. */
static void on_fields(h2_call *call) {
  call->has_fields = 1;
  if (call->state != H2_ARRIVING) return;
  if (!call->post || !call->grpc) {
    /* Not gRPC: the answer is HTTP's. */
    H2_COUNT(call->loop->counts.refused, 1);
    call->status = call->post ? -415 : -405;
    h2_call_answer(call);
  } else if (!hold(call, call->path.length + call->fields.length)) {
    h2_count_cap(call->loop, H2_CAP_WAITING);
    refuse(call, RESOURCE_EXHAUSTED, full);
  } else if (call->path.failed || call->fields.failed) {
    refuse(call, RESOURCE_EXHAUSTED, "out of memory");
  } else if (!h2_is_utf8(h2_call_path(call))) {
    refuse(call, UNIMPLEMENTED, "the path is no method's name: it is not UTF-8");
  } else if (call->encoded) {
    h2_buffer fields = {0};
    h2_fields_add(&fields, h2_text("grpc-accept-encoding"), h2_text("identity"));
    refuse_with(call, UNIMPLEMENTED, "messages are taken uncompressed only: grpc-encoding must be identity",
                (h2_slice){fields.data, fields.length});
    h2_buffer_free(&fields);
  }
}

/* The prefix of a message is there. */
static void on_prefix(h2_call *call) {
  const uint8_t *p = call->prefix;
  char message[96];
  uint32_t most = call->server->config.max_message_bytes;
  call->message_length = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
  if (p[0] > 1) {
    snprintf(message, sizeof message, "this is no message of gRPC: it begins with byte %u, not with 0 or 1", p[0]);
    refuse(call, INTERNAL, message);
  } else if (p[0] == 1) {
    refuse(call, INTERNAL, "the message is marked as compressed, but no encoding was named");
  } else if (call->message_length > most) {
    snprintf(message, sizeof message, "the message has %u bytes, at most %u are taken", call->message_length, most);
    h2_count_cap(call->loop, H2_CAP_MESSAGE);
    refuse(call, RESOURCE_EXHAUSTED, message);
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
    on_prefix(call);
    if (call->state != H2_ARRIVING) return 0;
  }
  size_t rest = call->message_length - call->message.length;
  if (length > rest) length = rest;
  if (!hold(call, length)) {
    h2_count_cap(call->loop, H2_CAP_WAITING);
    refuse(call, RESOURCE_EXHAUSTED, full);
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

/* A window that is opened without much that was sent through it: a few for each call and each frame are usual. */
static void count_update(h2_connection *connection) {
  uint64_t usual = connection->loop->server->config.max_pings + 4 * connection->begun + 8 * connection->sent;
  if (++connection->updates <= usual) return;
  h2_count_cap(connection->loop, H2_CAP_PINGS);
  h2_connection_break(connection, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void greeted(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  if (connection->greeted) return;
  connection->greeted = 1;
  h2_timers_add(&loop->idle, &connection->clock, loop->now_ms + loop->server->config.idle_ms);
}

/* A frame that costs the server more than its sender. */
static void on_other(h2_connection *connection, const nghttp2_frame *frame) {
  const h2_config *config = &connection->loop->server->config;
  switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM:
      h2_connection_count(connection, &connection->resets, config->max_resets, H2_CAP_RESETS);
      return;
    case NGHTTP2_SETTINGS:
      if (frame->hd.flags & NGHTTP2_FLAG_ACK) return;
      greeted(connection);
      h2_connection_count(connection, &connection->settings, config->max_settings, H2_CAP_SETTINGS);
      return;
    case NGHTTP2_DATA: /* without any */
    case NGHTTP2_PING:
    case NGHTTP2_PRIORITY:
    case NGHTTP2_GOAWAY:
      h2_connection_count(connection, &connection->pings, config->max_pings, H2_CAP_PINGS);
      return;
    case NGHTTP2_WINDOW_UPDATE:
      count_update(connection);
      return;
    default:
      return;
  }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2_connection *connection = user;
  int ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
  int empty = frame->hd.type == NGHTTP2_DATA && frame->hd.length <= frame->data.padlen;
  if (connection->broken) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) || (empty && !ends)) {
    on_other(connection, frame);
    return connection->broken ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }
  h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (call == NULL) return 0;
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) on_fields(call);
  if (call->whole || ends) arrived(call);
  return 0;
}

void h2_call_late(h2_call *call) {
  h2_connection *connection = call->connection;
  h2_count_cap(call->loop, H2_CAP_SLOW_MESSAGE);
  h2_timer_remove(&call->timer);
  if (!call->has_fields) {
    /* Its fields are not all there: until they are, nothing else can come on this connection. */
    h2_connection_break(connection, NGHTTP2_ENHANCE_YOUR_CALM);
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
