/* The machine that the server runs on, and its owner. */
#include "in_process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "h2/internal.h"

#define MOST_CLIENTS 8
#define MOST_TAKEN 64
#define CALL_BYTES 4096 /* that one takes with nothing of its own, at most */
#define MOST_TURNS 256 /* in which everything has to end once all clients are gone */

fuzz_machine machine;

static struct {
  h2_server *server;
  fuzz_turn (*turn)(void *);
  void *state;
  void *(*thread)(void *); /* the loop's */
  void *argument;
  fuzz_turn last;
  unsigned turns;
  int clients[MOST_CLIENTS];
  fuzz_taken taken[MOST_TAKEN];
  size_t taken_count;
  uint64_t ever_taken;
  int outside; /* the harness itself runs, whose memory never fails */
} this;

/* ---- what the transport calls instead of the system ---- */

int fuzz_clock_gettime(clockid_t clock, struct timespec *now);
int fuzz_clock_gettime(clockid_t clock, struct timespec *now) {
  uint64_t ns = machine.now_ns + (clock == CLOCK_REALTIME ? 1700000000000000000U : 0);
  *now = (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
  return 0;
}

/* The first thread of a server is its loop's; the other accepts, which fuzz_connect does instead. */
int fuzz_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int fuzz_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  (void)attributes;
  memset(thread, 0, sizeof *thread);
  if (this.thread == NULL) {
    this.thread = start;
    this.argument = argument;
  }
  return 0;
}

int fuzz_pthread_join(pthread_t thread, void **result);
int fuzz_pthread_join(pthread_t thread, void **result) {
  (void)thread;
  (void)result;
  return 0;
}

ssize_t fuzz_send(int fd, const void *data, size_t length, int flags);
ssize_t fuzz_send(int fd, const void *data, size_t length, int flags) {
  if (machine.room == 0) {
    errno = EAGAIN;
    return -1;
  }
  if (length > machine.room) length = machine.room;
  ssize_t sent = send(fd, data, length, flags);
  if (sent > 0 && machine.room != SIZE_MAX) machine.room -= (size_t)sent;
  return sent;
}

static int short_of_memory(void) {
  return !this.outside && machine.allocations > 0 && --machine.allocations == 0;
}

void *fuzz_malloc(size_t size);
void *fuzz_malloc(size_t size) { return short_of_memory() ? NULL : malloc(size); }

void *fuzz_calloc(size_t count, size_t size);
void *fuzz_calloc(size_t count, size_t size) { return short_of_memory() ? NULL : calloc(count, size); }

void *fuzz_realloc(void *data, size_t size);
void *fuzz_realloc(void *data, size_t size) { return short_of_memory() ? NULL : realloc(data, size); }

/* ---- compiled handlers ---- */

static h2_outcome echo(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  (void)state;
  CHECK(now_us > 0);
  h2_slice message = h2_call_message(call, &whole);
  CHECK(whole);
  h2_buffer_add(scratch, message.data, message.length);
  *answer = (h2_answer){.status = scratch->failed ? 8 : 0, .body = {scratch->data, scratch->length}};
  return H2_ANSWERED;
}

static h2_outcome refuse(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  (void)state;
  (void)now_us;
  h2_slice message = h2_call_message(call, &whole);
  CHECK(whole);
  h2_fields_add(scratch, h2_text("answer-bin"), message);
  h2_slice fields = {scratch->data, scratch->length};
  *answer = (h2_answer){.status = 5, .message = message, .initial = fields, .trailing = fields};
  return H2_ANSWERED;
}

static h2_outcome maybe(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  h2_slice message = h2_call_message(call, &whole);
  (void)state;
  (void)now_us;
  (void)scratch;
  if (message.length % 2 == 0) return H2_GO_UP;
  *answer = (h2_answer){.status = 0};
  return H2_ANSWERED;
}

/* ---- its owner ---- */

/* What has a bound keeps it, whatever clients do. */
static void check_bounds(void) {
  const h2_config *config = &this.server->config;
  uint64_t calls = (uint64_t)config->max_streams * MOST_CLIENTS + config->max_in_flight;
  CHECK(atomic_load(&this.server->connections) <= MOST_CLIENTS);
  CHECK(atomic_load(&this.server->in_flight) <= config->max_in_flight);
  /* Each call counts once before it is refused. */
  uint64_t before = calls * (CALL_BYTES + config->max_header_bytes);
  CHECK(atomic_load(&this.server->waiting) <= 2 * config->max_waiting_bytes + before);
  for (const h2_connection *one = this.server->loops[0].connections; one != NULL; one = one->after) {
    CHECK(one->calls <= config->max_streams);
  }
}

/* Reads each byte, so that the sanitizer sees where it lies. */
static void touch(h2_slice bytes) {
  h2_buffer copy = {0};
  h2_buffer_add(&copy, bytes.data, bytes.length);
  h2_buffer_free(&copy);
}

static void look_at(const h2_call *call) {
  int whole;
  size_t position = 0;
  h2_slice path = h2_call_path(call), fields = h2_call_fields(call), message = h2_call_message(call, &whole);
  h2_slice name, value;
  while (h2_fields_next(fields, &position, &name, &value)) {
    CHECK(name.length > 0 && name.data[0] != ':');
    touch(value);
  }
  CHECK(position == fields.length);
  CHECK(whole || message.length == 0);
  CHECK(message.length <= this.server->config.max_message_bytes);
  CHECK(path.length + fields.length <= this.server->config.max_header_bytes);
  touch(path);
  touch(message);
  CHECK(h2_call_timeout_us(call) >= -1);
  CHECK(strcmp(h2_call_peer(call), "unix:") == 0);
}

