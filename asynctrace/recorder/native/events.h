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

int pack(Packed *event, const Core *core, int64_t time_ns, uint32_t thread, int kind, int64_t subject, int64_t other,
         int64_t site, int flags);
int add_fields(Core *core, PyObject *fields);       /* a tuple of seven */
PyObject *take_events(Core *core);                  /* new reference: bytes; the blocks are empty then */
PyObject *copy_events(const Core *core);            /* new reference: bytes */
void free_events(Core *core);

PyObject *unpack_events(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *settle_events(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
