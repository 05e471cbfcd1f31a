/* A server for tests of the transport alone: `echo PLACE [name=number ...]`, any bound of h2_config by its name. The
 * place: `4` or `6`, a free port of the loopback for IPv4, or of all addresses for both; or the path of a unix socket.
 *
 * /test.Echo/Compiled  answered on its thread with the message itself
 * /test.Echo/Refused   the same with status 7, a message and a detail
 * /test.Echo/Large     on its thread, with as many bytes as the message says in decimal digits
 * /test.Echo/Words     on its thread, with status 9 and the message as its words
 * /test.Echo/Fields    on its thread, with the message, which is packed fields, as trailing metadata
 * /test.Echo/Both      the same with status 9, as initial and trailing metadata
 * /test.Echo/Slow      on its thread, after as many milliseconds as the message says in decimal digits
 * /test.Echo/Gate      on its thread, with nothing, once the gate is opened for it
 * /test.Echo/Held      goes up, and is not answered until its caller has gone
 * anything else        goes up, and is answered with the message; trailers are the caller's fields, what else is known
                        of the call is in the fields before it
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "h2.h"

static h2_slice text(const char *words) { return (h2_slice){(const uint8_t *)words, strlen(words)}; }

static h2_outcome echo(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  (void)now_us;
  answer->body = h2_call_message(call, &whole);
  answer->status = *(int *)state;
  if (answer->status) {
    answer->message = text("100 % refused: \xc3\xbc");
    h2_fields_add(scratch, text("detail-bin"), (h2_slice){(const uint8_t *)"\0\xff", 2});
    answer->trailing = (h2_slice){scratch->data, scratch->length};
  }
  return H2_ANSWERED;
}

static h2_outcome say_much(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  char digits[16] = {0}, piece[4096] = {0};
  (void)state;
  (void)now_us;
  h2_slice message = h2_call_message(call, &whole);
  memcpy(digits, message.data, message.length < 15 ? message.length : 15);
  for (long rest = atol(digits); rest > 0; rest -= (long)sizeof piece) {
    h2_buffer_add(scratch, piece, rest < (long)sizeof piece ? (size_t)rest : sizeof piece);
  }
  *answer = (h2_answer){.body = {scratch->data, scratch->length}};
  return H2_ANSWERED;
}

static h2_outcome say_late(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  char digits[4] = {0};
  (void)state;
  (void)now_us;
  (void)scratch;
  h2_slice message = h2_call_message(call, &whole);
  memcpy(digits, message.data, message.length < 3 ? message.length : 3);
  poll(NULL, 0, atoi(digits));
  *answer = (h2_answer){.body = message};
  return H2_ANSWERED;
}

static sem_t gate;
static atomic_uint at_gate; /* ever */

static h2_outcome wait_at_gate(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch,
                               h2_answer *answer) {
  (void)state;
  (void)call;
  (void)now_us;
  (void)scratch;
  atomic_fetch_add(&at_gate, 1);
  while (sem_wait(&gate) != 0) continue;
  *answer = (h2_answer){0};
  return H2_ANSWERED;
}

static h2_outcome say_words(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  (void)state;
  (void)now_us;
  (void)scratch;
  *answer = (h2_answer){.status = 9, .message = h2_call_message(call, &whole)};
  return H2_ANSWERED;
}

static h2_outcome say_fields(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  (void)now_us;
  (void)scratch;
  *answer = (h2_answer){.status = *(int *)state, .trailing = h2_call_message(call, &whole)};
  if (answer->status) answer->initial = answer->trailing;
  return H2_ANSWERED;
}

static void answer_up(h2_server *server) {
  h2_call *call;
  int cancelled, whole;
  while ((call = h2_server_take(server, &cancelled)) != NULL) {
    h2_slice message = h2_call_message(call, &whole), path = h2_call_path(call);
    h2_answer answer = {.trailing = h2_call_fields(call), .body = message};
    static const char held[] = "/test.Echo/Held";
    if (!cancelled && path.length == sizeof held - 1 && memcmp(path.data, held, path.length) == 0) continue;
    char timeout[24];
    snprintf(timeout, sizeof timeout, "%lld", (long long)h2_call_timeout_us(call));
    h2_buffer initial = {0};
    h2_fields_add(&initial, text("x-path"), path);
    h2_fields_add(&initial, text("x-peer"), text(h2_call_peer(call)));
    h2_fields_add(&initial, text("x-timeout-us"), text(timeout));
    answer.initial = (h2_slice){initial.data, initial.length};
    if (!whole) answer = (h2_answer){.status = 3, .message = text("no message")};
    h2_call_end(call, &answer);
    h2_buffer_free(&initial);
  }
  h2_server_flush(server);
}

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un path;
} address;

static int listening(const char *place) {
  address at = {.v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
  int one = 1, none = 0;
  if (strcmp(place, "6") == 0) at = (address){.v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any}};
  if (place[0] == '/') {
    at = (address){.path = {.sun_family = AF_UNIX}};
    snprintf(at.path.sun_path, sizeof at.path.sun_path, "%s", place);
  }
  int fd = socket(at.any.sa_family, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof none);
  socklen_t length = at.any.sa_family == AF_UNIX ? sizeof at.path : sizeof at.v6;
  if (at.any.sa_family == AF_INET) length = sizeof at.v4;
  if (bind(fd, &at.any, length) != 0 || listen(fd, 512) != 0) {
    perror("echo");
    exit(1);
  }
  getsockname(fd, &at.any, &length);
  printf("%d\n", at.any.sa_family == AF_UNIX ? 0 : ntohs(at.v4.sin_port));
  fflush(stdout);
  return fd;
}

