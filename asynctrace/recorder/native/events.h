/* Events in memory, a few bytes each; and what is done with many of them at once.
 *
 * Memory that is written for the first time costs a program more than what is written there, so an event is made small:
 *
 *     [31, thread]  if it is not the thread of the event before
 *     head          its kind, and which of the last three there are
 *     time          difference to the event before
 *     subject       difference to the event before
 *     [other]       difference to the subject
 *     [site] [flags]
 *
 * All but the head are varints, 7 bits a byte; differences are signed, small ones small (zigzag). In a block the first
 * event follows one of zeros, so each can be read on its own.
 */

#ifndef ASYNCTRACE_EVENTS_H
#define ASYNCTRACE_EVENTS_H

#include "native.h"
#include "varints.h"

enum { SMALLEST_BLOCK = 4096, LARGEST_BLOCK = 65536, LONGEST_EVENT = 72 /* bytes */ };
enum { OTHER_THREAD = 31, HAS_OTHER = 32, HAS_SITE = 64, HAS_FLAGS = 128 };

/* Where an event is written to or read from, and the one before it. */
typedef struct {
    uint8_t *place;
    uint64_t time_ns, thread, subject;
} Cursor;

struct Block {
    Block *next;
    size_t count; /* of events */
    uint8_t *end; /* of the bytes */
    Cursor cursor;
    uint8_t bytes[];
};

static inline void
write_event(Cursor *cursor, uint64_t time_ns, uint64_t thread, unsigned kind, uint64_t subject, uint64_t other,
            uint64_t site, uint64_t flags)
{
    uint8_t *place = cursor->place;
    if (thread != cursor->thread) {
        *place++ = OTHER_THREAD;
        place = put_varint(place, thread);
        cursor->thread = thread;
    }
    *place++ = (uint8_t)(kind | (other ? HAS_OTHER : 0) | (site ? HAS_SITE : 0) | (flags ? HAS_FLAGS : 0));
    place = put_varint(place, zigzag(time_ns - cursor->time_ns));
    place = put_varint(place, zigzag(subject - cursor->subject));
    if (other) {
        place = put_varint(place, zigzag(other - subject));
    }
    if (site) {
        place = put_varint(place, site);
    }
    if (flags) {
        place = put_varint(place, flags);
    }
    cursor->time_ns = time_ns;
    cursor->subject = subject;
    cursor->place = place;
}

int make_room(Core *core);   /* for one more event at least; -1 and MemoryError */
int refuse_event(void);      /* -1 and OverflowError */

/* Append an event; -1 and an error. In the header, for this is done all the time. */
static inline int
append(Core *core, int64_t time_ns, int64_t thread, int kind, int64_t subject, int64_t other, int64_t site, int flags)
{
    Block *block = core->last;
    if (block == NULL || block->end - block->cursor.place < LONGEST_EVENT) {
        if (make_room(core) < 0) {
            return -1;
        }
        block = core->last;
    }
    if (kind <= 0 || kind >= OTHER_THREAD || flags < 0) {
        return refuse_event();
    }
    write_event(&block->cursor, (uint64_t)time_ns, (uint64_t)thread, (unsigned)kind, (uint64_t)subject, (uint64_t)other,
                (uint64_t)site, (uint64_t)flags);
    block->count++;
    core->count++;
    return 0;
}

int add_fields(Core *core, PyObject *fields); /* a tuple of seven */
PyObject *take_events(Core *core);            /* new reference: packed bytes; the blocks are empty then */
PyObject *copy_events(const Core *core);      /* new reference: packed bytes */
void free_events(Core *core);
size_t bytes_of_events(const Core *core);

PyObject *count_events(PyObject *module, PyObject *packed);
PyObject *earliest_event(PyObject *module, PyObject *packed);
PyObject *unpack_events(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *settle_events(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *slice_events(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
