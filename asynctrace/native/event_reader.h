/* Events as C sees them, and how it gets them: one by one as tuples, or flat. See events.py. */

#ifndef ASYNCTRACE_EVENT_READER_H
#define ASYNCTRACE_EVENT_READER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

/* The kinds of events, and their flags: see events.py. */
enum {
    TASK_CREATED = 1,
    TASK_READY = 2,
    STEP_STARTED = 3,
    STEP_FINISHED = 4,
    AWAIT_STACK = 5,
    TASK_COLLECTED = 6,
    COROUTINE_STARTED = 7,
    COROUTINE_SUSPENDED = 8,
    COROUTINE_RESUMED = 9,
    COROUTINE_FINISHED = 10,
    CALL_STARTED = 11,
    CALL_FINISHED = 12,
    JOB_SUBMITTED = 13,
    JOB_FORGOTTEN = 14,
    BLOCKING_STARTED = 15,
    BLOCKING_FINISHED = 16,
    LOOP_SEEN = 17,
    LOOP_IDLE_STARTED = 18,
    LOOP_IDLE_FINISHED = 19,
    CALLBACK_RAN = 20,
    MARK = 21,
    LOST = 22,
    PROCESS_STARTED = 23,
    FUNCTION_DROPPED = 24,
    LOOP_GONE = 25,
};
enum { RAISED = 2, CLOSED = 4, OUTCOME_MASK = 7 };
enum { CAUSE_UNKNOWN = 0, CAUSE_TASK = 1, CAUSE_THREAD = 4, CAUSE_MASK = 7 };
enum { JOB_OTHER = 0, JOB_PROCESS = 2, JOB_MASK = 7 };
enum { THROWN = 8, EAGER = 16, SEEN_LATE = 32, YIELDED = 64, ASYNC_GENERATOR = 256 };

/* Its fields are in the order of an event's tuple, and of the seven numbers of a flat one. None is negative. */
struct event {
    int64_t time_ns;
    int64_t thread;
    int64_t kind;
    int64_t subject;
    int64_t other;
    int64_t site;
    int64_t flags;
};

/* Hand each event to a function, which returns -1 to end it with an exception, else 0; return the last.
 *
 * Events are an iterable of tuples, or a buffer of seven integers each, of 64 bits with a sign. A number that does not
 * fit in 63 bits raises `error`. The function may run any code.
 */
int each_event(PyObject *events, PyObject *error, int (*take)(void *target, const struct event *event), void *target);

#endif
