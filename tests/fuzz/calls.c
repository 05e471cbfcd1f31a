/* Operations that the input chooses: well-formed calls in chosen pieces, and what callers, the owner, the clock, the
 * sockets and the memory do meanwhile.
 *
 * The first byte chooses the bounds and how it ends; then each operation is a byte with its arguments after it.
 */
#include <string.h>
#include <sys/socket.h>

#include "client.h"

#define CLIENTS 3

static const h2_config roomy = {
    .threads = 1,
    .max_connections = 8,
    .max_streams = 20,
    .max_header_bytes = 16384,
    .max_message_bytes = 100000,
    .max_in_flight = 40,
    .max_waiting_bytes = 1 << 22,
    .max_resets = 100,
    .max_pings = 100,
    .max_settings = 100,
    .idle_ms = 60000,
    .message_ms = 10000,
    .write_ms = 20000,
};

static const h2_config tight = {
    .threads = 1,
    .max_connections = 8,
    .max_streams = 4,
    .max_header_bytes = 600,
    .max_message_bytes = 3000,
    .max_in_flight = 3,
    .max_waiting_bytes = 10000,
    .max_resets = 4,
    .max_pings = 4,
    .max_settings = 3,
    .idle_ms = 500,
    .message_ms = 100,
    .write_ms = 200,
};

typedef struct {
  const uint8_t *data;
  size_t size;
  client clients[CLIENTS];
  client *at; /* whose turn it is */
  fuzz_turn end;
  int settled; /* clients take the server's settings at once */
  int plain;   /* nothing was done that may keep an ordinary call from its answer */
  uint64_t bodies; /* bytes that the owner answered */
  unsigned silent, last; /* turns since something came; turns after the last operation */
} input;

static uint8_t next(input *in) {
  if (in->size == 0) return 0;
  in->size--;
  return *in->data++;
}

/* 0 to 255, or by a byte of 128 and more up to a few thousand or a hundred thousand. */
static uint32_t size(input *in) {
  uint8_t small = next(in);
  return small < 128 ? small : small < 224 ? (small - 128U) * 64 + next(in) : (small - 224U) * 4096 + next(in);
}

static h2_slice bytes(input *in, size_t most) {
  h2_slice some = {in->data, most < in->size ? most : in->size};
  in->data += some.length;
  in->size -= some.length;
  return some;
}

static client_stream *some_stream(input *in) {
  size_t count = in->at->stream_count;
  uint8_t number = next(in);
  /* Mostly one of the last. */
  return count == 0 ? NULL : &in->at->streams[count - 1 - number % (count < 4 || number < 128 ? 1 : count)];
}

/* ---- calls ---- */

static nghttp2_nv field(const char *name, h2_slice value) {
  return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value.data, strlen(name), value.length, 0};
}

static nghttp2_nv words(const char *name, const char *value) {
  return field(name, (h2_slice){(const uint8_t *)value, strlen(value)});
}

