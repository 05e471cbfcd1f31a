/* One thread: its connections, its timers, and what others put in for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define EVENTS 64
/* After this a connection that was asked to go is told which calls of it still count. */
#define NOTICE_MS 500

uint64_t h2_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void h2_timers_init(h2_timers *timers) { timers->head.before = timers->head.after = &timers->head; }

void h2_timers_add(h2_timers *timers, h2_timer *timer, uint64_t due_ms) {
  h2_timer_remove(timer);
  timer->due_ms = due_ms;
  timer->after = &timers->head;
  timer->before = timers->head.before;
  timer->before->after = timer;
  timers->head.before = timer;
}

void h2_timer_remove(h2_timer *timer) {
  if (timer->after == NULL) return;
  timer->before->after = timer->after;
  timer->after->before = timer->before;
  timer->before = timer->after = NULL;
}

h2_timer *h2_timers_due(h2_timers *timers, uint64_t now_ms) {
  h2_timer *first = timers->head.after;
  return first != &timers->head && first->due_ms <= now_ms ? first : NULL;
}

enum { TIMERS = 7 };

static void all_timers(h2_loop *loop, h2_timers *all[TIMERS]) {
  h2_timers *these[TIMERS] = {&loop->arriving, &loop->ending,    &loop->greeting, &loop->idle,
                              &loop->probing,  &loop->lingering, &loop->stalled};
  memcpy(all, these, sizeof these);
}

/* Milliseconds until the first timer; -1: there is none. */
static int patience(h2_loop *loop) {
  h2_timers *all[TIMERS];
  uint64_t now = h2_now_ms(), soonest = UINT64_MAX;
  all_timers(loop, all);
  for (size_t i = 0; i < TIMERS; i++) {
    h2_timer *first = all[i]->head.after;
    if (first != &all[i]->head && first->due_ms < soonest) soonest = first->due_ms;
  }
  if (loop->draining_until_ms != 0 && loop->draining_until_ms < soonest) soonest = loop->draining_until_ms;
  if (soonest == UINT64_MAX) return -1;
  if (soonest <= now) return 0;
  return soonest - now > 60000 ? 60000 : (int)(soonest - now);
}

static void close_politely(h2_connection *connection, int cap) {
  h2_count_cap(connection->loop, cap);
  h2_timer_remove(&connection->clock);
  h2_connection_break(connection, NGHTTP2_NO_ERROR);
  h2_connection_dirty(connection);
}

static void expire(h2_loop *loop) {
  uint64_t now = loop->now_ms;
  h2_timer *timer;
  while ((timer = h2_timers_due(&loop->arriving, now)) != NULL) h2_call_late(H2_OF(h2_call, timer, timer));
  while ((timer = h2_timers_due(&loop->ending, now)) != NULL) h2_call_give_up(H2_OF(h2_call, timer, timer));
  while ((timer = h2_timers_due(&loop->stalled, now)) != NULL) {
    h2_connection_stalled(H2_OF(h2_connection, stalled, timer));
  }
  while ((timer = h2_timers_due(&loop->greeting, now)) != NULL) {
    close_politely(H2_OF(h2_connection, clock, timer), H2_CAP_SLOW_MESSAGE);
  }
  while ((timer = h2_timers_due(&loop->idle, now)) != NULL) {
    close_politely(H2_OF(h2_connection, clock, timer), H2_CAP_IDLE);
  }
  while ((timer = h2_timers_due(&loop->probing, now)) != NULL) h2_connection_probe(H2_OF(h2_connection, clock, timer));
  while ((timer = h2_timers_due(&loop->lingering, now)) != NULL) h2_connection_close(H2_OF(h2_connection, clock, timer));
}

/* Asks all to go: first that they begin nothing more, later which of their calls were still taken. */
static void drain(h2_loop *loop) {
  uint64_t now = loop->now_ms;
  if (!loop->drain_said) {
    loop->drain_said = 1;
    loop->draining_until_ms = now + NOTICE_MS;
    for (h2_connection *one = loop->connections; one != NULL; one = one->after) {
      if (one->session == NULL) continue;
      nghttp2_submit_shutdown_notice(one->session);
      h2_connection_dirty(one);
    }
  } else if (loop->draining_until_ms != 0 && now >= loop->draining_until_ms) {
    loop->draining_until_ms = 0;
    for (h2_connection *one = loop->connections; one != NULL; one = one->after) {
      if (one->session == NULL) continue;
      nghttp2_submit_goaway(one->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(one->session),
                            NGHTTP2_NO_ERROR, NULL, 0);
      h2_connection_dirty(one);
    }
  }
}

/* What others put in: new connections, and calls that were ended. */
static void take_in(h2_loop *loop) {
  uint64_t count;
  if (read(loop->wake, &count, sizeof count) < 0 && errno != EAGAIN) return;
  pthread_mutex_lock(&loop->lock);
  h2_call *ended = loop->ended, *first = NULL;
  int *accepted = loop->accepted;
  size_t length = loop->accepted_length;
  loop->ended = NULL;
  loop->accepted = NULL;
  loop->accepted_length = loop->accepted_capacity = 0;
  pthread_mutex_unlock(&loop->lock);
  for (size_t i = 0; i < length; i++) h2_connection_open(loop, accepted[i]);
  free(accepted);
  /* The last that was ended comes first: others waited longer. */
  while (ended != NULL) {
    h2_call *next = ended->next_ended;
    ended->next_ended = first;
    first = ended;
    ended = next;
  }
  while (first != NULL) {
    h2_call *next = first->next_ended;
    if (first->connection != NULL) h2_call_answer(first);
    h2_call_recycle(first);
    first = next;
  }
}

