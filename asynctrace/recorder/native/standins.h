/* Stand-ins for decorated coroutines, and the await stacks that are read through them. */

#ifndef ASYNCTRACE_STANDINS_H
#define ASYNCTRACE_STANDINS_H

#include "native.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

/* standins.c */
typedef struct {
    PyObject_HEAD
    PyObject *coroutine; /* a coroutine of Python's own type, as long as this lives */
    PyObject *weak_references;
    Core *core;
    PyObject *guard;
    int64_t id;      /* 0 until it starts */
    int64_t earlier; /* the coroutine that ran when this one went on */
    bool is_running; /* it is being driven through this: what is sent to it now it refuses */
    bool has_ended;
} TracedCoroutine;
extern PyTypeObject TracedCoroutine_Type;

/* stacks.c */
extern PyTypeObject StackNotes_Type;

/* Append the await stack of a task whose step ends with a suspension; -1 and an error. The probe has a `note_stack`. */
int note_stack(LoopState *probe, int64_t time_ns, int64_t thread, TaskEntry *entry, PyObject *task);

/* suspended.c: of a coroutine or generator of Python's own types. */
bool is_suspended(PyObject *coroutine);
int64_t offset_of(PyObject *coroutine);  /* of its instruction, once it has started, while it does not run; -1 and an error */
PyObject *awaited_by(PyObject *coroutine); /* new reference, perhaps to None; NULL and an error */
int has_frame(PyObject *coroutine);      /* 0: it has come to its end; -1 and an error */
int learn_suspended(void);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
