/* Telling the hooks of decorated functions; each returns -1 with an error. */

#ifndef ASYNCTRACE_HOOKS_H
#define ASYNCTRACE_HOOKS_H

#include "events.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

int set_hooks(Core *core, PyObject *hooks); /* None: there are none */
void drop_hooks(Core *core);

enum { ROOT = -1 }; /* the awaiter of a coroutine of which it is known that it is its task's root */

/* A coroutine starts, of a code that is decorated: that is looked up in `traced_codes`, NULL where it is known. */
int tell_started(Core *core, int64_t id, PyObject *code, int64_t awaiter, PyObject *traced_codes);
int tell_driven(Core *core, int64_t id, bool is_resumed); /* else suspended */
int tell_finished(Core *core, int64_t id, int outcome, PyObject *error);
int tell_step_started(Core *core, TaskEntry *entry, PyObject *task, bool is_first);
int tell_step_ended(Core *core, TaskEntry *entry, PyObject *task, int flags); /* `task` may be NULL: it is gone */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