void fuzz_take(void) {
  h2_call *call;
  int cancelled;
  while ((call = h2_server_take(this.server, &cancelled)) != NULL) {
    size_t place = 0;
    look_at(call);
    while (place < this.taken_count && this.taken[place].call != call) place++;
    if (place < this.taken_count) {
      /* It comes again once, to say that its caller is gone. */
      CHECK(cancelled && !this.taken[place].cancelled && h2_call_owner(call) == &this);
      this.taken[place].cancelled = 1;
      continue;
    }
    CHECK(h2_call_owner(call) == NULL);
    h2_call_set_owner(call, &this);
    if (place == MOST_TAKEN) fuzz_end(--place, &(h2_answer){.status = 14});
    this.taken[place] = (fuzz_taken){call, cancelled};
    this.taken_count = place + 1;
    this.ever_taken++;
  }
}

size_t fuzz_taken_count(void) { return this.taken_count; }

const fuzz_taken *fuzz_taken_at(size_t number) { return &this.taken[number]; }

void fuzz_end(size_t number, const h2_answer *answer) {
  CHECK(number < this.taken_count);
  int outside = this.outside;
  this.outside = 0;
  h2_call_end(this.taken[number].call, answer);
  this.outside = outside;
  check_bounds();
  memmove(&this.taken[number], &this.taken[number + 1], (--this.taken_count - number) * sizeof *this.taken);
}

static void end_taken(void) {
  static const h2_answer unavailable = {.status = 14, .message = {(const uint8_t *)"at the end", 10}};
  while (this.taken_count > 0) fuzz_end(0, &unavailable);
  h2_server_flush(this.server);
}

/* ---- connections and turns ---- */

int fuzz_connect(void) {
  int ends[2], place = 0;
  h2_loop *loop = &this.server->loops[0];
  while (place < MOST_CLIENTS && this.clients[place] >= 0) place++;
  if (place == MOST_CLIENTS) return -1;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  this.clients[place] = ends[0];
  atomic_fetch_add(&this.server->connections, 1);
  atomic_fetch_add(&loop->open, 1);
  this.outside = 0;
  h2_loop_accept(loop, ends[1]);
  this.outside = 1;
  return ends[0];
}

void fuzz_forget(int fd) {
  for (int i = 0; i < MOST_CLIENTS; i++) {
    if (this.clients[i] == fd) this.clients[i] = -1;
  }
}

void fuzz_flush(void) { h2_server_flush(this.server); }

void fuzz_drain(void) { h2_server_drain(this.server); }

static void hang_up(void) {
  for (int i = 0; i < MOST_CLIENTS; i++) {
    if (this.clients[i] >= 0) close(this.clients[i]);
    this.clients[i] = -1;
  }
}

/* Goes on with the end, once all clients are gone: when all connections are, the owner has been told so of each call;
 * when he has ended them, nothing is left. 1: so it is. */
static int nothing_left(void) {
  h2_stats stats;
  h2_server_stats(this.server, &stats);
  if (stats.connections > 0) return 0;
  CHECK(atomic_load(&this.server->loops[0].open) == 0);
  fuzz_take();
  for (size_t i = 0; i < this.taken_count; i++) CHECK(this.taken[i].cancelled);
  end_taken();
  CHECK(stats.up == this.ever_taken && stats.cancelled <= stats.up);
  return stats.in_flight == 0 && stats.waiting_bytes == 0;
}

int fuzz_epoll_wait(int epoll, struct epoll_event *events, int most, int patience);
int fuzz_epoll_wait(int epoll, struct epoll_event *events, int most, int patience) {
  CHECK(patience >= -1);
  check_bounds();
  this.outside = 1;
  if (this.last == FUZZ_GO_ON) this.last = this.turn(this.state);
  this.outside = 0;
  if (this.last != FUZZ_GO_ON) machine.allocations = 0;
  if (this.last == FUZZ_HANG_UP) {
    machine.room = SIZE_MAX;
    hang_up();
    if (this.turns++ > 0 && nothing_left()) this.last = FUZZ_STOP;
    CHECK(this.turns < MOST_TURNS);
  }
  if (this.last == FUZZ_STOP) h2_server_stop(this.server);
  return epoll_wait(epoll, events, most, 0);
}

void fuzz_serve(const h2_config *config, fuzz_turn (*turn)(void *), void *state) {
  h2_stats stats;
  memset(&this, 0, sizeof this);
  for (int i = 0; i < MOST_CLIENTS; i++) this.clients[i] = -1;
  this.turn = turn;
  this.state = state;
  machine = (fuzz_machine){.now_ns = 1000000000, .room = SIZE_MAX};
  CHECK(config->threads == 1 && (this.server = h2_server_new(config)) != NULL);
  CHECK(h2_server_handle(this.server, FUZZ_ECHO, echo, NULL) >= 0);
  CHECK(h2_server_handle(this.server, FUZZ_REFUSE, refuse, NULL) >= 0);
  CHECK(h2_server_handle(this.server, FUZZ_MAYBE, maybe, NULL) >= 0);
  /* Nobody listens to it: connections come by fuzz_connect. */
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(listener >= 0 && h2_server_start(this.server, listener) == 0);
  this.thread(this.argument);
  end_taken();
  hang_up();
  h2_server_stats(this.server, &stats);
  CHECK(stats.connections == 0 && stats.in_flight == stats.up - this.ever_taken);
  h2_server_free(this.server);
  close(listener);
}
