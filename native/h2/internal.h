/* What the parts of the transport know of each other.
 *
 * A loop is one thread with its connections; all that is theirs is touched by that thread alone. A call belongs to its
 * stream until that closes, and, if it went up, also to the owner of the server until it is ended: whoever is last
 * frees it. Two queues cross threads: calls going up (the server's), and calls that were ended (each loop's).
 */
#ifndef WAYPOST_H2_INTERNAL_H
#define WAYPOST_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "h2.h"

#define H2_PEER 80   /* bytes of a peer's name */
#define H2_BUFFERS 7 /* of a call */

/* What the member at `pointer` belongs to. */
#define H2_OF(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

typedef struct h2_loop h2_loop;
typedef struct h2_connection h2_connection;

/* A place in a doubly linked list that is ordered by time: its lists' time limits are each the same for all. */
typedef struct h2_timer {
  struct h2_timer *before, *after;
  uint64_t due_ms;
} h2_timer;

typedef struct {
  h2_timer head;
} h2_timers;

void h2_timers_init(h2_timers *timers);
void h2_timers_add(h2_timers *timers, h2_timer *timer, uint64_t due_ms);
/* Does nothing to one that is in no list. */
void h2_timer_remove(h2_timer *timer);
/* The first that is due; NULL: none. */
h2_timer *h2_timers_due(h2_timers *timers, uint64_t now_ms);

typedef enum {
  H2_ARRIVING, /* fields or message are still to come */
  H2_UP,       /* somebody else answers */
  H2_ENDING,   /* the answer is on its way out */
} h2_state;

struct h2_call {
  h2_server *server;
  h2_loop *loop;
  h2_connection *connection; /* NULL once the stream is closed; the loop's */
  h2_call *before, *after;   /* of the same connection */
  int32_t stream;
  h2_state state;
  int post, head; /* its method of HTTP */
  int has_fields;
  int grpc;              /* its content type is gRPC's */
  int encoded;           /* it names another encoding than identity */
  uint64_t header_bytes; /* of all its fields, also of those that are not kept */
  int64_t timeout_us;
  uint64_t arrived_ns, up_ns;
  uint8_t prefix[5];
  uint32_t prefix_length;
  uint32_t message_length;
  int whole;
  uint64_t held; /* bytes counted in the server's `waiting` */
  h2_timer timer;
  size_t reply_sent;
  int status;     /* below 0: one of HTTP, negated */
  int going_up;   /* in its loop's list */
  /* Under the server's lock. */
  h2_call *next_up;
  int queued;    /* goes up, and is not yet taken */
  int cancelled; /* its stream is closed */
  int notice;    /* goes up once more to say so, with a share of its own */
  int ended;     /* by the owner */
  /* Under the loop's lock. */
  h2_call *next_ended;
  atomic_int references;
  void *owner;
  char peer[H2_PEER];
  /* What came: path, metadata, message. The answer: its body with the prefix, and what comes around it. */
  union {
    struct {
      h2_buffer path, fields, message, reply, initial, trailing, status_message;
    };
    h2_buffer buffers[H2_BUFFERS];
  };
};

struct h2_connection {
  h2_loop *loop;
  int fd;
  nghttp2_session *session; /* NULL once all is said: the peer only has to take it */
  int local;           /* a unix socket: the system has no clock for what its peer does not take */
  uint32_t calls;
  h2_call *first;
  int greeted;         /* its preface has come */
  int broken;          /* closed as soon as what was said is sent */
  int ended;           /* the peer says nothing more, but may still listen */
  int watching;        /* epoll knows of it */
  uint32_t watched;    /* events */
  uint8_t *out;        /* what the socket did not take */
  size_t out_length, out_sent;
  size_t most_read;    /* bytes at a time */
  uint64_t discarded;  /* bytes that came after all was said */
  h2_timer clock;      /* one of: greeting, idle, probing, lingering */
  h2_timer stalled;    /* what is in `out`; if nothing is, what a local peer was told last */
  uint64_t second;     /* in which these were counted */
  uint32_t resets, pings, settings;
  uint64_t updates, begun, sent; /* ever: window updates; calls; frames of answers */
  h2_connection *before, *after, *next_dirty;
  int dirty;
  char peer[H2_PEER];
};

typedef struct {
  const char *path;
  size_t length;
  h2_handler handler;
  void *state;
} h2_method;

/* Each is written by one thread alone, and read by others. */
typedef struct {
  _Atomic uint64_t calls[H2_METHODS], failed[H2_METHODS], seconds[H2_METHODS][H2_BUCKETS + 1], nanoseconds[H2_METHODS];
  _Atomic uint64_t up, refused, cancelled, accepted, caps[H2_CAPS];
} h2_counts;

#define H2_COUNT(counter, n)                                                                                      \
  atomic_store_explicit(&(counter), atomic_load_explicit(&(counter), memory_order_relaxed) + (n), memory_order_relaxed)

static inline h2_slice h2_text(const char *text) { return (h2_slice){(const uint8_t *)text, strlen(text)}; }

#define H2_CHUNK 65536

struct h2_loop {
  h2_server *server;
  pthread_t thread;
  int epoll, wake;
  h2_connection *connections;
  h2_connection *dirty;
  atomic_uint open; /* connections, with those on their way */
  h2_call *up, *up_last;
  h2_timers arriving, ending;                    /* of calls */
  h2_timers greeting, idle, probing, lingering; /* of connections */
  h2_timers stalled;
  uint64_t now_ms;   /* when it last woke */
  h2_buffer scratch; /* for one callback each */
  h2_buffer block;   /* an array of nghttp2_nv */
  h2_call *spare;    /* calls to be used again */
  unsigned spares;
  pthread_mutex_t lock; /* of what others put in */
  h2_call *ended;
  int *accepted;
  size_t accepted_length, accepted_capacity;
  atomic_int unflushed; /* calls were ended that it was not woken for */
  uint64_t draining_until_ms;
  int drain_said;
  h2_counts counts;
  uint8_t in[H2_CHUNK], out[H2_CHUNK];
};

