/* How a call's answer is sent: fields, body, trailers; or trailers only. */
#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "wire.h"

enum { OK = 0 };

#define MOST_FIELDS 100

static nghttp2_nv field(h2_slice name, h2_slice value) {
  return (nghttp2_nv){(uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data, name.length, value.length,
                      NGHTTP2_NV_FLAG_NONE};
}

/* Appends packed fields to `fields`; binary values are encoded into `scratch`, which must not move: it is made large
 * enough at once. */
static size_t unpack(h2_slice packed, nghttp2_nv *fields, size_t count, h2_buffer *scratch) {
  size_t position = 0;
  h2_slice name, value;
  while (count < MOST_FIELDS && h2_fields_next(packed, &position, &name, &value)) {
    if (h2_is_binary(name)) {
      size_t start = scratch->length;
      h2_base64_encode(scratch, value);
      if (scratch->failed) return count;
      value = (h2_slice){scratch->data + start, scratch->length - start};
    }
    fields[count++] = field(name, value);
  }
  return count;
}

/* Room for all binary values, so that none moves once it is pointed at. */
static void reserve(h2_buffer *scratch, size_t bytes) {
  static const uint8_t nothing[256];
  scratch->length = 0;
  while (scratch->length < bytes && !scratch->failed) h2_buffer_add(scratch, nothing, sizeof nothing);
  scratch->length = 0;
}

static size_t status_fields(h2_call *call, nghttp2_nv *fields, size_t count, char digits[12], h2_buffer *scratch) {
  int length = snprintf(digits, 12, "%d", call->status);
  fields[count++] = field(h2_text("grpc-status"), (h2_slice){(uint8_t *)digits, (size_t)length});
  if (call->status_message.length > 0) {
    size_t start = scratch->length;
    h2_percent_encode(scratch, (h2_slice){call->status_message.data, call->status_message.length});
    if (!scratch->failed) {
      fields[count++] = field(h2_text("grpc-message"), (h2_slice){scratch->data + start, scratch->length - start});
    }
  }
  return unpack((h2_slice){call->trailing.data, call->trailing.length}, fields, count, scratch);
}

static size_t room(const h2_call *call) {
  return 2 * (call->trailing.length + call->initial.length) + 3 * call->status_message.length + 64;
}

static ssize_t read_reply(nghttp2_session *session, int32_t stream, uint8_t *out, size_t length, uint32_t *flags,
                          nghttp2_data_source *source, void *user) {
  h2_connection *connection = user;
  h2_call *call = source->ptr;
  size_t rest = call->reply.length - call->reply_sent;
  if (length > rest) length = rest;
  memcpy(out, call->reply.data + call->reply_sent, length);
  call->reply_sent += length;
  if (call->reply_sent == call->reply.length) {
    nghttp2_nv fields[MOST_FIELDS + 2];
    char digits[12];
    h2_buffer *scratch = &connection->loop->scratch;
    reserve(scratch, room(call));
    size_t count = status_fields(call, fields, 0, digits, scratch);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream, fields, count) != 0) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  return (ssize_t)length;
}

void h2_call_answer(h2_call *call) {
  h2_connection *connection = call->connection;
  if (connection == NULL) return;
  call->state = H2_ENDING;
  h2_timer_remove(&call->timer);
  h2_timers_add(&call->loop->ending, &call->timer, h2_now_ms() + call->server->config.write_ms);
  nghttp2_nv fields[MOST_FIELDS + 6];
  char digits[12];
  h2_buffer *scratch = &connection->loop->scratch;
  reserve(scratch, room(call));
  size_t count = 0;
  int failed;
  if (call->status < 0) {
    snprintf(digits, sizeof digits, "%d", -call->status);
    fields[count++] = field(h2_text(":status"), h2_text(digits));
    if (call->status == -405) fields[count++] = field(h2_text("allow"), h2_text("POST"));
    failed = nghttp2_submit_response(connection->session, call->stream, fields, count, NULL);
  } else {
    fields[count++] = field(h2_text(":status"), h2_text("200"));
    fields[count++] = field(h2_text("content-type"), h2_text("application/grpc"));
    count = unpack((h2_slice){call->initial.data, call->initial.length}, fields, count, scratch);
    if (call->status == OK) {
      nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_reply};
      failed = nghttp2_submit_response(connection->session, call->stream, fields, count, &provider);
    } else {
      count = status_fields(call, fields, count < 4 ? count : 4, digits, scratch);
      failed = nghttp2_submit_response(connection->session, call->stream, fields, count, NULL);
    }
  }
  if (failed) {
    nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_INTERNAL_ERROR);
  }
  h2_connection_dirty(connection);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
      nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
    /* Answered before all was read: the rest is not wanted. */
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
  }
  return 0;
}

void h2_call_give_up(h2_call *call) {
  h2_count_cap(call->loop, H2_CAP_SLOW_READER);
  h2_timer_remove(&call->timer);
  nghttp2_submit_rst_stream(call->connection->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL);
  h2_connection_dirty(call->connection);
}

void h2_answering_callbacks(nghttp2_session_callbacks *callbacks) {
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
}
