/* Steps that no run of a loop surrounds. */

#ifndef ASYNCTRACE_BARE_STEPS_H
#define ASYNCTRACE_BARE_STEPS_H

#include "native.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

/* As asynctrace.probes.coroutines.BareStep. */
typedef struct {
    PyObject_HEAD
    TaskEntry *entry;
    int64_t earlier_task;
    Cause earlier_cause;
    bool had_cause;
    bool is_of_root;
    bool is_late;
} BareStep;
extern PyTypeObject BareStep_Type;

/* Begin the first step of an eager task, whose root starts, at a time. 1: it was one, or its task's step goes on that runs
 * already; 0: that takes a closer look; -1 and an error. */
int begin_bare_step(Core *core, Addresses *bare_steps, ThreadState *state, Frame *frame, int64_t time_ns);

/* What is to be done beside noting that the coroutine of a frame is suspended or has finished. */
typedef enum { NOTHING, END_STEP, LOOK_CLOSER } BareEnd;
BareEnd end_of_bare_step(Core *core, Addresses *bare_steps, ThreadState *state, Frame *frame, int outcome);

/* Do so, for END_STEP. `value`: what it is suspended on. -1 and an error. */
int end_bare_step(Addresses *bare_steps, ThreadState *state, Frame *frame, int outcome, PyObject *value, int64_t time_ns);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
