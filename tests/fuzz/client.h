/* A client that writes what it likes, and holds what it is answered against what HTTP/2 and gRPC allow. */
#ifndef WAYPOST_FUZZ_CLIENT_H
#define WAYPOST_FUZZ_CLIENT_H

#include <nghttp2/nghttp2.h>

#include "in_process.h"

#define CLIENT_STREAMS 48

/* One call, as its caller sees it. */
typedef struct {
  int32_t id;
  int ordinary;           /* a call of gRPC, of which one message was sent or a part */
  int echo;               /* it is one, and its path is that of the echo */
  uint32_t message_length; /* of it */
  uint32_t sent;          /* of it, with the prefix */
  int finished;           /* by the caller: END_STREAM was sent */
  uint32_t received;      /* of the answer, with the prefix */
  int http_status, grpc_status; /* -1: not yet */
  int answered, ended;    /* by the server: its first fields came, and its last frame */
} client_stream;

typedef struct {
  int fd; /* -1: closed */
  h2_buffer out, in;
  size_t written; /* of `out` */
  nghttp2_hd_deflater *deflater;
  nghttp2_hd_inflater *inflater;
  h2_buffer block; /* fields that CONTINUATION goes on with */
  int32_t block_stream, block_ends;
  int blind; /* it sent what nobody understands: answers are only cut into frames */
  uint32_t largest_frame; /* that it allowed */
  int32_t next_stream;
  client_stream streams[CLIENT_STREAMS];
  size_t stream_count;
} client;

/* Connects, and puts the preface and SETTINGS into what is to be written; `settled`: with the word that it took those
 * of the server, from which on their windows count. */
void client_open(client *one, int settled);
/* Closes; does nothing to one that is closed. */
void client_close(client *one);

void client_frame(client *one, uint8_t type, uint8_t flags, int32_t stream, h2_slice payload);
/* Begins a call; `split`: bytes of its fields in each frame, 0: all in one. NULL: no more are watched. */
client_stream *client_headers(client *one, const nghttp2_nv *fields, size_t count, uint8_t flags, uint32_t split);
/* The byte of a stream's message at a place after the prefix. */
uint8_t client_message_byte(const client_stream *stream, uint32_t place);

/* Writes at most so much of what is to be written. */
void client_write(client *one, size_t most);
/* Reads at most so much, and looks at it; the bytes that came. */
size_t client_read(client *one, size_t most);

#endif
