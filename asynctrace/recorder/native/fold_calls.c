/* Folding calls, and the jobs that they are of: see fold.c. */

#include "fold.h"

int
call_started(struct fold *fold, const struct event *event)
{
    struct numbers *open_calls = &fold->here->calls;
    if (reserve(open_calls, 1) < 0) {
        return -1;
    }
    struct call_life *life = add_life(&fold->calls, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    *life = (struct call_life){event->other, event->site, event->flags, (int64_t)fold->here->step_count};
    open_calls->items[open_calls->count++] = event->subject;
    return 0;
}

static void
close_call(struct fold *fold, struct numbers *open_calls, int64_t id)
{
    if (is_last(open_calls, id)) {
        open_calls->count--;
        return;
    }
    for (size_t index = 0; index < open_calls->count; index++) {
        if (open_calls->items[index] == id) {
            for (size_t inner = index + 1; inner < open_calls->count; inner++) {
                end_life(&fold->calls, open_calls->items[inner]); /* of a function that is called too often: no end */
            }
            open_calls->count = index;
            return;
        }
    }
}

int
call_finished(struct fold *fold, const struct event *event)
{
    int64_t job_id = event->subject; /* of a base: the job's call is over */
    if (!(event->flags & SEEN_LATE)) {
        const struct call_life *call = table_find(&fold->calls, event->subject);
        if (call == NULL) {
            return 0;
        }
        job_id = call->job;
        end_life(&fold->calls, event->subject);
        close_call(fold, &fold->here->calls, event->subject);
    }
    struct job_life *job = table_find(&fold->jobs, job_id);
    if (job != NULL) {
        job->has_end = true;
        job->end_site = event->site;
        job->end_flags = event->flags;
    }
    return 0;
}

int
job_submitted(struct fold *fold, const struct event *event)
{
    const struct job_life *earlier = table_find(&fold->jobs, event->subject);
    bool is_forgotten = earlier != NULL && earlier->is_forgotten;
    struct job_life *life = add_life(&fold->jobs, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    life->thread = event->thread;
    life->task = event->other;
    life->site = event->site;
    life->flags = event->flags;
    life->is_forgotten = is_forgotten;
    return 0;
}

int
job_forgotten(struct fold *fold, const struct event *event)
{
    struct job_life *life = table_find(&fold->jobs, event->subject);
    if (life != NULL && !life->is_forgotten) {
        life->is_forgotten = true;
        fold->forgotten_jobs++;
    }
    return 0;
}

static void
want_job(struct fold *fold, int64_t id)
{
    struct job_life *job = table_find(&fold->jobs, id);
    if (job != NULL) {
        job->is_wanted = true;
    }
}

/* Drop the jobs that nothing holds: their call is over, and nobody awaits it still. */
void
drop_jobs(struct fold *fold)
{
    for (size_t index = 0; index < fold->jobs.capacity; index++) {
        struct job_life *job = (void *)(uintptr_t)fold->jobs.entries[index].value;
        if (job != NULL) {
            job->is_wanted = false;
        }
    }
    for (size_t index = 0; index < fold->tasks.capacity; index++) {
        const struct task_life *task = (void *)(uintptr_t)fold->tasks.entries[index].value;
        if (task != NULL && task->kind == WAITING) {
            want_job(fold, task->awaited);
        }
    }
    for (size_t index = 0; index < fold->calls.capacity; index++) {
        const struct call_life *call = (void *)(uintptr_t)fold->calls.entries[index].value;
        if (call != NULL) {
            want_job(fold, call->job);
        }
    }
    for (size_t index = 0; index < fold->jobs.capacity;) {
        struct entry entry = fold->jobs.entries[index];
        const struct job_life *job = (void *)(uintptr_t)entry.value;
        if (job != NULL && job->is_forgotten && !job->is_wanted) {
            end_life(&fold->jobs, entry.key); /* another may come to stand in its place */
            fold->forgotten_jobs--;
            continue;
        }
        index++;
    }
}
