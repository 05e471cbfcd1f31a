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

/* Only patched and newer libraries have these; their own bounds would be too tight for a proxy's connection. */
extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t) __attribute__((weak));

/* The stream is closed: whoever still works for the call works in vain. */
static void leave(h2_connection *connection, h2_call *call) {
  h2_timer_remove(&call->timer);
  if (call->before != NULL) call->before->after = call->after;
  if (call->after != NULL) call->after->before = call->before;
  if (connection->first == call) connection->first = call->after;
  connection->calls--;
  call->connection = NULL;
  if (call->state == H2_UP) {
    H2_COUNT(connection->loop->counts.cancelled, 1);
    h2_server_cancel(call->server, call);
  }
  h2_call_release(call);
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *user) {
  h2_connection *connection = user;
  (void)error_code;
  h2_call *call = nghttp2_session_get_stream_user_data(session, stream);
  if (call == NULL) return 0;
  nghttp2_session_set_stream_user_data(session, stream, NULL);
  leave(connection, call);
  if (connection->calls == 0) {
    h2_timers_add(&connection->loop->idle, &connection->idle,
                  h2_now_ms() + connection->loop->server->config.idle_ms);
  }
  return 0;
}

int h2_callbacks(h2_server *server) {
  if (nghttp2_session_callbacks_new(&server->callbacks) != 0 || nghttp2_option_new(&server->options) != 0) return ENOMEM;
  h2_arriving_callbacks(server->callbacks);
  h2_answering_callbacks(server->callbacks);
  nghttp2_session_callbacks_set_on_stream_close_callback(server->callbacks, on_stream_close);
  /* Ours is the bound, in frames a second. */
  if (nghttp2_option_set_stream_reset_rate_limit != NULL) {
    nghttp2_option_set_stream_reset_rate_limit(server->options, server->config.max_resets, server->config.max_resets);
  }
  nghttp2_option_set_no_closed_streams(server->options, 1);
  return 0;
}

static void name_peer(h2_connection *connection) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char text[INET6_ADDRSTRLEN];
  if (getpeername(connection->fd, (struct sockaddr *)&address, &length) != 0) address.ss_family = AF_UNIX;
  if (address.ss_family == AF_INET) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    snprintf(connection->peer, sizeof connection->peer, "ipv4:%s:%d", text, ntohs(v4->sin_port));
  } else if (address.ss_family == AF_INET6) {
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    snprintf(connection->peer, sizeof connection->peer, "ipv6:%%5B%s%%5D:%d", text, ntohs(v6->sin6_port));
  } else {
    snprintf(connection->peer, sizeof connection->peer, "unix:");
  }
}

static void watch(h2_connection *connection) {
  /* While the socket takes nothing, nothing is read: what is asked meanwhile would have to be kept. */
  uint32_t events = connection->out_length > connection->out_sent ? EPOLLOUT : EPOLLIN;
  if (events == connection->watched) return;
  struct epoll_event event = {.events = events, .data.ptr = connection};
  epoll_ctl(connection->loop->epoll, connection->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, connection->fd, &event);
  connection->watched = events;
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
    atomic_fetch_sub_explicit(&loop->open, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&loop->server->connections, 1, memory_order_relaxed);
    return;
  }
  connection->loop = loop;
  connection->fd = fd;
  /* Neither does anything for unix sockets. */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &wait_ms, sizeof wait_ms);
  name_peer(connection);
  connection->after = loop->connections;
  if (loop->connections != NULL) loop->connections->before = connection;
  loop->connections = connection;
  H2_COUNT(loop->counts.accepted, 1);
  h2_timers_add(&loop->idle, &connection->idle, h2_now_ms() + config->idle_ms);
  uint32_t window = config->max_message_bytes + 5;
  if (window < 65535) window = 65535;
  if (window > 0x7fffffff) window = 0x7fffffff;
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, config->max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, config->max_header_bytes},
  };
  nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
  nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                        (int32_t)(window > 1 << 20 ? window : 1 << 20));
  if (loop->drain_said) nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
  h2_connection_flush(connection);
}

void h2_connection_readable(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  ssize_t length = read(connection->fd, loop->in, sizeof loop->in);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (length <= 0) {
    h2_connection_close(connection);
    return;
  }
  ssize_t used = nghttp2_session_mem_recv(connection->session, loop->in, (size_t)length);
  if (used < 0) {
    if (!connection->broken && used != NGHTTP2_ERR_CALLBACK_FAILURE) {
      nghttp2_session_terminate_session(connection->session,
                                        used == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    }
    connection->broken = 1;
  }
  h2_connection_flush(connection);
}

/* Writes; 0 if the socket is done for. What it does not take is kept. */
static int send_some(h2_connection *connection, const uint8_t *data, size_t length) {
  while (length > 0) {
    ssize_t sent = send(connection->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return 0;
    if (sent < 0) {
      if (connection->out == NULL && (connection->out = malloc(H2_CHUNK)) == NULL) return 0;
      memcpy(connection->out, data, length);
      connection->out_length = length;
      connection->out_sent = 0;
      h2_timers_add(&connection->loop->stalled, &connection->stalled,
                    h2_now_ms() + connection->loop->server->config.write_ms);
      return 1;
    }
    data += sent;
    length -= (size_t)sent;
  }
  return 1;
}

static int send_kept(h2_connection *connection) {
  while (connection->out_sent < connection->out_length) {
    ssize_t sent = send(connection->fd, connection->out + connection->out_sent,
                        connection->out_length - connection->out_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    connection->out_sent += (size_t)sent;
  }
  free(connection->out);
  connection->out = NULL;
  connection->out_length = connection->out_sent = 0;
  h2_timer_remove(&connection->stalled);
  return 1;
}

void h2_connection_flush(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  nghttp2_session *session = connection->session;
  if (connection->out != NULL && !send_kept(connection)) {
    h2_connection_close(connection);
    return;
  }
  /* No more is made than the socket takes, but for one chunk. */
  while (connection->out == NULL) {
    size_t length = 0;
    const uint8_t *frame = NULL;
    ssize_t next = 0;
    while (length < H2_CHUNK / 2 && (next = nghttp2_session_mem_send(session, &frame)) > 0) {
      if ((size_t)next > H2_CHUNK - length) {
        /* One frame has at most 16 KiB and its head, or the server's own fields. */
        next = -1;
        break;
      }
      memcpy(loop->out + length, frame, (size_t)next);
      length += (size_t)next;
    }
    if (next < 0 || (length > 0 && !send_some(connection, loop->out, length))) {
      h2_connection_close(connection);
      return;
    }
    if (length < H2_CHUNK / 2) break;
  }
  int done = !nghttp2_session_want_read(session) && !nghttp2_session_want_write(session);
  if (connection->out == NULL && (connection->broken || done)) {
    h2_connection_close(connection);
    return;
  }
  watch(connection);
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
  h2_timer_remove(&connection->stalled);
  /* The library tells nobody of streams that end with their session. */
  while (connection->first != NULL) leave(connection, connection->first);
  nghttp2_session_del(connection->session);
  h2_timer_remove(&connection->idle);
  close(connection->fd);
  free(connection->out);
  if (connection->before != NULL) connection->before->after = connection->after;
  if (connection->after != NULL) connection->after->before = connection->before;
  if (loop->connections == connection) loop->connections = connection->after;
  free(connection);
  atomic_fetch_sub_explicit(&loop->open, 1, memory_order_relaxed);
  atomic_fetch_sub_explicit(&loop->server->connections, 1, memory_order_relaxed);
}
