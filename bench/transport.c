/* The hot port's transport without Python, for the benchmark: `transport PORT` says back what is sent to
 * /bench.Transport/Echo, on its one thread, until it is told to end. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "h2.h"

static h2_outcome echo(void *state, const h2_call *call, int64_t now_us, h2_buffer *scratch, h2_answer *answer) {
  int whole;
  (void)state;
  (void)now_us;
  (void)scratch;
  answer->body = h2_call_message(call, &whole);
  return H2_ANSWERED;
}

static int listening(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 512) != 0) {
    perror("transport");
    exit(1);
  }
  return fd;
}

int main(int count, char **words) {
  /* As the settings of a service have them by default. */
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
  if (count != 2) {
    fprintf(stderr, "usage: transport PORT\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  int listener = listening(atoi(words[1]));
  h2_server *server = h2_server_new(&config);
  if (server == NULL || h2_server_handle(server, "/bench.Transport/Echo", echo, NULL) < 0) return 1;
  int error = h2_server_start(server, listener);
  if (error) {
    fprintf(stderr, "transport: %s\n", strerror(error));
    return 1;
  }
  while (1) pause();
}