/* Hands calls up, but for those that are cancelled already. */
static void hand_up(h2_loop *loop) {
  h2_call *first = NULL, **end = &first, *last = NULL;
  for (h2_call *call = loop->up, *next; call != NULL; call = next) {
    next = call->next_up;
    call->going_up = 0;
    if (call->cancelled) {
      atomic_fetch_sub_explicit(&loop->server->in_flight, 1, memory_order_relaxed);
      h2_call_recycle(call);
      continue;
    }
    H2_COUNT(loop->counts.up, 1);
    call->queued = 1;
    *end = last = call;
    end = &call->next_up;
  }
  *end = NULL;
  loop->up = loop->up_last = NULL;
  if (first != NULL) h2_server_up(loop->server, first, last);
}

static void flush_dirty(h2_loop *loop) {
  if (loop->up != NULL) hand_up(loop);
  while (loop->dirty != NULL) {
    h2_connection *connection = loop->dirty;
    loop->dirty = connection->next_dirty;
    connection->dirty = 0;
    h2_connection_flush(connection);
  }
}

/* What one large call needed is not kept for all others. */
static void shrink(h2_buffer *buffer) {
  if (buffer->capacity > H2_CHUNK || buffer->failed) h2_buffer_free(buffer);
}

static void *run(void *argument) {
  h2_loop *loop = argument;
  struct epoll_event events[EVENTS];
  while (!atomic_load_explicit(&loop->server->stopping, memory_order_acquire)) {
    int count = epoll_wait(loop->epoll, events, EVENTS, patience(loop)), woken = 0;
    loop->now_ms = h2_now_ms();
    for (int i = 0; i < count; i++) {
      h2_connection *connection = events[i].data.ptr;
      /* Each has one event at most, so that none is closed before its turn. */
      if (connection != NULL) {
        h2_connection_event(connection, events[i].events);
      } else {
        woken = 1;
      }
    }
    if (woken) take_in(loop);
    if (atomic_load_explicit(&loop->server->draining, memory_order_acquire)) drain(loop);
    expire(loop);
    flush_dirty(loop);
    shrink(&loop->scratch);
    shrink(&loop->block);
  }
  while (loop->connections != NULL) h2_connection_close(loop->connections);
  flush_dirty(loop);
  h2_calls_free(loop);
  return NULL;
}

int h2_loop_start(h2_loop *loop, h2_server *server) {
  h2_timers *all[TIMERS];
  loop->server = server;
  loop->now_ms = h2_now_ms();
  all_timers(loop, all);
  for (size_t i = 0; i < TIMERS; i++) h2_timers_init(all[i]);
  pthread_mutex_init(&loop->lock, NULL);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  int error = 0;
  if (loop->epoll < 0 || loop->wake < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) != 0) {
    error = errno;
  }
  if (!error) error = pthread_create(&loop->thread, NULL, run, loop);
  if (error) h2_loop_free(loop);
  return error;
}

void h2_loop_free(h2_loop *loop) {
  while (loop->ended != NULL) {
    h2_call *next = loop->ended->next_ended;
    h2_call_release(loop->ended);
    loop->ended = next;
  }
  for (size_t i = 0; i < loop->accepted_length; i++) close(loop->accepted[i]);
  free(loop->accepted);
  h2_buffer_free(&loop->scratch);
  h2_buffer_free(&loop->block);
  if (loop->epoll >= 0) close(loop->epoll);
  if (loop->wake >= 0) close(loop->wake);
  pthread_mutex_destroy(&loop->lock);
}

void h2_loop_forget(h2_loop *loop) {
  atomic_fetch_sub_explicit(&loop->open, 1, memory_order_relaxed);
  atomic_fetch_sub_explicit(&loop->server->connections, 1, memory_order_relaxed);
}

void h2_loop_wake(h2_loop *loop) {
  uint64_t one = 1;
  /* It cannot fail but for a counter that is full, and then the loop wakes anyway. */
  if (write(loop->wake, &one, sizeof one) < 0) return;
}

void h2_loop_accept(h2_loop *loop, int fd) {
  pthread_mutex_lock(&loop->lock);
  if (loop->accepted_length == loop->accepted_capacity) {
    size_t capacity = loop->accepted_capacity ? loop->accepted_capacity * 2 : 8;
    int *larger = realloc(loop->accepted, capacity * sizeof *larger);
    if (larger == NULL) {
      pthread_mutex_unlock(&loop->lock);
      close(fd);
      h2_loop_forget(loop);
      return;
    }
    loop->accepted = larger;
    loop->accepted_capacity = capacity;
  }
  loop->accepted[loop->accepted_length++] = fd;
  pthread_mutex_unlock(&loop->lock);
  h2_loop_wake(loop);
}

void h2_loop_go_up(h2_loop *loop, h2_call *call) {
  call->next_up = NULL;
  call->going_up = 1;
  if (loop->up_last != NULL) {
    loop->up_last->next_up = call;
  } else {
    loop->up = call;
  }
  loop->up_last = call;
}
