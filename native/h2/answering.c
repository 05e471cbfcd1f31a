/* How a call's answer is sent: fields, body, trailers; or trailers only. */
#include <string.h>

#include "internal.h"
#include "wire.h"

enum { OK = 0 };

/* Beside those that the answer brings. */
#define OWN_FIELDS 6
#define DIGITS 12

/* Fields that are sent together. Values that are not sent as they lie are in `scratch`. */
typedef struct {
  nghttp2_nv *fields;
  size_t count;
  h2_buffer *scratch;
  char digits[DIGITS];
} field_block;

static size_t count_of(h2_slice packed) {
  size_t position = 0, count = 0;
  h2_slice name, value;
  while (h2_fields_next(packed, &position, &name, &value)) count++;
  return count;
}

static h2_slice all_of(const h2_buffer *buffer) { return (h2_slice){buffer->data, buffer->length}; }

/* Room for all that may come, so that nothing moves once it is pointed at; 0: out of memory. The next block takes its
 * place. */
static int begin(field_block *block, h2_call *call) {
  h2_loop *loop = call->loop;
  size_t fields = OWN_FIELDS + count_of(all_of(&call->initial)) + count_of(all_of(&call->trailing));
  /* A value has less than twice its bytes and those of its lengths in base64, three times its own percent-encoded. */
  size_t values = 2 * (call->initial.length + call->trailing.length) + 3 * call->status_message.length + 1;
  loop->scratch.length = 0;
  if (!h2_buffer_reserve(&loop->scratch, values)) return 0;
  if (!h2_buffer_reserve(&loop->block, fields * sizeof *block->fields)) return 0;
  block->fields = (nghttp2_nv *)(void *)loop->block.data;
  block->count = 0;
  block->scratch = &loop->scratch;
  return 1;
}

static void add(field_block *block, h2_slice name, h2_slice value) {
  block->fields[block->count++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data,
                                               name.length, value.length, NGHTTP2_NV_FLAG_NONE};
}

static void add_number(field_block *block, const char *name, int number) {
  char *end = block->digits + DIGITS, *digit = end;
  do {
    *--digit = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  add(block, h2_text(name), (h2_slice){(uint8_t *)digit, (size_t)(end - digit)});
}

static int is_space(uint8_t byte) { return byte == ' ' || byte == '\t'; }

static void add_packed(field_block *block, const h2_buffer *packed) {
  size_t position = 0;
  h2_slice name, value;
  while (h2_fields_next(all_of(packed), &position, &name, &value)) {
    if (h2_is_reserved(name)) continue;
    if (h2_is_binary(name)) {
      size_t start = block->scratch->length;
      h2_base64_encode(block->scratch, value);
      value = (h2_slice){block->scratch->data + start, block->scratch->length - start};
    }
    /* RFC 9113, 8.2.1: no value has space around it. */
    while (value.length > 0 && is_space(value.data[value.length - 1])) value.length--;
    while (value.length > 0 && is_space(value.data[0])) value = (h2_slice){value.data + 1, value.length - 1};
    add(block, name, value);
  }
}

static void add_status(field_block *block, h2_call *call) {
  add_number(block, "grpc-status", call->status);
  if (call->status_message.length > 0) {
    size_t start = block->scratch->length;
    h2_percent_encode(block->scratch, all_of(&call->status_message));
    add(block, h2_text("grpc-message"), (h2_slice){block->scratch->data + start, block->scratch->length - start});
  }
  add_packed(block, &call->trailing);
}

static ssize_t read_reply(nghttp2_session *session, int32_t stream, uint8_t *out, size_t length, uint32_t *flags,
                          nghttp2_data_source *source, void *user) {
  (void)user;
  h2_call *call = source->ptr;
  size_t rest = call->reply.length - call->reply_sent;
  if (length > rest) length = rest;
  memcpy(out, call->reply.data + call->reply_sent, length);
  call->reply_sent += length;
  if (call->reply_sent == call->reply.length) {
    field_block block;
    if (!begin(&block, call)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    add_status(&block, call);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream, block.fields, block.count) != 0) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
  }
  return (ssize_t)length;
}