static void begin(input *in) {
  static const char *const paths[] = {FUZZ_ECHO,      FUZZ_REFUSE, FUZZ_MAYBE, "/a.B/C",
                                      "/\xc3\xbc", "/\xff",    "*",        FUZZ_ECHO "/"};
  static const char *const types[] = {"application/grpc", "application/grpc+proto", "application/grpc;x",
                                      "application/json"};
  static const char *const times[] = {"100m", "0n", "99999999H", "1", "-1S", ""};
  static const char *const names[] = {"x",    "x-bin",          "grpc-encoding", "te",
                                      "host", "content-length", "grpc-timeout",  "content-type"};
  static const char *const base64[] = {"AAEC", "AA==,AAE=,", "A", "====", "identity", "gzip", "5", ""};
  static uint8_t filler[16384];
  nghttp2_nv fields[64];
  size_t count = 0;
  uint8_t kind = next(in), path = kind & 7, odd = next(in);
  memset(filler, 'v', sizeof filler);
  fields[count++] = words(":method", odd % 16 == 1 ? "GET" : odd % 16 == 2 ? "CONNECT" : "POST");
  if (kind & 64) in->plain = 0; /* fields in many frames are taken for a flood */
  if (odd % 16 != 3) fields[count++] = words(":path", paths[path]);
  if (odd % 16 != 4) fields[count++] = words(":scheme", "http");
  if (odd % 16 != 5) fields[count++] = words(":authority", "fuzz");
  if (odd % 16 != 6) fields[count++] = words("content-type", types[odd % 16 < 10 ? 0 : odd % 4]);
  if (kind & 8) fields[count++] = words("grpc-timeout", times[next(in) % 6]);
  for (uint32_t more = kind & 16 ? next(in) % 48 : 0; more > 0 && in->size > 0; more--) {
    uint8_t what = next(in);
    const char *name = names[what & 7];
    if (what & 64) {
      uint32_t length = size(in);
      fields[count++] = field(name, (h2_slice){filler, length < sizeof filler ? length : sizeof filler});
    } else if (what & 128) {
      fields[count++] = field(name, bytes(in, what >> 3 & 7));
    } else {
      fields[count++] = words(name, base64[what >> 3 & 7]);
    }
  }
  uint8_t flags = kind & 32 ? NGHTTP2_FLAG_END_STREAM : 0;
  client_stream *made = client_headers(in->at, fields, count, flags, kind & 64 ? next(in) + 1U : 0);
  if (made == NULL) return;
  made->ordinary = path != 5 && path != 6 && odd == 0 && !(kind & (16 | 32));
  made->echo = path == 0 && made->ordinary;
  made->finished = flags;
  made->message_length = size(in) % 110000;
}

/* The next piece of a stream's message, or of what is none. */
static void data(input *in) {
  static uint8_t piece[16384];
  client_stream *stream = some_stream(in);
  uint8_t how = next(in);
  /* Seldom more than there may be: it ends the connection. */
  if (stream == NULL || (stream->finished && !(how & 16))) return;
  if (stream->finished) in->plain = 0;
  uint32_t most = how & 1 ? sizeof piece : size(in), length = 0;
  uint8_t flags = 0;
  if (how & 4) {
    stream->echo = stream->ordinary = 0;
    client_frame(in->at, NGHTTP2_DATA, flags, stream->id, bytes(in, most % 64));
    return;
  }
  if (how & 8) {
    flags |= NGHTTP2_FLAG_PADDED;
    piece[length++] = (uint8_t)(how >> 5);
  }
  for (; length < most && length < sizeof piece - 8 && stream->sent < stream->message_length + 5; stream->sent++) {
    uint32_t place = stream->sent;
    piece[length++] = place >= 5   ? client_message_byte(stream, place - 5)
                      : place == 0 ? how >> 4 & 1
                                   : (uint8_t)(stream->message_length >> (32 - 8 * place));
    if (place == 0 && how & 16) stream->echo = stream->ordinary = 0;
  }
  if (how & 8) {
    memset(piece + length, 0, how >> 5);
    length += how >> 5;
  }
  /* Its end comes with the last of it, or too early. */
  if (how & 2 && (stream->sent == stream->message_length + 5 || (how & 40) == 32)) flags |= NGHTTP2_FLAG_END_STREAM;
  stream->finished |= flags & NGHTTP2_FLAG_END_STREAM;
  if (length == 0) in->plain = 0;
  client_frame(in->at, NGHTTP2_DATA, flags, stream->id, (h2_slice){piece, length});
}

static void trailers(input *in) {
  static const uint8_t block[] = {0, 1, 'x', 1, 'y'};
  client_stream *stream = some_stream(in);
  if (stream == NULL) return;
  uint8_t flags = next(in) % 4 == 0 ? NGHTTP2_FLAG_END_HEADERS : NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM;
  stream->finished |= flags & NGHTTP2_FLAG_END_STREAM;
  client_frame(in->at, NGHTTP2_HEADERS, flags, stream->id, (h2_slice){block, sizeof block});
}

/* ---- other frames ---- */

