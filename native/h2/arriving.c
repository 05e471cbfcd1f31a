/* What arrives on a connection: messages, their ends, and frames that carry neither. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"

enum { OK = 0, RESOURCE_EXHAUSTED = 8, INTERNAL = 13 };

static void go_up(h2_call *call) {
  h2_server *server = call->server;
  if (atomic_fetch_add_explicit(&server->in_flight, 1, memory_order_relaxed) >= server->config.max_in_flight) {
    atomic_fetch_sub_explicit(&server->in_flight, 1, memory_order_relaxed);
    h2_count_cap(call->loop, H2_CAP_IN_FLIGHT);
    h2_call_refuse(call, RESOURCE_EXHAUSTED, "too many calls are under way; try again in a moment");
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

/* The prefix of a message is there. */
static void on_prefix(h2_call *call) {
  const uint8_t *p = call->prefix;
  char message[96];
  uint32_t most = call->server->config.max_message_bytes;
  call->message_length = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
  if (p[0] > 1) {
    snprintf(message, sizeof message, "this is no message of gRPC: it begins with byte %u, not with 0 or 1", p[0]);
    h2_call_refuse(call, INTERNAL, message);
  } else if (p[0] == 1) {
    h2_call_refuse(call, INTERNAL, "the message is marked as compressed, but no encoding was named");
  } else if (call->message_length > most) {
    snprintf(message, sizeof message, "the message has %u bytes, at most %u are taken", call->message_length, most);
    h2_count_cap(call->loop, H2_CAP_MESSAGE);
    h2_call_refuse(call, RESOURCE_EXHAUSTED, message);
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
  if (!h2_call_take(call, length)) return 0;
  h2_buffer_add(&call->message, data, length);
  if (call->message.failed) {
    h2_call_refuse(call, RESOURCE_EXHAUSTED, "out of memory");
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
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) h2_call_fields_end(call);
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
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
}
