/* How a connection's bytes reach its socket: as much at a time as that takes, and no more than others can wait for. */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "internal.h"

/* After so many bytes others of the same thread have their turn. */
#define MOST_AT_ONCE (4 * H2_CHUNK)

int h2_connection_watch(h2_connection *connection, int more) {
  /* While the socket takes nothing, nothing is read: what is asked meanwhile would have to be kept. */
  uint32_t events = connection->out != NULL ? EPOLLOUT : (connection->ended ? 0 : EPOLLIN) | (more ? EPOLLOUT : 0);
  if (connection->watching && events == connection->watched) return 1;
  struct epoll_event event = {.events = events, .data.ptr = connection};
  int how = connection->watching ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(connection->loop->epoll, how, connection->fd, &event) != 0) return 0;
  connection->watching = 1;
  connection->watched = events;
  return 1;
}

int h2_connection_send(h2_connection *connection, const uint8_t *data, size_t length) {
  h2_loop *loop = connection->loop;
  while (length > 0) {
    ssize_t sent = send(connection->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return 0;
    if (sent < 0) {
      if (connection->out == NULL && (connection->out = malloc(H2_CHUNK)) == NULL) return 0;
      memcpy(connection->out, data, length);
      connection->out_length = length;
      connection->out_sent = 0;
      h2_timers_add(&loop->stalled, &connection->stalled, loop->now_ms + loop->server->config.write_ms);
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

/* Fills loop->out with frames; the bytes, or -1: the session is done for. */
static ssize_t fill(h2_connection *connection) {
  h2_loop *loop = connection->loop;
  size_t length = 0;
  const uint8_t *frame;
  while (length < H2_CHUNK / 2) {
    ssize_t next = nghttp2_session_mem_send(connection->session, &frame);
    if (next == 0) break;
    /* One frame has at most 16 KiB and its head, or the server's own fields. */
    if (next < 0 || (size_t)next > H2_CHUNK - length) return -1;
    memcpy(loop->out + length, frame, (size_t)next);
    length += (size_t)next;
  }
  return (ssize_t)length;
}

void h2_connection_stalled(h2_connection *connection) {
  int untaken = 0;
  h2_timer_remove(&connection->stalled);
  if (connection->out == NULL && (ioctl(connection->fd, SIOCOUTQ, &untaken) != 0 || untaken == 0)) return;
  h2_count_cap(connection->loop, H2_CAP_SLOW_READER);
  h2_connection_close(connection);
}

void h2_connection_flush(h2_connection *connection) {
  nghttp2_session *session = connection->session;
  h2_loop *loop = connection->loop;
  size_t sent = connection->out_length;
  int more = 1;
  if (session == NULL) return;
  if (connection->out != NULL && !send_kept(connection)) {
    h2_connection_close(connection);
    return;
  }
  /* No more is made than the socket takes, but for one chunk. */
  while (connection->out == NULL && more && sent < MOST_AT_ONCE) {
    ssize_t length = fill(connection);
    if (length < 0 || !h2_connection_send(connection, loop->out, (size_t)length)) {
      h2_connection_close(connection);
      return;
    }
    more = length >= H2_CHUNK / 2;
    sent += (size_t)length;
  }
  int wants = nghttp2_session_want_write(session);
  int done = connection->broken || (connection->ended && connection->calls == 0) || !nghttp2_session_want_read(session);
  if (connection->out == NULL && done && !(more && wants)) {
    if (connection->ended) {
      h2_connection_close(connection);
    } else {
      h2_connection_linger(connection);
    }
  } else if (!h2_connection_watch(connection, more)) {
    h2_connection_close(connection);
  } else if (connection->local && connection->out == NULL && sent > 0) {
    h2_timers_add(&loop->stalled, &connection->stalled, loop->now_ms + loop->server->config.write_ms);
  }
}
