/* What a fold keeps of each that is alive: see asynctrace/recorder/living.py, which says what it means.
 *
 * They refer to each other by id. What returns an int or a pointer to something new returns -1 or NULL with a
 * MemoryError, and has changed nothing then.
 */

#ifndef ASYNCTRACE_LIVING_H
#define ASYNCTRACE_LIVING_H

#include "containers.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

enum { UNKNOWN = 0, READY = 1, RUNNING = 2, WAITING = 3 }; /* a task is */

struct task_life {
    int64_t thread, creator, site, loop, awaited, future_type, stack, root;
    struct {
        int64_t thread, other, site, flags;
    } cause;
    int kind;
    bool is_eager, has_cause;
};

struct coroutine_life {
    int64_t site, awaiter, parent, awaits, task, driver, offset, yields;
    bool is_generator, is_moved, is_suspended;
    bool is_passed; /* it is in `passed` of the fold */
};

struct call_life {
    int64_t job, site, flags, depth;
};

struct job_life {
    int64_t thread, task, site, flags, end_site, end_flags;
    bool has_end;
    bool is_forgotten; /* it is in `forgotten_jobs` of the fold */
    bool is_wanted;    /* of use only while jobs are dropped */
};

struct loop_life {
    int64_t seen_by, site, thread, idle_thread;
};

struct step {
    int64_t task;
    struct numbers running; /* the coroutines in it, outermost first */
};

struct thread_life {
    struct step *steps; /* outermost first; past `step_count` are lists, empty or not, that are used again */
    size_t step_count, step_capacity;
    struct numbers bare; /* coroutines outside of any step */
    struct numbers calls;
};

/* Rows of numbers, one after another. */
enum { BLOCKING_WIDTH = 5, FUNCTION_WIDTH = 2, PROCESS_WIDTH = 2 };

struct fold {
    int64_t count; /* how many events were folded */
    struct table tasks, coroutines, threads, calls, jobs, loops; /* from an id to its life, which is owned */
    struct numbers blockings;         /* (thread, subject, other, site, flags), in the order of their beginning */
    struct numbers functions_dropped; /* (site, thread), in the order of the first time */
    struct numbers processes;         /* (thread, pid), the newest last */
    struct numbers ended_tasks;
    size_t passed;         /* how many coroutines go on without an event: one that they await was thrown into */
    size_t forgotten_jobs; /* how many jobs wait to be dropped */
    /* While events are folded: the thread of the last one, or NULL. */
    struct thread_life *here;
    int64_t here_id;
};

/* Return the new life of an id, all zeros; an earlier one of that id is lost. */
void *add_life(struct table *lives, int64_t id, size_t size);
void end_life(struct table *lives, int64_t id);

int reserve(struct numbers *numbers, size_t more); /* room for more */
int reserve_step(struct thread_life *thread);      /* room for one more */
void end_thread(struct table *threads, int64_t id);

/* Return the newest row whose first numbers are these, or NULL. */
int64_t *find_row(const struct numbers *rows, size_t width, const int64_t *key, size_t key_width);
void remove_row(struct numbers *rows, size_t width, int64_t *row);

int fold_copy(struct fold *copy, const struct fold *fold); /* `copy` is all zeros; to be freed after an error, too */
void fold_free(struct fold *fold);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
