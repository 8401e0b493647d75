/* What the events of tasks show as: see the first half of perfetto_slices.py. */

#include "encoder.h"

static struct task *
task_with(const struct encoder *encoder, int64_t id)
{
    return table_find(&encoder->tasks, id);
}

void
task_release(struct task *task)
{
    if (--task->owners == 0) {
        Py_XDECREF(task->root);
        PyMem_Free(task->track.slices);
        PyMem_Free(task->arrows.items);
        PyMem_Free(task->wakes.items);
        PyMem_Free(task);
    }
}

static void
task_append(struct encoder *encoder, struct task *task)
{
    task->previous = encoder->last_task;
    if (encoder->last_task != NULL) {
        encoder->last_task->next = task;
    }
    else {
        encoder->first_task = task;
    }
    encoder->last_task = task;
}

static void
task_unlink(struct encoder *encoder, struct task *task)
{
    if (task->previous != NULL) {
        task->previous->next = task->next;
    }
    else {
        encoder->first_task = task->next;
    }
    if (task->next != NULL) {
        task->next->previous = task->previous;
    }
    else {
        encoder->last_task = task->previous;
    }
    task->previous = task->next = NULL;
}

/* Release every task that has not ended; the table goes with them. */
void
task_list_free(struct encoder *encoder)
{
    struct task *task = encoder->first_task;
    encoder->first_task = encoder->last_task = NULL;
    table_free(&encoder->tasks);
    while (task != NULL) {
        struct task *next = task->next;
        task_release(task);
        task = next;
    }
}

/* Name the track of a task. */
int
label_task(struct encoder *encoder, struct task *task, PyObject *label)
{
    task->is_labelled = true;
    return send_task_track(encoder, task, PyBytes_AS_STRING(label), (size_t)PyBytes_GET_SIZE(label));
}

/* Name the track of a task that no user coroutine has named. */
static int
label_by_root(struct encoder *encoder, struct task *task)
{
    if (task->is_labelled) {
        return 0;
    }
    if (task->root != NULL) {
        return label_task(encoder, task, task->root);
    }
    task->is_labelled = true;
    return send_task_track(encoder, task, "task", 4);
}