static void set(h2_config *config, const char *word) {
  struct {
    const char *name;
    uint32_t *place;
  } names[] = {
      {"threads", &config->threads},
      {"max_connections", &config->max_connections},
      {"max_streams", &config->max_streams},
      {"max_header_bytes", &config->max_header_bytes},
      {"max_message_bytes", &config->max_message_bytes},
      {"max_in_flight", &config->max_in_flight},
      {"max_resets", &config->max_resets},
      {"max_pings", &config->max_pings},
      {"max_settings", &config->max_settings},
      {"idle_ms", &config->idle_ms},
      {"message_ms", &config->message_ms},
      {"write_ms", &config->write_ms},
  };
  const char *equals = strchr(word, '=');
  size_t length = equals ? (size_t)(equals - word) : 0;
  if (length == strlen("max_waiting_bytes") && strncmp(word, "max_waiting_bytes", length) == 0) {
    config->max_waiting_bytes = strtoull(equals + 1, NULL, 10);
    return;
  }
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strlen(names[i].name) == length && strncmp(word, names[i].name, length) == 0) {
      *names[i].place = (uint32_t)strtoul(equals + 1, NULL, 10);
      return;
    }
  }
  fprintf(stderr, "echo: %s is no bound\n", word);
  exit(2);
}

static void say(const h2_server *server) {
  h2_stats stats;
  h2_server_stats(server, &stats);
  unsigned long long compiled = 0, failed = 0, microseconds = 0, quick = 0, all = 0;
  for (int method = 0; method < H2_METHODS; method++) {
    compiled += stats.calls[method];
    failed += stats.failed[method];
    microseconds += stats.nanoseconds[method] / 1000;
    for (int bucket = 0; bucket <= H2_BUCKETS; bucket++) {
      all += stats.seconds[method][bucket];
      if (bucket < H2_BUCKETS && h2_buckets[bucket] <= 0.05) quick += stats.seconds[method][bucket];
    }
  }
  printf("{\"compiled\": %llu, \"failed\": %llu, \"microseconds\": %llu, \"within_50_ms\": %llu, \"in_buckets\": %llu, "
         "\"up\": %llu, \"refused\": %llu, \"cancelled\": %llu, \"accepted\": %llu, "
         "\"connections\": %llu, \"in_flight\": %llu, \"waiting_bytes\": %llu",
         compiled, failed, microseconds, quick, all, (unsigned long long)stats.up, (unsigned long long)stats.refused, (unsigned long long)stats.cancelled, (unsigned long long)stats.accepted,
         (unsigned long long)stats.connections, (unsigned long long)stats.in_flight,
         (unsigned long long)stats.waiting_bytes);
  struct mallinfo2 memory = mallinfo2();
  printf(", \"at_gate\": %u, \"allocated\": %zu", atomic_load(&at_gate), memory.uordblks + memory.hblkhd);
  for (int cap = 0; cap < H2_CAPS; cap++) {
    printf(", \"cap_%s\": %llu", h2_cap_names[cap], (unsigned long long)stats.caps[cap]);
  }
  printf("}\n");
  fflush(stdout);
}

/* Reads words from standard input: `stats`, `drain`, `open` (the gate, for one); its end stops the server. */
int main(int count, char **words) {
  h2_config config = {.threads = 1,
                      .max_connections = 1000,
                      .max_streams = 1000,
                      .max_header_bytes = 49152,
                      .max_message_bytes = 65536,
                      .max_in_flight = 10000,
                      .max_waiting_bytes = 64 << 20,
                      .max_resets = 1000,
                      .max_pings = 100,
                      .max_settings = 20,
                      .idle_ms = 600000,
                      .message_ms = 5000,
                      .write_ms = 10000};
  int ok = 0, refused = 7, failed = 9;
  for (int i = 2; i < count; i++) set(&config, words[i]);
  signal(SIGPIPE, SIG_IGN);
  sem_init(&gate, 0, 0);
  setvbuf(stdin, NULL, _IONBF, 0); /* what has been read is not seen by poll */
  int listener = listening(count > 1 ? words[1] : "4");
  h2_server *server = h2_server_new(&config);
  h2_server_handle(server, "/test.Echo/Compiled", echo, &ok);
  h2_server_handle(server, "/test.Echo/Refused", echo, &refused);
  h2_server_handle(server, "/test.Echo/Large", say_much, NULL);
  h2_server_handle(server, "/test.Echo/Slow", say_late, NULL);
  h2_server_handle(server, "/test.Echo/Gate", wait_at_gate, NULL);
  h2_server_handle(server, "/test.Echo/Words", say_words, NULL);
  h2_server_handle(server, "/test.Echo/Fields", say_fields, &ok);
  h2_server_handle(server, "/test.Echo/Both", say_fields, &failed);
  int error = h2_server_start(server, listener);
  if (error) {
    fprintf(stderr, "echo: %s\n", strerror(error));
    return 1;
  }
  struct pollfd waits[] = {{.fd = h2_server_up_fd(server), .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  char line[64];
  while (1) {
    if (poll(waits, 2, -1) < 0 && errno != EINTR) break;
    if (waits[0].revents) answer_up(server);
    if (!waits[1].revents) continue;
    if (fgets(line, sizeof line, stdin) == NULL) break;
    if (strcmp(line, "stats\n") == 0) say(server);
    if (strcmp(line, "drain\n") == 0) h2_server_drain(server);
    if (strcmp(line, "open\n") == 0) sem_post(&gate);
  }
  h2_server_stop(server);
  h2_server_stop(server); /* once more does nothing */
  answer_up(server);
  h2_server_free(server);
  close(listener);
  return 0;
}
