/* The fields that a call begins with: which are the protocol's, which are metadata, and how many they may be. */
#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "wire.h"

enum { RESOURCE_EXHAUSTED = 8, UNIMPLEMENTED = 12 };

/* Fields are read on, so that the tables of both sides stay the same, up to so many times what is taken of them. */
#define MOST_READ 8

static int is(h2_slice text, const char *other) {
  return text.length == strlen(other) && memcmp(text.data, other, text.length) == 0;
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
    h2_call_refuse(call, RESOURCE_EXHAUSTED, message);
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
    if (is(name, ":method")) {
      call->post = is(value, "POST");
      call->head = !call->post && is(value, "HEAD");
    }
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

void h2_call_fields_end(h2_call *call) {
  call->has_fields = 1;
  if (call->state != H2_ARRIVING) return;
  if (!call->post || !call->grpc) {
    /* Not gRPC: the answer is HTTP's. It may wait for its caller's window, and what came with the call shall not. */
    H2_COUNT(call->loop->counts.refused, 1);
    h2_call_forget(call);
    call->status = call->post ? -415 : -405;
    h2_call_answer(call);
  } else if (!h2_call_take(call, call->path.length + call->fields.length)) {
    return;
  } else if (call->path.failed || call->fields.failed) {
    h2_call_refuse(call, RESOURCE_EXHAUSTED, "out of memory");
  } else if (!h2_is_utf8(h2_call_path(call))) {
    h2_call_refuse(call, UNIMPLEMENTED, "the path is no method's name: it is not UTF-8");
  } else if (call->encoded) {
    h2_buffer fields = {0};
    h2_fields_add(&fields, h2_text("grpc-accept-encoding"), h2_text("identity"));
    h2_call_refuse_with(call, UNIMPLEMENTED, "messages are taken uncompressed only: grpc-encoding must be identity",
                        (h2_slice){fields.data, fields.length});
    h2_buffer_free(&fields);
  }
}

void h2_fields_callbacks(nghttp2_session_callbacks *callbacks) {
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
}
