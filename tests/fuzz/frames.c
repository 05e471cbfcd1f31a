/* Any bytes after the preface, in pieces, to a server with compiled handlers and an owner who takes his time.
 *
 * The first byte says how: the size of the pieces, and what becomes of calls that go up.
 */
#include <string.h>

#include "client.h"

static const h2_config config = {
    .threads = 1,
    .max_connections = 8,
    .max_streams = 8,
    .max_header_bytes = 2048,
    .max_message_bytes = 4096,
    .max_in_flight = 6,
    .max_waiting_bytes = 32768,
    .max_resets = 8,
    .max_pings = 8,
    .max_settings = 8,
    .idle_ms = 5000,
    .message_ms = 300,
    .write_ms = 400,
};

typedef struct {
  client caller;
  h2_slice rest;
  size_t piece;
  unsigned turn, late; /* calls that go up are ended so many turns later; 3: never */
  int stop;
} input;

static fuzz_turn go_on(void *state) {
  input *in = state;
  h2_answer answer = {.status = 0, .body = {(const uint8_t *)"answered", 8}};
  if (in->turn == 0) client_open(&in->caller, 0);
  in->caller.blind = 1;
  in->turn++;
  fuzz_take();
  if (in->late < 3 && in->turn % (in->late + 1) == 0 && fuzz_taken_count() > 0) fuzz_end(0, &answer);
  fuzz_flush();
  size_t now = in->rest.length < in->piece ? in->rest.length : in->piece;
  h2_buffer_add(&in->caller.out, in->rest.data, now);
  in->rest = (h2_slice){in->rest.data + now, in->rest.length - now};
  client_write(&in->caller, SIZE_MAX);
  client_read(&in->caller, SIZE_MAX);
  /* Pieces come 10 ms one after the other, so that no more than some are in time. */
  machine.now_ns += 10000000;
  if (now > 0 || in->turn < 4) return FUZZ_GO_ON;
  client_close(&in->caller);
  return in->stop ? FUZZ_STOP : FUZZ_HANG_UP;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const size_t pieces[] = {SIZE_MAX, 1024, 64, 7};
  if (size == 0) return 0;
  input in = {
      .rest = {data + 1, size - 1},
      .piece = pieces[data[0] & 3],
      .late = data[0] >> 2 & 3,
      .stop = data[0] >> 4 & 1,
  };
  in.caller.fd = -1;
  fuzz_serve(&config, go_on, &in);
  client_close(&in.caller);
  return 0;
}
