/* The client's frames, and its reading of the server's. */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "h2/wire.h"

#define HEAD 9 /* bytes before a frame's payload */

void client_open(client *one, int settled) {
  memset(one, 0, sizeof *one);
  one->fd = fuzz_connect();
  if (one->fd < 0) return;
  one->next_stream = 1;
  one->largest_frame = 16384;
  CHECK(nghttp2_hd_deflate_new(&one->deflater, 4096) == 0 && nghttp2_hd_inflate_new(&one->inflater) == 0);
  h2_buffer_add(&one->out, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
  client_frame(one, NGHTTP2_SETTINGS, 0, 0, (h2_slice){NULL, 0});
  if (settled) client_frame(one, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, (h2_slice){NULL, 0});
}

void client_close(client *one) {
  if (one->fd < 0) return;
  close(one->fd);
  fuzz_forget(one->fd);
  one->fd = -1;
  h2_buffer_free(&one->out);
  h2_buffer_free(&one->in);
  h2_buffer_free(&one->block);
  nghttp2_hd_deflate_del(one->deflater);
  nghttp2_hd_inflate_del(one->inflater);
}

/* ---- what it says ---- */

void client_frame(client *one, uint8_t type, uint8_t flags, int32_t stream, h2_slice payload) {
  size_t length = payload.length;
  uint8_t head[HEAD] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, type, flags};
  for (int i = 0; i < 4; i++) head[HEAD - 4 + i] = (uint8_t)((uint32_t)stream >> (24 - 8 * i));
  h2_buffer_add(&one->out, head, sizeof head);
  h2_buffer_add(&one->out, payload.data, payload.length);
}

client_stream *client_headers(client *one, const nghttp2_nv *fields, size_t count, uint8_t flags, uint32_t split) {
  static uint8_t block[1 << 16];
  ssize_t length = nghttp2_hd_deflate_hd(one->deflater, block, sizeof block, fields, count);
  if (length < 0) return NULL;
  h2_slice rest = {block, (size_t)length};
  int32_t stream = one->next_stream;
  one->next_stream += 2;
  for (uint8_t type = NGHTTP2_HEADERS; type == NGHTTP2_HEADERS || rest.length > 0; type = NGHTTP2_CONTINUATION) {
    size_t now = split > 0 && split < rest.length ? split : rest.length < 16384 ? rest.length : 16384;
    uint8_t last = now == rest.length ? NGHTTP2_FLAG_END_HEADERS : 0;
    uint8_t first = type == NGHTTP2_HEADERS ? flags : 0;
    client_frame(one, type, first | last, stream, (h2_slice){rest.data, now});
    rest = (h2_slice){rest.data + now, rest.length - now};
  }
  if (one->stream_count == CLIENT_STREAMS) return NULL;
  client_stream *made = &one->streams[one->stream_count++];
  *made = (client_stream){.id = stream, .http_status = -1, .grpc_status = -1};
  return made;
}

uint8_t client_message_byte(const client_stream *stream, uint32_t place) {
  return (uint8_t)((place * 2654435761U >> 13) ^ (uint32_t)stream->id);
}

void client_write(client *one, size_t most) {
  if (one->fd < 0) return;
  size_t rest = one->out.length - one->written;
  if (most < rest) rest = most;
  ssize_t sent = rest > 0 ? send(one->fd, one->out.data + one->written, rest, MSG_NOSIGNAL) : 0;
  if (sent < 0) return; /* the server is gone, or is full */
  one->written += (size_t)sent;
  if (one->written < one->out.length) return;
  one->written = one->out.length = 0;
}

/* ---- what it hears ---- */

static client_stream *find(client *one, int32_t id) {
  for (size_t i = 0; i < one->stream_count; i++) {
    if (one->streams[i].id == id) return &one->streams[i];
  }
  return NULL;
}

static int is(const nghttp2_nv *field, const char *name) {
  return field->namelen == strlen(name) && memcmp(field->name, name, field->namelen) == 0;
}

static int number(const nghttp2_nv *field) {
  int value = 0;
  CHECK(field->valuelen > 0 && field->valuelen < 10);
  for (size_t i = 0; i < field->valuelen; i++) {
    CHECK(field->value[i] >= '0' && field->value[i] <= '9');
    value = value * 10 + (field->value[i] - '0');
  }
  return value;
}

