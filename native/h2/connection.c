/* One connection: its socket, its session, and what ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

/* How often a peer that says nothing more is asked whether it is there. */
#define PROBE_MS 1000
/* A peer has so long to take the last that it is told, and may say so much meanwhile. */
#define LINGER_MS 1000
#define MOST_DISCARDED (4 << 20)

/* So long what a connection says may take at a time. It begins with few bytes, and has more while they take less. */
#define TURN_NS 100000
#define FIRST_READ 2048
#define LEAST_READ 1024

/* NGHTTP2_ERR_TOO_MANY_CONTINUATIONS, which older libraries do not name. */
#define TOO_MANY_CONTINUATIONS -905

/* The stream is closed: whoever still works for the call works in vain. */
static void leave(h2_connection *connection, h2_call *call) {
  h2_timer_remove(&call->timer);
  if (call->before != NULL) call->before->after = call->after;
  if (call->after != NULL) call->after->before = call->before;
  if (connection->first == call) connection->first = call->after;
  connection->calls--;
  call->connection = NULL;
  if (call->going_up) {
    call->cancelled = 1; /* before anybody heard of it */
  } else if (call->state == H2_UP) {
    H2_COUNT(connection->loop->counts.cancelled, 1);
    h2_server_cancel(call->server, call);
  }
  h2_call_recycle(call);
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *user) {
  h2_connection *connection = user;
  (void)error_code;
  h2_call *call = nghttp2_session_get_stream_user_data(session, stream);
  if (call == NULL) return 0;
  nghttp2_session_set_stream_user_data(session, stream, NULL);
  leave(connection, call);
  if (connection->calls == 0) {
    h2_loop *loop = connection->loop;
    h2_timers_add(&loop->idle, &connection->clock, loop->now_ms + loop->server->config.idle_ms);
  }
  return 0;
}

void h2_connection_callbacks(nghttp2_session_callbacks *callbacks) {
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}

static void name_peer(h2_connection *connection) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char text[INET6_ADDRSTRLEN];
  if (getpeername(connection->fd, (struct sockaddr *)&address, &length) != 0) address.ss_family = AF_UNIX;
  struct sockaddr_in6 *mapped = (struct sockaddr_in6 *)&address;
  if (address.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&mapped->sin6_addr)) {
    inet_ntop(AF_INET, &mapped->sin6_addr.s6_addr[12], text, sizeof text);
    snprintf(connection->peer, sizeof connection->peer, "ipv4:%s:%d", text, ntohs(mapped->sin6_port));
  } else if (address.ss_family == AF_INET) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    snprintf(connection->peer, sizeof connection->peer, "ipv4:%s:%d", text, ntohs(v4->sin_port));
  } else if (address.ss_family == AF_INET6) {
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    snprintf(connection->peer, sizeof connection->peer, "ipv6:%%5B%s%%5D:%d", text, ntohs(v6->sin6_port));
  } else {
    connection->local = 1;
    snprintf(connection->peer, sizeof connection->peer, "unix:");
  }
}

void h2_connection_open(h2_loop *loop, int fd) {
  const h2_config *config = &loop->server->config;
  int one = 1;
  unsigned int wait_ms = config->write_ms;
  h2_connection *connection = calloc(1, sizeof *connection);
  if (connection == NULL || nghttp2_session_server_new2(&connection->session, loop->server->callbacks, connection,
                                                        loop->server->options) != 0) {
    free(connection);
    close(fd);
    h2_loop_forget(loop);
    return;
  }
  connection->loop = loop;
  connection->fd = fd;
  connection->most_read = FIRST_READ;
  /* Neither does anything for unix sockets: for these, see h2_connection_stalled. */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &wait_ms, sizeof wait_ms);
  name_peer(connection);
  connection->after = loop->connections;
  if (loop->connections != NULL) loop->connections->before = connection;
  loop->connections = connection;
  H2_COUNT(loop->counts.accepted, 1);
  h2_timers_add(&loop->greeting, &connection->clock, loop->now_ms + config->message_ms);
  if (!h2_session_begin(connection)) {
    h2_connection_close(connection);
    return;
  }
  if (loop->drain_said) nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
  h2_connection_dirty(connection);
}

/* ---- reading ---- */

void h2_connection_probe(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL);
  h2_timers_add(&loop->probing, &connection->clock, loop->now_ms + PROBE_MS);
  h2_connection_dirty(connection);
}

