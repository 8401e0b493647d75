/* Folding events: who is alive, and in what state, after each.
 *
 * For each kind of event there is what `Fold.advance` in fold.py does, which has the reasons. An event asks for all
 * the memory that it may need before it changes anything: so it is folded whole or not at all.
 */

#include "fold.h"

enum { MOST_PROCESSES = 1000 };

/* What runs on a thread. */

static struct numbers *
running_on(struct thread_life *thread)
{
    return thread->step_count ? &thread->steps[thread->step_count - 1].running : &thread->bare;
}

static int64_t
task_on(const struct thread_life *thread)
{
    return thread->step_count ? thread->steps[thread->step_count - 1].task : 0;
}

static bool
is_last(const struct numbers *numbers, int64_t number)
{
    return numbers->count && numbers->items[numbers->count - 1] == number;
}

static void
leave(struct numbers *running, int64_t id)
{
    /* A throw and a coroutine driven by hand leave from further down. */
    for (size_t index = running->count; index-- > 0;) {
        if (running->items[index] == id) {
            remove_row(running, 1, &running->items[index]);
            return;
        }
    }
}

static void
leave_step(struct thread_life *thread, int64_t task)
{
    for (size_t index = thread->step_count; index-- > 0;) {
        if (thread->steps[index].task == task) {
            thread->step_count = index;
            return;
        }
    }
}

/* Coroutines. */

static struct coroutine_life *
coroutine_of(const struct fold *fold, int64_t id)
{
    return table_find(&fold->coroutines, id);
}

static void
set_passed(struct fold *fold, struct coroutine_life *life, bool is_passed)
{
    if (life->is_passed != is_passed) {
        life->is_passed = is_passed;
        fold->passed += is_passed ? 1 : (size_t)-1;
    }
}

static void
drop_coroutine(struct fold *fold, int64_t id, struct coroutine_life *life)
{
    set_passed(fold, life, false);
    end_life(&fold->coroutines, id);
}

/* The one that awaits a coroutine goes on, if it does await it. */
static void
leave_awaiter(struct fold *fold, int64_t id, const struct coroutine_life *life)
{
    struct coroutine_life *parent = coroutine_of(fold, life->parent);
    if (parent != NULL && parent->awaits == id) {
        parent->awaits = 0;
    }
}

/* End a coroutine, and what it stands in: CPython closes that without an event at times. */
static void
end_coroutine(struct fold *fold, int64_t id, struct coroutine_life *life)
{
    leave_awaiter(fold, id, life);
    do {
        int64_t inner = life->awaits;
        drop_coroutine(fold, id, life);
        id = inner;
        life = coroutine_of(fold, id);
    } while (life != NULL && !life->is_generator);
}

