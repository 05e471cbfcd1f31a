/* The server: its threads, the one that accepts, and the queue of calls that go up. */
#define _GNU_SOURCE /* accept4 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

/* How long no connection is accepted after the process ran out of files or memory. */
#define PAUSE_MS 50

const double h2_buckets[H2_BUCKETS] = {0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                       0.005,   0.01,     0.025,   0.05,   0.1,     0.5,    1};

const char *const h2_cap_names[H2_CAPS] = {"connections", "headers", "message",      "in_flight",
                                           "waiting",     "resets",  "pings",        "settings",
                                           "idle",        "slow_message", "slow_reader", "streams"};

h2_server *h2_server_new(const h2_config *config) {
  h2_server *server = calloc(1, sizeof *server);
  if (server == NULL) return NULL;
  server->config = *config;
  if (server->config.threads == 0) server->config.threads = 1;
  server->loops = calloc(server->config.threads, sizeof *server->loops);
  server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  server->up_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  pthread_mutex_init(&server->lock, NULL);
  if (server->loops == NULL || server->stop_fd < 0 || server->up_fd < 0 || h2_callbacks(server) != 0) {
    h2_server_free(server);
    return NULL;
  }
  return server;
}

int h2_server_handle(h2_server *server, const char *path, h2_handler handler, void *state) {
  if (server->method_count == H2_METHODS) return -1;
  server->methods[server->method_count] =
      (h2_method){.path = path, .length = strlen(path), .handler = handler, .state = state};
  return (int)server->method_count++;
}

/* ---- accepting ---- */

static h2_loop *least_loaded(h2_server *server) {
  h2_loop *found = &server->loops[0];
  for (uint32_t i = 1; i < server->started; i++) {
    if (atomic_load_explicit(&server->loops[i].open, memory_order_relaxed) <
        atomic_load_explicit(&found->open, memory_order_relaxed)) {
      found = &server->loops[i];
    }
  }
  return found;
}

static void take_connection(h2_server *server, int fd) {
  if (atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed) >= server->config.max_connections) {
    atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->refused_connections, 1, memory_order_relaxed);
    close(fd);
    return;
  }
  h2_loop *loop = least_loaded(server);
  atomic_fetch_add_explicit(&loop->open, 1, memory_order_relaxed);
  h2_loop_accept(loop, fd);
}

static void *accept_all(void *argument) {
  h2_server *server = argument;
  struct pollfd waits[] = {{.fd = server->stop_fd, .events = POLLIN}, {.fd = server->listener, .events = POLLIN}};
  while (!atomic_load_explicit(&server->draining, memory_order_acquire) &&
         !atomic_load_explicit(&server->stopping, memory_order_acquire)) {
    if (poll(waits, 2, -1) < 0) continue;
    /* Its owner has shut the socket: nobody comes any more. */
    if (waits[1].revents & (POLLERR | POLLHUP | POLLNVAL)) break;
    if (!(waits[1].revents & POLLIN)) continue;
    int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      take_connection(server, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      /* Out of files or memory. Whoever comes waits in the socket's queue. */
      poll(waits, 1, PAUSE_MS);
    }
  }
  return NULL;
}

static int start_threads(h2_server *server) {
  for (; server->started < server->config.threads; server->started++) {
    int error = h2_loop_start(&server->loops[server->started], server);
    if (error) return error;
  }
  int error = pthread_create(&server->acceptor, NULL, accept_all, server);
  server->accepting = error == 0;
  return error;
}

