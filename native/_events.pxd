"""Words that threads leave of calls for whoever reads them under the interpreter lock: bounded, never waited for.

There are two buffers. Threads fill one under a lock; who reads exchanges it for the other, empty one and takes its time.
What finds no room is counted.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from native._slots cimport spin_lock, spin_unlock


cdef enum:
    EVENTS = 128
    # Longer messages go up.
    MESSAGE_BYTES = 2048
    CORRELATION_BYTES = 128
    PEER_BYTES = 80


cdef struct CEvent:
    uint64_t serial
    int64_t duration_us
    uint32_t method
    uint32_t refused
    uint32_t logged
    uint32_t response_size
    uint32_t message_size
    uint32_t correlation_size
    char peer[PEER_BYTES]
    char correlation[CORRELATION_BYTES]
    char message[MESSAGE_BYTES]


cdef struct CEvents:
    uint32_t lock
    uint32_t count
    # Which of the two is filled.
    uint32_t filled
    # Since the last exchange.
    uint64_t dropped
    uint64_t dropped_refused
    CEvent *buffers[2]


cdef inline void leave_word(
    CEvents *events, const CEvent *word, const char *message, const char *correlation, const char *peer
) noexcept nogil:
    """Adds `word` with these texts, of the sizes that it says; `peer` ends with 0."""
    cdef CEvent *event
    cdef size_t size = 0
    while size < PEER_BYTES - 1 and peer[size]:
        size += 1
    spin_lock(&events.lock)
    if events.count == EVENTS:
        events.dropped += 1
        events.dropped_refused += word.refused != 0
    else:
        event = events.buffers[events.filled] + events.count
        # All but its texts.
        memcpy(event, word, <char *> &event.peer - <char *> event)
        memcpy(event.message, message, word.message_size)
        memcpy(event.correlation, correlation, word.correlation_size)
        memcpy(event.peer, peer, size)
        event.peer[size] = 0
        events.count += 1
    spin_unlock(&events.lock)
