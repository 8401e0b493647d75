/* Folding events in C: its reference is `Fold` in asynctrace/recorder/fold.py. */

#ifndef ASYNCTRACE_FOLD_H
#define ASYNCTRACE_FOLD_H

#include "event_reader.h"
#include "living.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

/* Fold an event, of a thread's in their order. After a MemoryError the fold is as it was before this event. */
int fold_event(void *fold, const struct event *event);

/* To be called after the last of some events, and after an error. */
void fold_pause(struct fold *fold);

/* What each kind of event does. They return 0; or -1 with a MemoryError, and have changed nothing then. */

/* fold_tasks.c */
int task_created(struct fold *fold, const struct event *event);
int task_ready(struct fold *fold, const struct event *event);
int step_started(struct fold *fold, const struct event *event);
int step_finished(struct fold *fold, const struct event *event);
int await_stack(struct fold *fold, const struct event *event);
int task_collected(struct fold *fold, const struct event *event);

/* fold_coroutines.c */
int coroutine_started(struct fold *fold, const struct event *event);
int coroutine_suspended(struct fold *fold, const struct event *event);
int coroutine_resumed(struct fold *fold, const struct event *event);
int coroutine_finished(struct fold *fold, const struct event *event);
void end_coroutine(struct fold *fold, int64_t id, struct coroutine_life *life); /* and what it stands in */

/* fold_calls.c */
int call_started(struct fold *fold, const struct event *event);
int call_finished(struct fold *fold, const struct event *event);
int job_submitted(struct fold *fold, const struct event *event);
int job_forgotten(struct fold *fold, const struct event *event);
void drop_jobs(struct fold *fold); /* those that were forgotten and that nobody awaits */

/* What runs on a thread. */

static inline struct numbers *
running_on(struct thread_life *thread)
{
    return thread->step_count ? &thread->steps[thread->step_count - 1].running : &thread->bare;
}

static inline int64_t
task_on(const struct thread_life *thread)
{
    return thread->step_count ? thread->steps[thread->step_count - 1].task : 0;
}

static inline bool
is_last(const struct numbers *numbers, int64_t number)
{
    return numbers->count && numbers->items[numbers->count - 1] == number;
}

static inline struct coroutine_life *
coroutine_of(const struct fold *fold, int64_t id)
{
    return table_find(&fold->coroutines, id);
}

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
