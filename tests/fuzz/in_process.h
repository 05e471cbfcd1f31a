/* A server whose only loop the fuzzer runs itself: no threads, a clock that stands until it is moved, sockets and
 * memory that give out when they are told to. The same input does the same each time.
 */
#ifndef WAYPOST_FUZZ_IN_PROCESS_H
#define WAYPOST_FUZZ_IN_PROCESS_H

#include <stdio.h>
#include <stdlib.h>

#include "h2/h2.h"

#define CHECK(claim) ((claim) ? (void)0 : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim), abort()))

/* What the server's clock says, and what its sockets and its memory still give. */
typedef struct {
  uint64_t now_ns;
  size_t room;          /* bytes that all sockets together still take; SIZE_MAX: any */
  unsigned allocations; /* the one that fails, counted from here; 0: none */
} fuzz_machine;
extern fuzz_machine machine;

typedef enum { FUZZ_GO_ON, FUZZ_HANG_UP, FUZZ_STOP } fuzz_turn;

/* Serves as long as `turn`, which is asked whenever the loop waits, says to go on. FUZZ_HANG_UP: all clients go and all
 * calls are ended, and nothing may be left; FUZZ_STOP: the server stops with all of them there, some not even taken. */
void fuzz_serve(const h2_config *config, fuzz_turn (*turn)(void *), void *state);

/* Within `turn`: the client's end of a new connection, which is closed at the end, or by the caller and forgotten. */
int fuzz_connect(void);
void fuzz_forget(int fd);
void fuzz_drain(void);

/* A call that went up and is not ended. */
typedef struct {
  h2_call *call;
  int cancelled;
} fuzz_taken;

/* Takes all there are; looks at all of each. */
void fuzz_take(void);
/* Those that were taken, in their order. */
size_t fuzz_taken_count(void);
const fuzz_taken *fuzz_taken_at(size_t number);
/* `answer` is sent once it is flushed. */
void fuzz_end(size_t number, const h2_answer *answer);
void fuzz_flush(void);

/* Paths with compiled handlers: what came; status 5, with what came as its message and as fields around it; nothing,
 * if the message is odd in length, else up. */
#define FUZZ_ECHO "/fuzz.Fuzz/Echo"
#define FUZZ_REFUSE "/fuzz.Fuzz/Refuse"
#define FUZZ_MAYBE "/fuzz.Fuzz/Maybe"

#endif
