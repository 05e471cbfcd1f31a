/* A server for tests of the transport alone: `echo PORT [name=number ...]`, any bound of h2_config by its name.
 *
 * /test.Echo/Compiled  answered on its thread with the message itself
 * /test.Echo/Refused   the same with status 7, a message and a detail
 * /test.Echo/Held      goes up, and is not answered until its caller has gone
 * anything else        goes up, and is answered with the message; trailers are the caller's fields, what else is known
                        of the call is in the fields before it
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static int listening(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 512) != 0) {
    perror("echo");
    exit(1);
  }
  socklen_t length = sizeof address;
  getsockname(fd, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
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
  printf("{\"compiled\": %llu, \"up\": %llu, \"refused\": %llu, \"cancelled\": %llu, \"accepted\": %llu, "
         "\"connections\": %llu, \"in_flight\": %llu, \"waiting_bytes\": %llu",
         (unsigned long long)(stats.calls[0] + stats.calls[1]), (unsigned long long)stats.up,
         (unsigned long long)stats.refused, (unsigned long long)stats.cancelled, (unsigned long long)stats.accepted,
         (unsigned long long)stats.connections, (unsigned long long)stats.in_flight,
         (unsigned long long)stats.waiting_bytes);
  for (int cap = 0; cap < H2_CAPS; cap++) printf(", \"cap_%s\": %llu", h2_cap_names[cap], (unsigned long long)stats.caps[cap]);
  printf("}\n");
  fflush(stdout);
}

/* Reads words from standard input: `stats`, `drain`; its end stops the server. */
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
  int ok = 0, refused = 7;
  for (int i = 2; i < count; i++) set(&config, words[i]);
  signal(SIGPIPE, SIG_IGN);
  int listener = listening(count > 1 ? atoi(words[1]) : 0);
  h2_server *server = h2_server_new(&config);
  h2_server_handle(server, "/test.Echo/Compiled", echo, &ok);
  h2_server_handle(server, "/test.Echo/Refused", echo, &refused);
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
  }
  h2_server_stop(server);
  answer_up(server);
  h2_server_free(server);
  close(listener);
  return 0;
}