static int
coroutine_started(struct fold *fold, const struct event *event)
{
    struct numbers *running = running_on(fold->here);
    const struct coroutine_life *earlier = coroutine_of(fold, event->subject);
    bool is_passed = earlier != NULL && earlier->is_passed;
    if (reserve(running, 1) < 0) {
        return -1;
    }
    struct coroutine_life *life = add_life(&fold->coroutines, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    int64_t task = task_on(fold->here);
    life->site = event->site;
    life->awaiter = life->parent = event->other;
    life->task = life->driver = task;
    life->is_generator = (event->flags & ASYNC_GENERATOR) != 0;
    life->is_passed = is_passed;
    struct coroutine_life *parent = coroutine_of(fold, event->other);
    if (parent != NULL) {
        parent->awaits = event->subject;
    }
    else if (task) {
        struct task_life *step = table_find(&fold->tasks, task);
        if (step != NULL && coroutine_of(fold, step->root) == NULL) {
            step->root = event->subject;
        }
    }
    running->items[running->count++] = event->subject;
    return 0;
}

/* Whoever asks for the next value of a generator awaits it now. */
static void
drive(struct fold *fold, int64_t id, struct coroutine_life *life)
{
    const struct numbers *running = running_on(fold->here);
    life->driver = task_on(fold->here);
    life->is_moved = true;
    life->parent = running->count ? running->items[running->count - 1] : 0;
    struct coroutine_life *parent = coroutine_of(fold, life->parent);
    if (parent != NULL) {
        parent->awaits = id;
    }
    life->yields = 0;
}

/* An exception is thrown into a coroutine: those that await it go on without an event. */
static void
pass_awaiters(struct fold *fold, const struct coroutine_life *life)
{
    struct coroutine_life *awaiter = coroutine_of(fold, life->parent);
    while (awaiter != NULL && awaiter->is_suspended && !awaiter->yields) {
        awaiter->is_suspended = false;
        set_passed(fold, awaiter, true);
        awaiter = coroutine_of(fold, awaiter->parent);
    }
}

static int
coroutine_resumed(struct fold *fold, const struct event *event)
{
    struct coroutine_life *life = coroutine_of(fold, event->subject);
    if (life == NULL) {
        return 0;
    }
    struct numbers *running = running_on(fold->here);
    if (reserve(running, 1) < 0) {
        return -1;
    }
    if (life->is_generator && life->yields) {
        drive(fold, event->subject, life);
    }
    life->is_suspended = false;
    set_passed(fold, life, false);
    if (event->flags & THROWN) {
        pass_awaiters(fold, life);
    }
    if (!is_last(running, event->subject)) {
        running->items[running->count++] = event->subject;
    }
    return 0;
}

static void
suspend_passed(struct fold *fold, struct coroutine_life *life)
{
    set_passed(fold, life, false);
    if (life->yields) {
        return;
    }
    struct coroutine_life *awaiter = coroutine_of(fold, life->parent);
    for (size_t left = fold->coroutines.count; left > 0 && awaiter != NULL; left--) {
        if (awaiter->is_passed) {
            set_passed(fold, awaiter, false);
            awaiter->is_suspended = true;
        }
        awaiter = coroutine_of(fold, awaiter->parent);
    }
}

static void
coroutine_suspended(struct fold *fold, const struct event *event)
{
    struct coroutine_life *life = coroutine_of(fold, event->subject);
    if (life == NULL) {
        return;
    }
    life->is_suspended = true;
    life->offset = event->site;
    life->yields = event->flags & YIELDED;
    if (life->yields && life->is_generator) {
        leave_awaiter(fold, event->subject, life); /* a value for its consumer, who goes on */
    }
    if (fold->passed) {
        suspend_passed(fold, life);
    }
    leave(running_on(fold->here), event->subject);
}

static void
coroutine_finished(struct fold *fold, const struct event *event)
{
    struct coroutine_life *life = coroutine_of(fold, event->subject);
    if (life == NULL) {
        return;
    }
    if (life->awaits) {
        end_coroutine(fold, event->subject, life);
    }
    else {
        leave_awaiter(fold, event->subject, life);
        drop_coroutine(fold, event->subject, life);
    }
    leave(running_on(fold->here), event->subject);
}

/* Tasks. */

static int
task_created(struct fold *fold, const struct event *event)
{
    struct task_life *life = add_life(&fold->tasks, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    life->thread = event->thread;
    life->creator = event->other;
    life->site = event->site;
    life->kind = event->flags & SEEN_LATE ? UNKNOWN : READY;
    return 0;
}

static void
task_ready(struct fold *fold, const struct event *event)
{
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life == NULL) {
        return;
    }
    if (!life->has_cause) {
        life->has_cause = true;
        life->cause.thread = event->thread;
        life->cause.other = event->other;
        life->cause.site = event->site;
        life->cause.flags = event->flags;
    }
    if (life->kind == WAITING || life->kind == UNKNOWN) {
        life->kind = READY;
    }
}

static int
end_task(struct fold *fold, int64_t id, const struct task_life *task)
{
    if (reserve(&fold->ended_tasks, 1) < 0) {
        return -1;
    }
    int64_t root = task->root;
    end_life(&fold->tasks, id);
    fold->ended_tasks.items[fold->ended_tasks.count++] = id;
    struct coroutine_life *life = coroutine_of(fold, root);
    if (life != NULL && !life->is_generator) {
        end_coroutine(fold, root, life);
    }
    return 0;
}

static int
step_started(struct fold *fold, const struct event *event)
{
    struct thread_life *thread = fold->here;
    if (reserve_step(thread) < 0) {
        return -1;
    }
    struct step *step = &thread->steps[thread->step_count++];
    step->task = event->subject;
    step->running.count = 0;
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life == NULL) {
        return 0;
    }
    life->kind = RUNNING;
    life->has_cause = false;
    life->stack = life->awaited = 0;
    life->thread = event->thread;
    if (event->flags & EAGER) {
        life->is_eager = true;
    }
    if (!life->loop) {
        life->loop = event->other;
        struct loop_life *loop = table_find(&fold->loops, event->other);
        if (loop != NULL && !loop->thread) {
            loop->thread = event->thread;
        }
    }
    return 0;
}

