/* Unary gRPC over HTTP/2 without TLS, on nghttp2 and epoll: N threads, one acceptor, no interpreter.
 *
 * A call is answered on its thread by a compiled handler, or goes up: whoever owns the server takes it from a queue and
 * answers it from any thread. Nothing here blocks, and everything has a bound (h2_config).
 *
 * Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
#ifndef WAYPOST_H2_H
#define WAYPOST_H2_H

#include <stddef.h>
#include <stdint.h>

typedef struct h2_server h2_server;
typedef struct h2_call h2_call;

typedef struct {
  const uint8_t *data;
  size_t length;
} h2_slice;

/* All bounds but the first are refused beyond, and counted. Times in milliseconds, sizes in bytes. */
typedef struct {
  uint32_t threads;
  uint32_t max_connections;
  uint32_t max_streams;      /* of one connection at a time */
  uint32_t max_header_bytes; /* of one call, as HTTP/2 counts them: each field has 32 more */
  uint32_t max_message_bytes;
  uint32_t max_in_flight;     /* calls that went up and are not answered */
  uint64_t max_waiting_bytes; /* what all calls hold: fields, messages, answers; with answers up to twice that */
  uint32_t max_resets;        /* RST_STREAM of one connection in one second, or what makes us send it */
  uint32_t max_pings;         /* also other frames that cost an answer and carry nothing; one more for each answer */
  uint32_t max_settings;
  uint32_t idle_ms;    /* a connection without calls is closed */
  uint32_t message_ms; /* a caller has for its message, and a connection for its preface */
  uint32_t write_ms;   /* a caller has to take its answer */
} h2_config;

/* What a call ends with. Fields are packed (h2_fields_add); `grpc-message` is not yet percent-encoded, and cut after
 * H2_MESSAGE_BYTES. Fields that HTTP/2 cannot carry make it INTERNAL, more than H2_FIELD_BYTES (as HTTP/2 counts them,
 * before or after the body) RESOURCE_EXHAUSTED. Those by which the protocol itself says how a call ends (such as
 * grpc-status and content-type), and those that HTTP/2 does not have (such as connection), are left out;
 * grpc-status-details-bin is the caller's to give. */
#define H2_MESSAGE_BYTES 4096
#define H2_FIELD_BYTES 49152
typedef struct {
  int status;
  h2_slice message;
  h2_slice initial;
  h2_slice trailing;
  h2_slice body; /* of status 0 */
} h2_answer;

/* Bytes that grow; `failed` once memory was short, and from then on it stays as it was. */
typedef struct {
  uint8_t *data;
  size_t length, capacity;
  int failed;
} h2_buffer;

void h2_buffer_add(h2_buffer *buffer, const void *data, size_t length);
void h2_buffer_free(h2_buffer *buffer);

/* Packed fields: each the lengths of name and value (uint32_t each, host order), the name, the value. */
void h2_fields_add(h2_buffer *fields, h2_slice name, h2_slice value);
/* The field at `*position`, which moves on; 0 at the end. */
int h2_fields_next(h2_slice fields, size_t *position, h2_slice *name, h2_slice *value);
/* The first of that name, all lower case; data NULL if there is none. */
h2_slice h2_fields_find(h2_slice fields, const char *name);

/* What arrived. Slices live as long as the call. */
h2_slice h2_call_path(const h2_call *call);
/* Metadata in its order, `-bin` decoded; without what belongs to the protocol. */
h2_slice h2_call_fields(const h2_call *call);
/* The message. `*whole` is 0 if none came in time, or the caller ended without one. */
h2_slice h2_call_message(const h2_call *call, int *whole);
/* Microseconds that the caller gives, -1: it did not say. */
int64_t h2_call_timeout_us(const h2_call *call);
/* Nanoseconds since the call went up. */
uint64_t h2_call_waited_ns(const h2_call *call);
/* As gRPC writes it: `ipv4:127.0.0.1:40312`, `ipv6:%5B::1%5D:40312`, `unix:`. */
const char *h2_call_peer(const h2_call *call);

typedef enum { H2_ANSWERED, H2_GO_UP } h2_outcome;

/* A compiled handler: answers at once into `*answer`, whose bytes it may keep in `scratch`, or leaves the call to
 * others. `now_us` is the time since the epoch. It is called by several threads at a time. */
typedef h2_outcome (*h2_handler)(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch,
                                 h2_answer *answer);

/* A server that calls `handler` for calls of `path`, if it is one of at most H2_METHODS. NULL: out of memory.
 * Before h2_server_start only. */
#define H2_METHODS 16
h2_server *h2_server_new(const h2_config *config);
int h2_server_handle(h2_server *server, const char *path, h2_handler handler, void *state);

/* Serves connections of a listening socket, which stays the caller's and becomes non-blocking; once. 0, or an errno.
 * A process that is forked from here on has no server: there, stopping and freeing it does nothing. */
int h2_server_start(h2_server *server, int listener);
/* Accepts no more connections, and asks those there are to go when their calls are done. Calls are still served. */
void h2_server_drain(h2_server *server);
/* Closes all connections and ends all threads; does nothing a second time. Calls that are up may still be answered, in
 * vain. */
void h2_server_stop(h2_server *server);
/* When stopped, and all calls that went up are answered. */
void h2_server_free(h2_server *server);

/* Readable when there are calls to take. */
int h2_server_up_fd(const h2_server *server);
/* The next that went up, or whose caller is gone since it was taken (`*cancelled`; then it must be answered all the
 * same, with anything); NULL: none. From one thread. */
h2_call *h2_server_take(h2_server *server, int *cancelled);
/* Ends a call that went up, once, from any thread. What is in `answer` is copied. */
void h2_call_end(h2_call *call, const h2_answer *answer);
/* Sends what was ended since the last time. */
void h2_server_flush(h2_server *server);
/* Words of the owner for each call that is up; the server never touches it. */
void h2_call_set_owner(h2_call *call, void *owner);
void *h2_call_owner(const h2_call *call);

/* Upper bounds of the latency histogram of compiled handlers, seconds; one bucket more is beyond. */
#define H2_BUCKETS 15
extern const double h2_buckets[H2_BUCKETS];

enum {
  H2_CAP_CONNECTIONS,
  H2_CAP_HEADERS,
  H2_CAP_MESSAGE,
  H2_CAP_IN_FLIGHT,
  H2_CAP_WAITING,
  H2_CAP_RESETS,
  H2_CAP_PINGS,
  H2_CAP_SETTINGS,
  H2_CAP_IDLE,
  H2_CAP_SLOW_MESSAGE,
  H2_CAP_SLOW_READER,
  H2_CAP_STREAMS,
  H2_CAPS
};
extern const char *const h2_cap_names[H2_CAPS];

typedef struct {
  uint64_t calls[H2_METHODS];             /* answered by the handler */
  uint64_t failed[H2_METHODS];            /* of these, with another status than 0 */
  uint64_t seconds[H2_METHODS][H2_BUCKETS + 1];
  uint64_t nanoseconds[H2_METHODS];
  uint64_t up;      /* calls that went up */
  uint64_t refused; /* calls that the transport answered itself */
  uint64_t cancelled;
  uint64_t accepted;
  uint64_t caps[H2_CAPS];
  uint64_t connections; /* open now */
  uint64_t in_flight;   /* up now */
  uint64_t waiting_bytes;
} h2_stats;

void h2_server_stats(const h2_server *server, h2_stats *stats);

#endif