/* The peer has closed its side. It may be gone, or listen for what it asked before. */
static void hear_the_end(h2_connection *connection) {
  connection->ended = 1;
  for (h2_call *call = connection->first; call != NULL; call = call->after) {
    if (call->state != H2_ARRIVING) continue;
    h2_timer_remove(&call->timer);
    nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL);
  }
  if (connection->calls > 0) h2_connection_probe(connection);
  h2_connection_dirty(connection);
}

/* What was read at a time took so long: others of the same thread shall not wait longer for their turn. */
static void pace(h2_connection *connection, uint64_t nanoseconds) {
  if (nanoseconds > TURN_NS && connection->most_read > LEAST_READ) {
    connection->most_read /= 2;
  } else if (nanoseconds < TURN_NS / 2 && connection->most_read < H2_CHUNK) {
    connection->most_read *= 2;
  }
}

static void hear(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  ssize_t length = read(connection->fd, loop->in, connection->most_read);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (length < 0) {
    h2_connection_close(connection);
    return;
  }
  if (length == 0) {
    hear_the_end(connection);
    return;
  }
  int full = (size_t)length == connection->most_read;
  uint64_t began = full ? h2_now_ns() : 0;
  ssize_t used = nghttp2_session_mem_recv(connection->session, loop->in, (size_t)length);
  if (full) pace(connection, h2_now_ns() - began);
  if (used < 0 && !connection->broken) {
    int flooded = used == NGHTTP2_ERR_FLOODED || used == TOO_MANY_CONTINUATIONS;
    if (flooded) h2_count_cap(loop, used == TOO_MANY_CONTINUATIONS ? H2_CAP_HEADERS : H2_CAP_PINGS);
    h2_connection_break(connection, flooded ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
  }
  h2_connection_dirty(connection);
}

/* Reads what nobody hears any more: closing while there is some would take from the peer what it was told last. */
static void discard(h2_connection *connection) {
  ssize_t length = read(connection->fd, connection->loop->in, sizeof connection->loop->in);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (length > 0) connection->discarded += (uint64_t)length;
  if (length <= 0 || connection->discarded > MOST_DISCARDED) h2_connection_close(connection);
}

void h2_connection_event(h2_connection *connection, uint32_t events) {
  if (connection->session == NULL) {
    discard(connection);
  } else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && connection->out == NULL && !connection->ended) {
    hear(connection);
  } else if (events & (EPOLLHUP | EPOLLERR)) {
    h2_connection_close(connection);
  } else {
    h2_connection_dirty(connection);
  }
}

int h2_connection_count(h2_connection *connection, uint32_t *count, uint32_t most, int cap) {
  uint64_t second = connection->loop->now_ms / 1000;
  if (second != connection->second) {
    connection->second = second;
    connection->resets = connection->pings = connection->settings = 0;
  }
  if (++*count <= most || connection->broken) return 0;
  h2_count_cap(connection->loop, cap);
  h2_connection_break(connection, NGHTTP2_ENHANCE_YOUR_CALM);
  return 1;
}

void h2_connection_break(h2_connection *connection, uint32_t code) {
  if (connection->broken) return;
  connection->broken = 1;
  nghttp2_session_terminate_session(connection->session, code);
}

/* ---- ending ---- */

/* Frees all but the socket. */
static void let_go(h2_connection *connection) {
  h2_timer_remove(&connection->stalled);
  h2_timer_remove(&connection->clock);
  /* The library tells nobody of streams that end with their session. */
  while (connection->first != NULL) leave(connection, connection->first);
  nghttp2_session_del(connection->session);
  connection->session = NULL;
  free(connection->out);
  connection->out = NULL;
}

void h2_connection_linger(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  let_go(connection);
  if (shutdown(connection->fd, SHUT_WR) != 0 || !h2_connection_watch(connection, 0)) {
    h2_connection_close(connection);
    return;
  }
  h2_timers_add(&loop->lingering, &connection->clock, loop->now_ms + LINGER_MS);
}

void h2_connection_dirty(h2_connection *connection) {
  if (connection->dirty) return;
  connection->dirty = 1;
  connection->next_dirty = connection->loop->dirty;
  connection->loop->dirty = connection;
}

void h2_connection_close(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  if (connection->dirty) {
    h2_connection **place = &loop->dirty;
    while (*place != connection) place = &(*place)->next_dirty;
    *place = connection->next_dirty;
  }
  let_go(connection);
  close(connection->fd);
  if (connection->before != NULL) connection->before->after = connection->after;
  if (connection->after != NULL) connection->after->before = connection->before;
  if (loop->connections == connection) loop->connections = connection->after;
  free(connection);
  h2_loop_forget(loop);
}