static void put32(uint8_t *into, uint32_t value) {
  for (int i = 0; i < 4; i++) into[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void settings(input *in) {
  static const uint32_t values[] = {0, 1, 100, 65535, 16384, 16777215, 0x7fffffff, 0xffffffff};
  uint8_t payload[6] = {0};
  uint8_t what = next(in);
  if (what == 0) {
    client_frame(in->at, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, (h2_slice){NULL, 0});
    return;
  }
  payload[1] = what & 7;
  uint32_t value = what & 128 ? values[what >> 3 & 7] : size(in);
  put32(payload + 2, value);
  if (payload[1] == NGHTTP2_SETTINGS_MAX_FRAME_SIZE && value > in->at->largest_frame) in->at->largest_frame = 16777215;
  if (payload[1] == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE) in->at->blind = 1;
  client_frame(in->at, NGHTTP2_SETTINGS, 0, 0, (h2_slice){payload, sizeof payload});
}

static void frame(input *in) {
  static const uint8_t types[] = {NGHTTP2_PING, NGHTTP2_PRIORITY, NGHTTP2_GOAWAY, NGHTTP2_CONTINUATION};
  static const uint8_t zeros[8];
  static const size_t lengths[] = {8, 5, 8, 0};
  uint8_t which = next(in);
  client_stream *stream = some_stream(in);
  int32_t id = stream == NULL ? 1 : stream->id;
  if (which & 8) {
    in->at->blind = 1;
    h2_slice raw = bytes(in, which >> 4);
    h2_buffer_add(&in->at->out, raw.data, raw.length);
    return;
  }
  client_frame(in->at, types[which & 3], which >> 4 & 1, which & 1 ? id : 0, (h2_slice){zeros, lengths[which & 3]});
}

static void of_stream(input *in, uint8_t type) {
  uint8_t payload[4];
  client_stream *stream = some_stream(in);
  uint32_t value = size(in);
  int32_t id = stream == NULL || (type == NGHTTP2_WINDOW_UPDATE && value % 2 == 0) ? 0 : stream->id;
  put32(payload, type == NGHTTP2_WINDOW_UPDATE && value % 64 == 63 ? 0x7fffffff : value);
  client_frame(in->at, type, 0, id, (h2_slice){payload, sizeof payload});
}

/* ---- the owner ---- */

static int is_echo(const h2_call *call) {
  h2_slice path = h2_call_path(call);
  return path.length == strlen(FUZZ_ECHO) && memcmp(path.data, FUZZ_ECHO, path.length) == 0;
}

static void end(input *in) {
  static uint8_t body[131072];
  memset(body, 'v', sizeof body); /* which a field can have as its value, too */
  h2_buffer initial = {0}, trailing = {0};
  uint8_t how = next(in);
  fuzz_take();
  if (fuzz_taken_count() == 0) return;
  size_t number = how >> 4 & 1 ? fuzz_taken_count() - 1 : 0;
  h2_answer answer = {.status = how & 1 ? next(in) % 20 : 0, .body = {body, size(in) % sizeof body}};
  /* What only the echo can answer: it is here because its message came too late. */
  if (is_echo(fuzz_taken_at(number)->call) && answer.status == 0) answer.status = 4;
  if (how & 2) answer.message = bytes(in, next(in));
  for (uint32_t count = how & 4 ? size(in) % 300 : 0; count > 0; count--) {
    /* Only the first two can be sent. */
    static const char *const names[] = {"x", "x-bin", "X", "", ":status", "a b"};
    const char *name = names[how & 32 ? count % 6 : count % 2];
    h2_slice value = count < 8 ? bytes(in, 3 * count) : (h2_slice){body, count};
    h2_fields_add(how & 8 ? &initial : &trailing, (h2_slice){(const uint8_t *)name, strlen(name)}, value);
  }
  answer.initial = (h2_slice){initial.data, initial.length};
  answer.trailing = (h2_slice){trailing.data, trailing.length};
  if (answer.status == 0) in->bodies += answer.body.length;
  fuzz_end(number, &answer);
  h2_buffer_free(&initial);
  h2_buffer_free(&trailing);
}

/* ---- operations ---- */

/* What only this harness can do to the machine. */
static void move(input *in) {
  static const uint64_t spans_ms[] = {1, 50, 100, 200, 500, 1000, 10000, 60000};
  uint8_t what = next(in);
  switch (what & 3) {
    case 0: machine.now_ns += spans_ms[what >> 2 & 7] * 1000000; break;
    case 1: machine.room = what & 128 ? SIZE_MAX : size(in); break;
    case 2: machine.allocations = what >> 2; break;
    case 3: fuzz_drain(); break;
  }
}

/* 1: the loop has its turn. */
static int operate(input *in) {
  uint8_t operation = next(in);
  if (in->at->fd < 0) client_open(in->at, in->settled);
  if (in->at->fd < 0) return 1;
  if (operation % 16 > 7 && operation % 16 != 14) in->plain = 0;
  switch (operation % 16) {
    case 0: begin(in); return 0;
    case 1:
    case 2: data(in); return 0;
    case 3: client_write(in->at, SIZE_MAX); return 1;
    case 4: client_write(in->at, size(in)); return 1;
    case 5: client_read(in->at, SIZE_MAX); return 1;
    case 6: client_read(in->at, size(in)); return 1;
    case 7: end(in); return operation & 16;
    case 8: of_stream(in, NGHTTP2_RST_STREAM); return 0;
    case 9: of_stream(in, NGHTTP2_WINDOW_UPDATE); return 0;
    case 10: settings(in); return 0;
    case 11: frame(in); return 0;
    case 12: trailers(in); return 0;
    case 13: move(in); return operation & 16;
    case 14: in->at = &in->clients[operation >> 4 & 1 ? next(in) % CLIENTS : 0]; return 0;
    default:
      if (operation & 16) shutdown(in->at->fd, SHUT_WR);
      if (operation & 32) client_close(in->at);
      fuzz_take();
      fuzz_flush();
      return 1;
  }
}

/* Lets all be written and read that there is. 0: nothing came for a while. */
static int wait_for_all(input *in) {
  static const h2_answer unavailable = {.status = 14};
  size_t heard = 0;
  fuzz_take();
  while (fuzz_taken_count() > 0) fuzz_end(0, &unavailable);
  fuzz_flush();
  for (int i = 0; i < CLIENTS; i++) {
    client_write(&in->clients[i], SIZE_MAX);
    heard += client_read(&in->clients[i], SIZE_MAX);
  }
  in->silent = heard > 0 ? 0 : in->silent + 1;
  return in->silent < 4 || (in->clients[0].out.length > 0 && in->last++ < 500);
}

/* Ordinary calls whose answers one window takes together have them. */
static void check_answered(const client *one, uint64_t bytes) {
  for (size_t i = 0; i < one->stream_count; i++) {
    if (one->streams[i].echo) bytes += one->streams[i].message_length + 5U;
  }
  if (one->fd < 0 || bytes > 65535 || one->stream_count > 16) return;
  for (size_t i = 0; i < one->stream_count; i++) {
    const client_stream *stream = &one->streams[i];
    int whole = stream->sent == stream->message_length + 5;
    if (!stream->ordinary || !(whole || stream->finished)) continue;
    CHECK(stream->ended && stream->http_status == 200);
    if (stream->echo && whole) CHECK(stream->grpc_status == 0);
  }
}

static fuzz_turn go_on(void *state) {
  input *in = state;
  while (in->size > 0) {
    if (operate(in)) return FUZZ_GO_ON;
  }
  if (in->plain && wait_for_all(in)) return FUZZ_GO_ON;
  for (int i = 0; i < CLIENTS; i++) client_read(&in->clients[i], SIZE_MAX);
  for (int i = 0; i < CLIENTS && in->plain; i++) check_answered(&in->clients[i], in->bodies);
  for (int i = 0; i < CLIENTS; i++) client_close(&in->clients[i]);
  return in->end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static input in;
  if (size == 0) return 0;
  in = (input){
      .data = data + 1,
      .size = size - 1,
      .end = data[0] & 2 ? FUZZ_STOP : FUZZ_HANG_UP,
      .settled = !(data[0] & 4),
      .plain = !(data[0] & 1),
  };
  for (int i = 0; i < CLIENTS; i++) in.clients[i].fd = -1;
  in.at = &in.clients[0];
  fuzz_serve(data[0] & 1 ? &tight : &roomy, go_on, &in);
  for (int i = 0; i < CLIENTS; i++) client_close(&in.clients[i]);
  return 0;
}
