/* Events in memory: 32 bytes each, in blocks; and what is done with many of them at once. */

#ifndef ASYNCTRACE_EVENTS_H
#define ASYNCTRACE_EVENTS_H

#include "native.h"

/* Blocks are small at first, for a recording of few events, and 256 KiB later. */
struct Block {
    Block *next;
    size_t size, capacity; /* events */
    Packed events[];
};

/* The subject's eight bytes hold, from the lowest bit on: 48 of the id, one that says that the id counts from the
 * process's first (so that it fits), 6 of the kind, 9 of the flags. */
enum { OWN_BIT = 48, KIND_SHIFT = 49, FLAGS_SHIFT = 55, KIND_BITS = 63, FLAG_BITS = 511 };
#define ID_BITS ((UINT64_C(1) << OWN_BIT) - 1)

int make_room(Core *core); /* for one more event at least; -1 and MemoryError */
int refuse_event(void);    /* -1 and OverflowError */

/* Append an event; -1 and an error. In the header, for this is done all the time. */
static inline int
append(Core *core, int64_t time_ns, int64_t thread, int kind, int64_t subject, int64_t other, int64_t site, int flags)
{
    if ((core->last == NULL || core->last->size == core->last->capacity) && make_room(core) < 0) {
        return -1;
    }
    bool is_own = subject > core->first_id && subject - core->first_id <= (int64_t)ID_BITS;
    uint64_t id = (uint64_t)(is_own ? subject - core->first_id : subject);
    if (id > ID_BITS || (uint64_t)site > UINT32_MAX || (uint64_t)thread > UINT32_MAX || kind & ~KIND_BITS ||
        flags & ~FLAG_BITS) {
        return refuse_event();
    }
    Packed *event = &core->last->events[core->last->size++];
    event->time_ns = time_ns;
    event->other = other;
    event->subject = id | (uint64_t)is_own << OWN_BIT | (uint64_t)kind << KIND_SHIFT | (uint64_t)flags << FLAGS_SHIFT;
    event->thread = (uint32_t)thread;
    event->site = (uint32_t)site;
    core->count++;
    return 0;
}

int add_fields(Core *core, PyObject *fields);       /* a tuple of seven */
PyObject *take_events(Core *core);                  /* new reference: bytes; the blocks are empty then */
PyObject *copy_events(const Core *core);            /* new reference: bytes */
void free_events(Core *core);

PyObject *unpack_events(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *settle_events(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
