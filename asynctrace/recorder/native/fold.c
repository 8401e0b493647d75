/* Folding events: who is alive, and in what state, after each.
 *
 * For each kind of event there is what `Fold.advance` in fold.py does, which has the reasons. An event asks for all
 * the memory that it may need before it changes anything: so it is folded whole or not at all.
 */

#include "fold.h"

enum { MOST_PROCESSES = 1000 };

static int
blocking_started(struct fold *fold, const struct event *event)
{
    const int64_t found[BLOCKING_WIDTH] = {event->thread, event->subject, event->other, event->site, event->flags};
    int64_t *row = find_row(&fold->blockings, BLOCKING_WIDTH, found, 2);
    if (row == NULL) {
        if (reserve(&fold->blockings, BLOCKING_WIDTH) < 0) {
            return -1;
        }
        row = fold->blockings.items + fold->blockings.count;
        fold->blockings.count += BLOCKING_WIDTH;
    }
    memcpy(row, found, sizeof(found));
    return 0;
}

static int
blocking_finished(struct fold *fold, const struct event *event)
{
    const int64_t key[2] = {event->thread, event->subject};
    int64_t *row = find_row(&fold->blockings, BLOCKING_WIDTH, key, 2);
    if (row != NULL) {
        remove_row(&fold->blockings, BLOCKING_WIDTH, row);
    }
    return 0;
}

static int
loop_seen(struct fold *fold, const struct event *event)
{
    struct loop_life *life = add_life(&fold->loops, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    life->seen_by = event->thread;
    life->site = event->site;
    life->thread = event->flags & SEEN_LATE ? event->thread : 0;
    return 0;
}

static int
loop_gone(struct fold *fold, const struct event *event)
{
    end_life(&fold->loops, event->subject);
    return 0;
}

static int
loop_idle(struct fold *fold, const struct event *event)
{
    struct loop_life *life = table_find(&fold->loops, event->subject);
    if (life != NULL) {
        life->idle_thread = event->kind == LOOP_IDLE_STARTED ? event->thread : 0;
    }
    return 0;
}

static int
process_started(struct fold *fold, const struct event *event)
{
    struct numbers *processes = &fold->processes;
    if (reserve(processes, PROCESS_WIDTH) < 0) {
        return -1;
    }
    if (processes->count == MOST_PROCESSES * PROCESS_WIDTH) {
        remove_row(processes, PROCESS_WIDTH, processes->items);
    }
    processes->items[processes->count++] = event->thread;
    processes->items[processes->count++] = event->other;
    return 0;
}

static int
function_dropped(struct fold *fold, const struct event *event)
{
    struct numbers *dropped = &fold->functions_dropped;
    int64_t *row = find_row(dropped, FUNCTION_WIDTH, &event->site, 1);
    if (row == NULL) {
        if (reserve(dropped, FUNCTION_WIDTH) < 0) {
            return -1;
        }
        row = dropped->items + dropped->count;
        dropped->count += FUNCTION_WIDTH;
    }
    row[0] = event->site;
    row[1] = event->thread;
    return 0;
}

/* By kind; what is not here changes nothing that is kept. */
static int (*const handlers[])(struct fold *, const struct event *) = {
    [TASK_CREATED] = task_created,
    [TASK_READY] = task_ready,
    [STEP_STARTED] = step_started,
    [STEP_FINISHED] = step_finished,
    [AWAIT_STACK] = await_stack,
    [TASK_COLLECTED] = task_collected,
    [COROUTINE_STARTED] = coroutine_started,
    [COROUTINE_SUSPENDED] = coroutine_suspended,
    [COROUTINE_RESUMED] = coroutine_resumed,
    [COROUTINE_FINISHED] = coroutine_finished,
    [CALL_STARTED] = call_started,
    [CALL_FINISHED] = call_finished,
    [JOB_SUBMITTED] = job_submitted,
    [JOB_FORGOTTEN] = job_forgotten,
    [BLOCKING_STARTED] = blocking_started,
    [BLOCKING_FINISHED] = blocking_finished,
    [LOOP_SEEN] = loop_seen,
    [LOOP_IDLE_STARTED] = loop_idle,
    [LOOP_IDLE_FINISHED] = loop_idle,
    [PROCESS_STARTED] = process_started,
    [FUNCTION_DROPPED] = function_dropped,
    [LOOP_GONE] = loop_gone,
};

static int
enter_thread(struct fold *fold, int64_t id)
{
    struct thread_life *thread = table_find(&fold->threads, id);
    if (thread == NULL && (thread = add_life(&fold->threads, id, sizeof(*thread))) == NULL) {
        return -1;
    }
    fold->here = thread;
    fold->here_id = id;
    return 0;
}

int
fold_event(void *target, const struct event *event)
{
    struct fold *fold = target;
    if ((fold->here == NULL || fold->here_id != event->thread) && enter_thread(fold, event->thread) < 0) {
        return -1;
    }
    bool is_known = event->kind < (int64_t)(sizeof(handlers) / sizeof(handlers[0])) && handlers[event->kind] != NULL;
    if (is_known && handlers[event->kind](fold, event) < 0) {
        return -1;
    }
    int64_t more = event->kind == LOST ? event->other : 1;
    fold->count = more < INT64_MAX - fold->count ? fold->count + more : INT64_MAX; /* as much as any field can tell */
    return 0;
}

void
fold_pause(struct fold *fold)
{
    fold->here = NULL;
    for (size_t index = 0; index < fold->threads.capacity;) {
        struct entry entry = fold->threads.entries[index];
        const struct thread_life *thread = (void *)(uintptr_t)entry.value;
        if (thread != NULL && thread->step_count == 0 && thread->bare.count == 0 && thread->calls.count == 0) {
            end_thread(&fold->threads, entry.key); /* another may come to stand in its place */
            continue;
        }
        index++;
    }
    if (fold->forgotten_jobs) {
        drop_jobs(fold);
    }
    struct table *tables[] = {&fold->tasks, &fold->coroutines, &fold->threads,
                              &fold->calls, &fold->jobs,       &fold->loops};
    for (size_t index = 0; index < sizeof(tables) / sizeof(tables[0]); index++) {
        table_fit(tables[index]);
    }
}
