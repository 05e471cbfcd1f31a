/* What the library is told of us, and callers of what they are held to. */
#include <errno.h>
#include <string.h>

#include "internal.h"

/* So many parts a block of fields may have. The library counts one whose head comes in pieces for each piece. */
#define MOST_CONTINUATIONS 64

/* Only patched and newer libraries have these; their own bounds would be too tight for a proxy's connection. */
extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t) __attribute__((weak));
extern void nghttp2_option_set_glitch_rate_limit(nghttp2_option *, uint64_t, uint64_t) __attribute__((weak));
extern void nghttp2_option_set_max_continuations(nghttp2_option *, size_t) __attribute__((weak));
extern void nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(nghttp2_option *, int)
    __attribute__((weak));

int h2_callbacks(h2_server *server) {
  if (nghttp2_session_callbacks_new(&server->callbacks) != 0) return ENOMEM;
  if (nghttp2_option_new(&server->options) != 0) return ENOMEM;
  h2_fields_callbacks(server->callbacks);
  h2_arriving_callbacks(server->callbacks);
  h2_answering_callbacks(server->callbacks);
  h2_connection_callbacks(server->callbacks);
  /* Ours are the bounds, in frames a second. */
  if (nghttp2_option_set_stream_reset_rate_limit != NULL) {
    uint64_t beyond = 2 * (uint64_t)server->config.max_resets + 1;
    nghttp2_option_set_stream_reset_rate_limit(server->options, beyond, beyond);
  }
  if (nghttp2_option_set_glitch_rate_limit != NULL) {
    uint64_t beyond = 2 * ((uint64_t)server->config.max_resets + server->config.max_pings) + 1;
    nghttp2_option_set_glitch_rate_limit(server->options, beyond, beyond);
  }
  if (nghttp2_option_set_max_continuations != NULL) {
    nghttp2_option_set_max_continuations(server->options, MOST_CONTINUATIONS);
  }
  nghttp2_option_set_no_closed_streams(server->options, 1);
  /* gRPC's libraries send metadata with blanks around it as it is, and take it. */
  if (nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation != NULL) {
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(server->options, 1);
  }
  return 0;
}

int h2_session_begin(h2_connection *connection) {
  const h2_config *config = &connection->loop->server->config;
  uint64_t window = (uint64_t)config->max_message_bytes + 5;
  if (window < 65535) window = 65535;
  if (window > 0x7fffffff) window = 0x7fffffff;
  /* The library would end a connection that begins one call too many, where RFC 9113, 5.1.2, has that call refused. It
   * is told of no bound, and the one for callers is written over what it says. */
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UINT32_MAX},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, config->max_header_bytes},
  };
  enum { COUNT = sizeof settings / sizeof *settings, HEAD = 9, ENTRY = 6, ID = 2 };
  uint8_t frame[HEAD + COUNT * ENTRY];
  const uint8_t *made;
  if (nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, COUNT) != 0 ||
      nghttp2_session_mem_send(connection->session, &made) != sizeof frame) {
    return 0;
  }
  memcpy(frame, made, sizeof frame);
  for (int i = 0; i < 4; i++) frame[HEAD + ID + i] = (uint8_t)(config->max_streams >> (24 - 8 * i));
  /* Bytes of all calls together are taken at once, so that none waits for another. */
  return h2_connection_send(connection, frame, sizeof frame) &&
         nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                               (int32_t)(window > 1 << 20 ? window : 1 << 20)) == 0;
}