int
label_open_tasks(struct encoder *encoder)
{
    for (struct task *task = encoder->first_task; task != NULL; task = task->next) {
        if (label_by_root(encoder, task) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Return a new task, which is in no list yet, NULL on an error. */
static struct task *
new_task(struct encoder *encoder, int64_t id, int64_t root)
{
    struct task *task = PyMem_Calloc(1, sizeof(struct task));
    if (task == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    task->owners = 1;
    task->id = id;
    struct site *site = NULL;
    if (root && (site = described(encoder, root)) == NULL) {
        goto error;
    }
    if (step_name(encoder, id, root, &task->step) < 0) {
        goto error;
    }
    task->uuid = take_number(encoder->new_uuid);
    track_init(&task->track, task->uuid);
    if (send_task_track(encoder, task, NULL, 0) < 0) {
        goto error;
    }
    if (site != NULL) {
        if (!site->is_nameless) {
            task->root = Py_NewRef(site->label);
        }
        if (site->is_user && label_task(encoder, task, site->label) < 0) {
            goto error;
        }
    }
    return task;

error:
    task_release(task);
    return NULL;
}

/* Begin a task and its own slice; return it, borrowed. */
static struct task *
meet(struct encoder *encoder, int64_t id, int64_t root)
{
    struct task *task = new_task(encoder, id, root);
    if (task == NULL) {
        return NULL;
    }
    if (table_put(&encoder->tasks, id, task) < 0) {
        task_release(task);
        return NULL;
    }
    task_append(encoder, task);
    encoder->live++;
    if (add_counts(encoder) < 0 || track_open(encoder, &task->track, TASK_SLICE, &task->step, 0) < 0) {
        return NULL;
    }
    return task;
}

/* Open the "ready" or "waiting" of a task. */
static int
open_state(struct encoder *encoder, struct task *task, const struct name *name, bool is_ready)
{
    if (name == NULL) {
        return -1;
    }
    task->is_ready = is_ready;
    if (is_ready && add_counts(encoder) < 0) {
        return -1;
    }
    return track_push(encoder, &task->track, STATE_SLICE, name, 0);
}

static int
open_ready(struct encoder *encoder, struct task *task)
{
    encoder->ready++;
    return open_state(encoder, task, fixed_name(encoder, &encoder->ready_name, "ready"), true);
}

/* End a task with what is in `once`, its outcome. */
static int
end_task(struct encoder *encoder, struct task *task)
{
    if (label_by_root(encoder, task) < 0) {
        return -1;
    }
    table_take(&encoder->tasks, task->id);
    task_unlink(encoder, task);
    encoder->live--;
    encoder->ready -= task->is_ready;
    for (size_t index = 0; index < task->track.count; index++) {
        struct coroutine *coroutine = table_find(&encoder->coroutines, task->track.slices[index].key);
        if (coroutine != NULL) {
            coroutine_set_task(coroutine, NULL);
        }
    }
    int result = add_counts(encoder) < 0 ? -1 : track_close_all(encoder, &task->track);
    task_release(task);
    return result;
}

static int
show_created(struct encoder *encoder, const struct event *event)
{
    if (task_with(encoder, event->subject) != NULL) {
        return 0;
    }
    return meet(encoder, event->subject, event->site) == NULL ? -1 : 0;
}

static int
show_arrow_of_wake(struct encoder *encoder, struct task *task, const struct event *event, struct thread *thread)
{
    struct task *waker = task_with(encoder, event->other);
    if (waker == NULL || !waker->is_running) {
        return 0;
    }
    uint64_t flow = take_number(encoder->new_flow);
    if (numbers_add(&task->arrows, (int64_t)flow) < 0) {
        return -1;
    }
    if (task->thread == 0 || task->thread == thread->id) {
        /* The arrow begins at the end of the step: the woken one comes after it. */
        return numbers_add(&waker->wakes, (int64_t)flow);
    }
    /* The woken step may begin on its own thread before this one ends. */
    struct track *track = thread_track(encoder, thread);
    if (track == NULL) {
        return -1;
    }
    const struct name *name = fixed_name(encoder, &encoder->wake_name, "wake");
    if (name == NULL || add_arrow(encoder, ARROW_FROM_TAG, flow) < 0) {
        return -1;
    }
    return show_once(encoder, INSTANT, track, name);
}

static int
show_ready(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    struct task *task = task_with(encoder, event->subject);
    if (task == NULL) {
        return 0;
    }
    /* The step that caused a wake before what is kept may have ended, and another one of that task run now. */
    bool is_by_task = (event->flags & CAUSE_MASK) == CAUSE_TASK && event->other != event->subject;
    if (is_by_task && !(event->flags & SEEN_LATE) && show_arrow_of_wake(encoder, task, event, thread) < 0) {
        return -1;
    }
    if (task->is_running) {
        task->is_woken = true;
        return 0;
    }
    if (task->is_ready) {
        return 0;
    }
    return track_close(encoder, &task->track, STATE_SLICE) < 0 ? -1 : open_ready(encoder, task);
}

static int
steps_push(struct thread *thread, struct task *task)
{
    if (thread->steps_count == thread->steps_capacity) {
        struct task **moved =
            grown(thread->steps, &thread->steps_capacity, thread->steps_count + 1, sizeof(struct task *));
        if (moved == NULL) {
            return -1;
        }
        thread->steps = moved;
    }
    task->owners++;
    thread->steps[thread->steps_count++] = task;
    return 0;
}

/* Take a task off the steps of a thread: the innermost step, else the outermost of that task. */
static void
steps_remove(struct thread *thread, struct task *task)
{
    size_t count = thread->steps_count, index = 0;
    if (count == 0) {
        return;
    }
    if (thread->steps[count - 1] == task) {
        index = count - 1;
    }
    else {
        while (index < count && thread->steps[index] != task) {
            index++;
        }
        if (index == count) {
            return;
        }
    }
    memmove(thread->steps + index, thread->steps + index + 1, (count - index - 1) * sizeof(struct task *));
    thread->steps_count--;
    task_release(task);
}

static int
add_arrows(struct encoder *encoder, struct numbers *arrows, const uint8_t tag[2])
{
    for (size_t index = 0; index < arrows->count; index++) {
        if (add_arrow(encoder, tag, (uint64_t)arrows->items[index]) < 0) {
            return -1;
        }
    }
    arrows->count = 0;
    return 0;
}

static int
show_step_started(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    struct task *task = task_with(encoder, event->subject);
    if (task == NULL && (task = meet(encoder, event->subject, 0)) == NULL) {
        return -1;
    }
    /* First, for it may ask: what `once` holds is for one track event. */
    struct track *track = thread_track(encoder, thread);
    if (track == NULL) {
        return -1;
    }
    if (task->is_ready) {
        task->is_ready = false;
        encoder->ready--;
        if (add_counts(encoder) < 0) {
            return -1;
        }
    }
    if (add_arrows(encoder, &task->arrows, ARROW_TO_TAG) < 0) {
        return -1;
    }
    if (task->awaited) {
        uint64_t arrow = table_take(&encoder->job_arrows, task->awaited);
        task->awaited = 0;
        if (arrow && add_arrow(encoder, ARROW_TO_TAG, arrow) < 0) {
            return -1;
        }
    }
    task->is_running = true;
    encoder->late.count = 0;
    if (track_open(encoder, track, task->id, &task->step, event->time_ns) < 0) {
        return -1;
    }
    if (is_on_top(&task->track, STATE_SLICE)) {
        task->track.count--;
        if (show(encoder, END_SLICE, &task->track, NULL) < 0) {
            return -1;
        }
    }
    task->thread = thread->id;
    return steps_push(thread, task);
}

/* Open the wait of a task, named by the innermost await of the user's own code. */
static int
open_wait(struct encoder *encoder, struct task *task, const struct event *event)
{
    struct name found = task->wait;
    for (size_t index = task->track.count; index > 0 && !found.size; index--) {
        struct coroutine *coroutine = table_find(&encoder->coroutines, task->track.slices[index - 1].key);
        if (coroutine != NULL) {
            const struct name *name = user_wait(encoder, coroutine->site, coroutine->offset);
            if (name == NULL) {
                return -1;
            }
            found = *name;
        }
    }
    if (!found.size && wait_name(encoder, event->other, event->site, &found) < 0) {
        return -1;
    }
    return open_state(encoder, task, &found, false);
}

static int
show_step_finished(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    struct task *task = task_with(encoder, event->subject);
    if (task == NULL) {
        return 0;
    }
    steps_remove(thread, task);
    struct track *track = thread_track(encoder, thread);
    if (track == NULL) {
        return -1;
    }
    if (add_arrows(encoder, &task->wakes, ARROW_FROM_TAG) < 0 || track_close(encoder, track, task->id) < 0) {
        return -1;
    }
    task->is_running = false;
    if (encoder->late.count && place_late(encoder, task) < 0) {
        return -1;
    }
    if (event->flags & OUTCOME_MASK) {
        return add_outcome(encoder, event->flags, event->site) < 0 ? -1 : end_task(encoder, task);
    }
    if (is_on_top(&task->track, STATE_SLICE)) { /* its beginning was before the recording */
        if (track_close(encoder, &task->track, STATE_SLICE) < 0) {
            return -1;
        }
        encoder->ready -= task->is_ready;
    }
    if (task->is_woken || event->flags & YIELDED) {
        task->is_woken = false;
        return open_ready(encoder, task);
    }
    task->awaited = event->other;
    return open_wait(encoder, task, event);
}

static int
note_await_stack(struct encoder *encoder, const struct event *event)
{
    struct task *task = task_with(encoder, event->subject);
    if (task == NULL) {
        return 0;
    }
    const struct stack *stack = stack_of(encoder, event->site);
    if (stack == NULL) {
        return -1;
    }
    task->wait = stack->wait;
    if (stack->label != NULL && !task->is_labelled) {
        return label_task(encoder, task, stack->label);
    }
    return 0;
}

int
show_task_event(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    switch (event->kind) {
    case TASK_CREATED:
        return show_created(encoder, event);
    case TASK_READY:
        return show_ready(encoder, event, thread);
    case STEP_STARTED:
        return show_step_started(encoder, event, thread);
    case STEP_FINISHED:
        return show_step_finished(encoder, event, thread);
    case AWAIT_STACK:
        return note_await_stack(encoder, event);
    default: { /* TASK_COLLECTED */
        struct task *task = task_with(encoder, event->subject);
        if (task == NULL) {
            return 0;
        }
        return add_outcome(encoder, CLOSED, 0) < 0 ? -1 : end_task(encoder, task);
    }
    }
}