struct h2_server {
  h2_config config;
  h2_method methods[H2_METHODS];
  uint32_t method_count;
  h2_loop *loops;
  uint32_t started;
  pthread_t acceptor;
  int accepting, listener, stop_fd, up_fd, stopped;
  pid_t process; /* that has started it; 0: none has */
  atomic_int draining, stopping;
  _Atomic uint64_t waiting, in_flight, connections, refused_connections, refused_answers;
  nghttp2_session_callbacks *callbacks;
  nghttp2_option *options;
  pthread_mutex_t lock;
  h2_call *up, *up_last;
};

uint64_t h2_now_ns(void);
static inline uint64_t h2_now_ms(void) { return h2_now_ns() / 1000000; }

/* buffer.c */
/* Room for so many bytes in all; 0: out of memory. */
int h2_buffer_reserve(h2_buffer *buffer, size_t bytes);

/* call.c */
h2_call *h2_call_new(h2_connection *connection, int32_t stream);
/* From any thread. */
void h2_call_release(h2_call *call);
/* From the call's own thread, which keeps it for another. */
void h2_call_recycle(h2_call *call);
void h2_calls_free(h2_loop *loop);
/* Counts bytes that a call holds; 0 if that is too much for the server. */
int h2_call_hold(h2_call *call, size_t bytes);
/* Lets go of what the call brought: nobody will ask. Before it has an answer. */
void h2_call_forget(h2_call *call);
/* Takes what the answer brings; copies. One that cannot be sent becomes an error that says why. */
void h2_call_keep(h2_call *call, const h2_answer *answer);

/* refusing.c */
/* Ends a call that nobody shall see, if it has no answer yet. */
void h2_call_refuse(h2_call *call, int status, const char *message);
void h2_call_refuse_with(h2_call *call, int status, const char *message, h2_slice trailing);
/* Counts bytes that a call brings, for which others may have to give way; if that is not enough, it is refused: 0. */
int h2_call_take(h2_call *call, size_t bytes);

/* fields.c, arriving.c, answering.c: what nghttp2 calls, and what the clock does */
void h2_fields_callbacks(nghttp2_session_callbacks *callbacks);
void h2_arriving_callbacks(nghttp2_session_callbacks *callbacks);
void h2_answering_callbacks(nghttp2_session_callbacks *callbacks);

/* All fields of a call are there. */
void h2_call_fields_end(h2_call *call);
/* The message did not come in time. */
void h2_call_late(h2_call *call);
/* Submits a call's answer. */
void h2_call_answer(h2_call *call);
/* Whoever asked does not take the answer. */
void h2_call_give_up(h2_call *call);

/* session.c */
/* Callbacks and options for all sessions of a server; 0, or an errno. */
int h2_callbacks(h2_server *server);
/* Says what callers are held to; 0: out of memory, or the socket is done for. */
int h2_session_begin(h2_connection *connection);

/* connection.c */
void h2_connection_callbacks(nghttp2_session_callbacks *callbacks);
void h2_connection_open(h2_loop *loop, int fd);
/* What epoll says of it. The connection may be gone afterwards. */
void h2_connection_event(h2_connection *connection, uint32_t events);
void h2_connection_close(h2_connection *connection);
/* Lets go of all but the socket, which stays until the peer has taken the last that it was told. */
void h2_connection_linger(h2_connection *connection);
/* It is flushed before the loop waits again. */
void h2_connection_dirty(h2_connection *connection);
/* Ends it with a GOAWAY of this code. */
void h2_connection_break(h2_connection *connection, uint32_t code);
/* Counts one of what may come so often in a second; breaks the connection, and returns 1, if it is too many. */
int h2_connection_count(h2_connection *connection, uint32_t *count, uint32_t most, int cap);
/* Asks whether a peer that says nothing more is still there: if not, its system refuses the question. */
void h2_connection_probe(h2_connection *connection);

/* sending.c */
/* What epoll is asked for; 0 if it cannot be asked. `more`: there is more to send than was sent at once. */
int h2_connection_watch(h2_connection *connection, int more);
/* Writes; 0 if the socket is done for. What it does not take is kept. */
int h2_connection_send(h2_connection *connection, const uint8_t *data, size_t length);
/* Its peer had its time to take what it was sent: it is closed if it did not. */
void h2_connection_stalled(h2_connection *connection);
/* Sends what is to be sent, and closes what is done. The connection may be gone afterwards. */
void h2_connection_flush(h2_connection *connection);

/* loop.c */
int h2_loop_start(h2_loop *loop, h2_server *server);
/* When its thread has ended. */
void h2_loop_free(h2_loop *loop);
/* From any thread. */
void h2_loop_accept(h2_loop *loop, int fd);
void h2_loop_wake(h2_loop *loop);
/* One connection less, also if it never was. From any thread. */
void h2_loop_forget(h2_loop *loop);
void h2_loop_go_up(h2_loop *loop, h2_call *call);
static inline void h2_count_cap(h2_loop *loop, int cap) { H2_COUNT(loop->counts.caps[cap], 1); }

/* server.c */
void h2_server_up(h2_server *server, h2_call *first, h2_call *last);
void h2_server_cancel(h2_server *server, h2_call *call);

#endif
