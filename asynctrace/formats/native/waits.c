/* What a task waited for, and what made it ready: see perfetto_waits.py, and the waits in perfetto_slices.py. */

#include "encoder.h"

/* What the coroutines say that a task stands in, and the names of the wait by the innermost await of the user's code and
 * by that of a library inside it. */
static int
look_at_coroutines(struct encoder *encoder, const struct task *task, struct name *named, struct name *library,
                   int64_t *code)
{
    bool is_innermost = true, is_code_known = false;
    for (size_t index = task->track.count; index > 0 && !named->size; index--) {
        struct coroutine *coroutine = table_find(&encoder->coroutines, task->track.slices[index - 1].key);
        if (coroutine == NULL) {
            continue;
        }
        int64_t about;
        if (code_of(encoder, coroutine->site, &about) < 0) {
            return -1;
        }
        if (!is_code_known) {
            int64_t here = (is_innermost ? about : about >> CODE_ELSEWHERE) & CODE_MASK;
            is_code_known = (about & USER_CODE) || here == LOOK_UP;
            if (here && !(about & USER_CODE)) {
                *code = here;
            }
        }
        is_innermost = false;
        const struct name *name = wait_at(encoder, coroutine->site, coroutine->offset);
        if (name == NULL) {
            return -1;
        }
        struct name *found = about & USER_CODE ? named : library;
        if (!found->size) {
            *found = *name;
        }
    }
    return 0;
}

/* Return what is known of a wait before its end; -1 on an error. */
static int64_t
situation_of(struct encoder *encoder, const struct event *event, int64_t code)
{
    int64_t about = 0;
    if (event->site && code_of(encoder, event->site, &about) < 0) {
        return -1;
    }
    int64_t job = (int64_t)table_get(&encoder->jobs, event->other);
    return code | (table_find(&encoder->tasks, event->other) != NULL ? FOR_TASK : 0) | job << JOB_SHIFT |
           (about & GATHERING_TYPE ? FOR_GATHER : 0);
}

/* Open the wait of a task, named by the user's innermost await, else by the task awaited, else by a library's await. */
int
open_wait(struct encoder *encoder, struct task *task, const struct event *event)
{
    struct name named = {0}, library = {0};
    int64_t code = 0;
    if (task->has_stack) {
        named = task->wait;
        library = task->library;
        code = task->wait_code;
    }
    if (!named.size) {
        int64_t of_coroutines = 0;
        if (look_at_coroutines(encoder, task, &named, &library, &of_coroutines) < 0) {
            return -1;
        }
        if (!task->has_stack) {
            code = of_coroutines;
        }
    }
    /* Of coroutines too deep to be shown it is not known here what they say. */
    if (task->has_stack || task->track.count < task->track.deepest) {
        task->situation = situation_of(encoder, event, code);
        if (task->situation < 0) {
            return -1;
        }
    }
    if (!named.size && wait_name(encoder, event->other, event->site, &library, &named) < 0) {
        return -1;
    }
    task->is_ready = false;
    return track_push(encoder, &task->track, STATE_SLICE, &named, 0);
}

/* Add to `once`, for the end of a task's state, which kind of wait it was, or what is untold yet. */
int
add_end_of_state(struct encoder *encoder, struct task *task, int64_t cause)
{
    int64_t situation = task->situation;
    task->situation = -1;
    if (situation < 0) {
        bool has_cause = task->has_cause;
        task->has_cause = false;
        return has_cause ? add_name(encoder, &task->cause) : 0;
    }
    if (table_find(&encoder->tasks, task->awaited) != NULL) {
        situation |= FOR_TASK;
    }
    return add_kind(encoder, situation | cause << CAUSE_SHIFT);
}

/* Find the fields that say what made a task ready. */
int
because_of(struct encoder *encoder, const struct event *event, struct name *found)
{
    int64_t kind = event->flags & CAUSE_MASK;
    if (kind == CAUSE_THREAD) {
        struct thread *thread = thread_of(encoder, event->other);
        if (thread == NULL || cause_thread(encoder, thread) < 0) {
            return -1;
        }
        *found = thread->cause;
        return 0;
    }
    if (kind != CAUSE_TASK) {
        const struct name *cause = cause_of(encoder, kind, event->site);
        if (cause == NULL) {
            return -1;
        }
        *found = *cause;
        return 0;
    }
    struct task *waker = table_find(&encoder->tasks, event->other);
    if (waker == NULL) {
        return cause_task(encoder, event->other, 0, found);
    }
    if (!waker->as_waker.size && cause_task(encoder, waker->id, waker->root_site, &waker->as_waker) < 0) {
        return -1;
    }
    *found = waker->as_waker;
    return 0;
}