static void see_field(client_stream *stream, const nghttp2_nv *field) {
  if (is(field, ":status")) {
    CHECK(!stream->answered && stream->http_status < 0);
    stream->http_status = number(field);
  } else if (is(field, "grpc-status")) {
    CHECK(stream->http_status == 200 && stream->grpc_status < 0);
    stream->grpc_status = number(field);
  } else if (is(field, "grpc-message")) {
    for (size_t i = 0; i < field->valuelen; i++) CHECK(field->value[i] >= ' ' && field->value[i] <= '~');
  } else if (h2_is_binary((h2_slice){field->name, field->namelen})) {
    h2_buffer bytes = {0};
    CHECK(h2_base64_decode(&bytes, (h2_slice){field->value, field->valuelen}));
    h2_buffer_free(&bytes);
  }
}

static void see_end(client_stream *stream) {
  CHECK(!stream->ended && stream->answered);
  stream->ended = 1;
  CHECK(stream->http_status != 200 || stream->grpc_status >= 0);
  if (stream->echo && stream->grpc_status == 0) CHECK(stream->received == stream->message_length + 5);
}

/* A whole block of fields has come. */
static void see_fields(client *one) {
  client_stream *stream = find(one, one->block_stream);
  CHECK(one->block_stream % 2 == 1 && one->block_stream < one->next_stream);
  for (size_t at = 0;;) {
    nghttp2_nv field;
    int flags = 0;
    ssize_t used =
        nghttp2_hd_inflate_hd2(one->inflater, &field, &flags, one->block.data + at, one->block.length - at, 1);
    CHECK(used >= 0);
    at += (size_t)used;
    if (flags & NGHTTP2_HD_INFLATE_EMIT && stream != NULL) see_field(stream, &field);
    if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    CHECK(used > 0 || flags & NGHTTP2_HD_INFLATE_EMIT);
  }
  nghttp2_hd_inflate_end_headers(one->inflater);
  one->block.length = 0;
  if (stream == NULL) return;
  CHECK(!stream->ended && stream->http_status >= 0);
  stream->answered = 1;
  if (one->block_ends) see_end(stream);
}

static void see_data(client *one, int32_t id, uint8_t flags, h2_slice payload) {
  client_stream *stream = find(one, id);
  CHECK(!(flags & NGHTTP2_FLAG_PADDED));
  if (stream == NULL) return;
  CHECK(stream->answered && !stream->ended);
  for (size_t i = 0; i < payload.length && stream->echo; i++, stream->received++) {
    uint32_t place = stream->received, length = stream->message_length;
    uint8_t expected = 0;
    if (place >= 5) expected = client_message_byte(stream, place - 5);
    else if (place > 0) expected = (uint8_t)(length >> (32 - 8 * place));
    CHECK(place < length + 5 && payload.data[i] == expected);
  }
  if (flags & NGHTTP2_FLAG_END_STREAM) see_end(stream);
}

static void see_frame(client *one, uint8_t type, uint8_t flags, int32_t stream, h2_slice payload) {
  CHECK(type <= NGHTTP2_CONTINUATION && type != NGHTTP2_PUSH_PROMISE && type != NGHTTP2_PRIORITY);
  if (one->blind) return;
  CHECK((type == NGHTTP2_CONTINUATION) == (one->block.length > 0));
  if (type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION) {
    if (type == NGHTTP2_HEADERS) {
      CHECK(!(flags & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)) && payload.length > 0);
      one->block_stream = stream;
      one->block_ends = flags & NGHTTP2_FLAG_END_STREAM;
    }
    CHECK(stream == one->block_stream);
    h2_buffer_add(&one->block, payload.data, payload.length);
    if (flags & NGHTTP2_FLAG_END_HEADERS) see_fields(one);
  } else if (type == NGHTTP2_DATA) {
    see_data(one, stream, flags, payload);
  } else if (type == NGHTTP2_SETTINGS || type == NGHTTP2_PING || type == NGHTTP2_GOAWAY) {
    CHECK(stream == 0);
    if (type == NGHTTP2_SETTINGS) CHECK(payload.length % 6 == 0);
  }
}

size_t client_read(client *one, size_t most) {
  uint8_t chunk[4096];
  size_t heard = 0;
  if (one->fd < 0) return 0;
  while (most > 0) {
    ssize_t length = recv(one->fd, chunk, most < sizeof chunk ? most : sizeof chunk, 0);
    if (length <= 0) break;
    most -= (size_t)length;
    heard += (size_t)length;
    h2_buffer_add(&one->in, chunk, (size_t)length);
  }
  size_t at = 0;
  while (one->in.length - at >= HEAD) {
    const uint8_t *head = one->in.data + at;
    size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    CHECK(length <= one->largest_frame);
    if (one->in.length - at - HEAD < length) break;
    uint32_t stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
    see_frame(one, head[3], head[4], (int32_t)stream, (h2_slice){head + HEAD, length});
    at += HEAD + length;
  }
  if (at == 0) return heard;
  memmove(one->in.data, one->in.data + at, one->in.length - at);
  one->in.length -= at;
  return heard;
}