int h2_server_start(h2_server *server, int listener) {
  sigset_t all, before;
  if (server->process != 0 || server->stopped) return EALREADY;
  server->process = getpid();
  server->listener = listener;
  /* Other processes may accept from it too, and be faster. */
  int flags = fcntl(listener, F_GETFL);
  if (flags >= 0) fcntl(listener, F_SETFL, flags | O_NONBLOCK);
  /* Signals are the owner's: threads have the mask of who starts them. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = start_threads(server);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) h2_server_stop(server);
  return error;
}

/* In a process that was forked there are no threads to end, and what wakes them is still the other's. */
static int is_forked(const h2_server *server) { return server->process != 0 && server->process != getpid(); }

static void end_accepting(h2_server *server) {
  uint64_t one = 1;
  /* Who stops it may come while another drains it still. The thread that accepts takes no lock of the server's. */
  pthread_mutex_lock(&server->lock);
  if (server->accepting && write(server->stop_fd, &one, sizeof one) > 0) {
    pthread_join(server->acceptor, NULL);
    server->accepting = 0;
  }
  pthread_mutex_unlock(&server->lock);
}

void h2_server_drain(h2_server *server) {
  if (is_forked(server)) return;
  atomic_store_explicit(&server->draining, 1, memory_order_release);
  end_accepting(server);
  for (uint32_t i = 0; i < server->started; i++) h2_loop_wake(&server->loops[i]);
}

void h2_server_stop(h2_server *server) {
  if (server->stopped || is_forked(server)) return;
  server->stopped = 1;
  atomic_store_explicit(&server->stopping, 1, memory_order_release);
  end_accepting(server);
  for (uint32_t i = 0; i < server->started; i++) {
    h2_loop_wake(&server->loops[i]);
    pthread_join(server->loops[i].thread, NULL);
  }
}

void h2_server_free(h2_server *server) {
  /* Threads were at work in it when it was copied: a lock may be taken for ever. */
  if (is_forked(server)) return;
  /* Those that nobody took. */
  while (server->up != NULL) {
    h2_call *next = server->up->next_up;
    h2_call_release(server->up);
    server->up = next;
  }
  for (uint32_t i = 0; i < server->started; i++) h2_loop_free(&server->loops[i]);
  free(server->loops);
  nghttp2_session_callbacks_del(server->callbacks);
  nghttp2_option_del(server->options);
  if (server->stop_fd >= 0) close(server->stop_fd);
  if (server->up_fd >= 0) close(server->up_fd);
  pthread_mutex_destroy(&server->lock);
  free(server);
}

/* ---- up and down ---- */

static void push_up(h2_server *server, h2_call *first, h2_call *last) {
  if (server->up_last != NULL) {
    server->up_last->next_up = first;
  } else {
    server->up = first;
  }
  server->up_last = last;
}

static void tell_up(h2_server *server) {
  uint64_t one = 1;
  if (write(server->up_fd, &one, sizeof one) < 0) return; /* full: it is readable then */
}

void h2_server_up(h2_server *server, h2_call *first, h2_call *last) {
  pthread_mutex_lock(&server->lock);
  int was_empty = server->up == NULL;
  push_up(server, first, last);
  pthread_mutex_unlock(&server->lock);
  if (was_empty) tell_up(server);
}

void h2_server_cancel(h2_server *server, h2_call *call) {
  pthread_mutex_lock(&server->lock);
  call->cancelled = 1;
  int tell = !call->queued && !call->ended, was_empty = server->up == NULL;
  if (tell) {
    call->notice = 1;
    call->next_up = NULL;
    atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
    push_up(server, call, call);
  }
  pthread_mutex_unlock(&server->lock);
  if (tell && was_empty) tell_up(server);
}

int h2_server_up_fd(const h2_server *server) { return server->up_fd; }

/* Under the lock. */
static h2_call *pop_up(h2_server *server) {
  h2_call *call = server->up;
  if (call != NULL) server->up = call->next_up;
  if (server->up == NULL) server->up_last = NULL;
  return call;
}

h2_call *h2_server_take(h2_server *server, int *cancelled) {
  h2_call *call;
  pthread_mutex_lock(&server->lock);
  while ((call = pop_up(server)) != NULL && call->notice && call->ended) h2_call_release(call);
  if (call == NULL) {
    uint64_t count;
    /* Under the lock: what comes after this makes it readable again. */
    if (read(server->up_fd, &count, sizeof count) < 0) count = 0;
  } else {
    *cancelled = call->cancelled;
    call->queued = 0;
    /* The owner has a share still. */
    if (call->notice) h2_call_release(call);
  }
  pthread_mutex_unlock(&server->lock);
  return call;
}

void h2_call_end(h2_call *call, const h2_answer *answer) {
  h2_server *server = call->server;
  h2_loop *loop = call->loop;
  h2_call_keep(call, answer);
  pthread_mutex_lock(&server->lock);
  call->ended = 1;
  pthread_mutex_unlock(&server->lock);
  atomic_fetch_sub_explicit(&server->in_flight, 1, memory_order_relaxed);
  pthread_mutex_lock(&loop->lock);
  call->next_ended = loop->ended;
  loop->ended = call;
  pthread_mutex_unlock(&loop->lock);
  atomic_store_explicit(&loop->unflushed, 1, memory_order_release);
}

void h2_server_flush(h2_server *server) {
  for (uint32_t i = 0; i < server->started; i++) {
    if (atomic_exchange_explicit(&server->loops[i].unflushed, 0, memory_order_acq_rel)) h2_loop_wake(&server->loops[i]);
  }
}

/* ---- counting ---- */

static uint64_t now(const _Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

void h2_server_stats(const h2_server *server, h2_stats *stats) {
  memset(stats, 0, sizeof *stats);
  for (uint32_t i = 0; i < server->started; i++) {
    const h2_counts *counts = &server->loops[i].counts;
    for (uint32_t m = 0; m < H2_METHODS; m++) {
      stats->calls[m] += now(&counts->calls[m]);
      stats->failed[m] += now(&counts->failed[m]);
      stats->nanoseconds[m] += now(&counts->nanoseconds[m]);
      for (int b = 0; b <= H2_BUCKETS; b++) stats->seconds[m][b] += now(&counts->seconds[m][b]);
    }
    stats->up += now(&counts->up);
    stats->refused += now(&counts->refused);
    stats->cancelled += now(&counts->cancelled);
    stats->accepted += now(&counts->accepted);
    for (int c = 0; c < H2_CAPS; c++) stats->caps[c] += now(&counts->caps[c]);
  }
  stats->caps[H2_CAP_CONNECTIONS] += now(&server->refused_connections);
  stats->caps[H2_CAP_WAITING] += now(&server->refused_answers);
  stats->connections = now(&server->connections);
  stats->in_flight = now(&server->in_flight);
  stats->waiting_bytes = now(&server->waiting);
}