/* ---- what is not gRPC's ---- */

enum { METHOD_NOT_ALLOWED = 405 };

static h2_slice http_words(const h2_call *call) {
  return h2_text(-call->status == METHOD_NOT_ALLOWED
                     ? "Only gRPC is spoken here: a call is a POST to /package.Service/Method.\n"
                     : "Only gRPC is spoken here: the content-type must be application/grpc.\n");
}

static ssize_t read_words(nghttp2_session *session, int32_t stream, uint8_t *out, size_t length, uint32_t *flags,
                          nghttp2_data_source *source, void *user) {
  (void)session;
  (void)stream;
  (void)user;
  h2_call *call = source->ptr;
  h2_slice words = http_words(call);
  size_t rest = words.length - call->reply_sent;
  if (length > rest) length = rest;
  memcpy(out, words.data + call->reply_sent, length);
  call->reply_sent += length;
  if (length == rest) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return (ssize_t)length;
}

/* A status of HTTP, and a sentence for whoever asked by hand. */
static int submit_http(nghttp2_session *session, h2_call *call, field_block *block) {
  nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_words};
  add_number(block, ":status", -call->status);
  if (-call->status == METHOD_NOT_ALLOWED) add(block, h2_text("allow"), h2_text("POST"));
  add(block, h2_text("content-type"), h2_text("text/plain"));
  return nghttp2_submit_response(session, call->stream, block->fields, block->count, call->head ? NULL : &provider);
}

/* ---- all together ---- */

static int submit(nghttp2_session *session, h2_call *call) {
  field_block block;
  if (!begin(&block, call)) return NGHTTP2_ERR_NOMEM;
  if (call->status < 0) return submit_http(session, call, &block);
  add(&block, h2_text(":status"), h2_text("200"));
  add(&block, h2_text("content-type"), h2_text("application/grpc"));
  add_packed(&block, &call->initial);
  if (call->status == OK) {
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_reply};
    return nghttp2_submit_response(session, call->stream, block.fields, block.count, &provider);
  }
  if (call->initial.length == 0) {
    add_status(&block, call);
    return nghttp2_submit_response(session, call->stream, block.fields, block.count, NULL);
  }
  /* What stands with the status is taken for trailing metadata: the other goes before. */
  int failed = nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, call->stream, NULL, block.fields, block.count, NULL);
  if (failed) return failed;
  if (!begin(&block, call)) return NGHTTP2_ERR_NOMEM;
  add_status(&block, call);
  return nghttp2_submit_trailer(session, call->stream, block.fields, block.count);
}

void h2_call_answer(h2_call *call) {
  h2_connection *connection = call->connection;
  if (connection == NULL) return;
  call->state = H2_ENDING;
  h2_timers_add(&call->loop->ending, &call->timer, call->loop->now_ms + call->server->config.write_ms);
  if (submit(connection->session, call) != 0) {
    nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_INTERNAL_ERROR);
  }
  h2_connection_dirty(connection);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2_connection *connection = user;
  const h2_config *config = &connection->loop->server->config;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
      connection->sent++;
      /* Who is answered may ask how far away we are: some clients do so with each answer. */
      if (connection->pings > 0) connection->pings--;
      if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
          nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        /* Answered before all was read: the rest is not wanted. */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
      }
      return 0;
    case NGHTTP2_RST_STREAM:
      /* The peer's doing costs as much as if it had reset the call itself. */
      if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR && frame->rst_stream.error_code != NGHTTP2_CANCEL) {
        h2_connection_count(connection, &connection->resets, config->max_resets, H2_CAP_RESETS);
      }
      return 0;
    default:
      return 0;
  }
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
