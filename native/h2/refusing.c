/* Calls that are not taken: refused at once, or so that others have room. */
#include "internal.h"

enum { RESOURCE_EXHAUSTED = 8 };

/* So many calls are asked to make room for another. */
#define MOST_LOOKED_AT 1024

void h2_call_refuse_with(h2_call *call, int status, const char *message, h2_slice trailing) {
  if (call->state != H2_ARRIVING) return;
  H2_COUNT(call->loop->counts.refused, 1);
  h2_call_forget(call);
  h2_answer answer = {.status = status, .message = h2_text(message), .trailing = trailing};
  h2_call_keep(call, &answer);
  h2_call_answer(call);
}

void h2_call_refuse(h2_call *call, int status, const char *message) {
  h2_call_refuse_with(call, status, message, (h2_slice){NULL, 0});
}

static void refuse_full(h2_call *call) {
  h2_count_cap(call->loop, H2_CAP_WAITING);
  h2_call_refuse(call, RESOURCE_EXHAUSTED, "the server holds as much as it may; try again in a moment");
}

/* Those give way whose callers have kept us waiting longest: what is sent whole must not be refused for what never will
 * be. */
static int make_room(h2_call *call) {
  h2_server *server = call->server;
  h2_timers *arriving = &call->loop->arriving;
  h2_timer *timer = arriving->head.after;
  for (int looked = 0; looked < MOST_LOOKED_AT && timer != &arriving->head && timer != &call->timer; looked++) {
    h2_call *other = H2_OF(h2_call, timer, timer);
    timer = timer->after;
    /* It cannot be answered within its fields. */
    if (!other->has_fields) continue;
    refuse_full(other);
    if (atomic_load_explicit(&server->waiting, memory_order_relaxed) <= server->config.max_waiting_bytes) return 1;
  }
  return 0;
}

int h2_call_take(h2_call *call, size_t bytes) {
  if (h2_call_hold(call, bytes) || make_room(call)) return 1;
  refuse_full(call);
  return 0;
}