static int
step_finished(struct fold *fold, const struct event *event)
{
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life != NULL) {
        if (event->flags & OUTCOME_MASK) {
            if (end_task(fold, event->subject, life) < 0) {
                return -1;
            }
        }
        else if (event->flags & YIELDED || life->has_cause) {
            life->kind = READY;
        }
        else {
            life->kind = WAITING;
            life->awaited = event->other;
            life->future_type = event->site;
        }
    }
    leave_step(fold->here, event->subject);
    return 0;
}

static int
task_collected(struct fold *fold, const struct event *event)
{
    const struct task_life *life = table_find(&fold->tasks, event->subject);
    return life != NULL ? end_task(fold, event->subject, life) : 0;
}

/* Calls and jobs. */

static int
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

static void
call_finished(struct fold *fold, const struct event *event)
{
    int64_t job_id = event->subject; /* of a base: the job's call is over */
    if (!(event->flags & SEEN_LATE)) {
        const struct call_life *call = table_find(&fold->calls, event->subject);
        if (call == NULL) {
            return;
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
}

static int
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

static void
job_forgotten(struct fold *fold, const struct event *event)
{
    struct job_life *life = table_find(&fold->jobs, event->subject);
    if (life != NULL && !life->is_forgotten) {
        life->is_forgotten = true;
        fold->forgotten_jobs++;
    }
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
static void
drop_jobs(struct fold *fold)
{
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
        struct job_life *job = (void *)(uintptr_t)entry.value;
        if (job != NULL && job->is_forgotten && !job->is_wanted) {
            end_life(&fold->jobs, entry.key); /* another may come to stand in its place */
            fold->forgotten_jobs--;
            continue;
        }
        if (job != NULL) {
            job->is_wanted = false;
        }
        index++;
    }
}

/* The others. */

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

static void
blocking_finished(struct fold *fold, const struct event *event)
{
    const int64_t key[2] = {event->thread, event->subject};
    int64_t *row = find_row(&fold->blockings, BLOCKING_WIDTH, key, 2);
    if (row != NULL) {
        remove_row(&fold->blockings, BLOCKING_WIDTH, row);
    }
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

static void
loop_idle(struct fold *fold, const struct event *event)
{
    struct loop_life *life = table_find(&fold->loops, event->subject);
    if (life != NULL) {
        life->idle_thread = event->kind == LOOP_IDLE_STARTED ? event->thread : 0;
    }
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

static void
await_stack(struct fold *fold, const struct event *event)
{
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life != NULL) {
        life->stack = event->site;
    }
}

/* Each event. */

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

/* Return 0, or -1 and an error. */
static int
take_event(struct fold *fold, const struct event *event)
{
    switch (event->kind) {
    case TASK_CREATED:
        return task_created(fold, event);
    case TASK_READY:
        task_ready(fold, event);
        return 0;
    case STEP_STARTED:
        return step_started(fold, event);
    case STEP_FINISHED:
        return step_finished(fold, event);
    case AWAIT_STACK:
        await_stack(fold, event);
        return 0;
    case TASK_COLLECTED:
        return task_collected(fold, event);
    case COROUTINE_STARTED:
        return coroutine_started(fold, event);
    case COROUTINE_SUSPENDED:
        coroutine_suspended(fold, event);
        return 0;
    case COROUTINE_RESUMED:
        return coroutine_resumed(fold, event);
    case COROUTINE_FINISHED:
        coroutine_finished(fold, event);
        return 0;
    case CALL_STARTED:
        return call_started(fold, event);
    case CALL_FINISHED:
        call_finished(fold, event);
        return 0;
    case JOB_SUBMITTED:
        return job_submitted(fold, event);
    case JOB_FORGOTTEN:
        job_forgotten(fold, event);
        return 0;
    case BLOCKING_STARTED:
        return blocking_started(fold, event);
    case BLOCKING_FINISHED:
        blocking_finished(fold, event);
        return 0;
    case LOOP_SEEN:
        return loop_seen(fold, event);
    case LOOP_GONE:
        end_life(&fold->loops, event->subject);
        return 0;
    case LOOP_IDLE_STARTED:
    case LOOP_IDLE_FINISHED:
        loop_idle(fold, event);
        return 0;
    case PROCESS_STARTED:
        return process_started(fold, event);
    case FUNCTION_DROPPED:
        return function_dropped(fold, event);
    default:
        return 0;
    }
}

int
fold_event(void *target, const struct event *event)
{
    struct fold *fold = target;
    if ((fold->here == NULL || fold->here_id != event->thread) && enter_thread(fold, event->thread) < 0) {
        return -1;
    }
    if (take_event(fold, event) < 0) {
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
