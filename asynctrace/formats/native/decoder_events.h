/* Reading the events of a .pftrace: plain C, over bytes that may be anything. */

#ifndef ASYNCTRACE_DECODER_EVENTS_H
#define ASYNCTRACE_DECODER_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#define FIELDS 7 /* of an event: time_ns, thread, kind, subject, other, site, flags */

struct event_reader {
    const uint8_t *content; /* of the whole file */
    size_t size;
    size_t position;        /* where a packet begins */
    const uint8_t *threads; /* the threads by their number, 8 bytes each, perhaps not aligned */
    size_t thread_count;
    uint64_t clock_ns;      /* of the packet before */
    int64_t thread;         /* and of the event before */
    int64_t subject;
};

/* Read events from the reader's position on, and pass over the packets between them that hold none.
 *
 * Stops where `most` were read, and before any packet that is for the reference to read: one of a table, one that is
 * cut or damaged, an event that is late, of a new thread, or with a number beyond 63 bits. The reader then stands at
 * that packet, its state that after the packet before. Returns how many events were written to `fields`. */
size_t read_events(struct event_reader *reader, int64_t *fields, size_t most);

#endif
