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

/* Add to a name a field with a number. */
static int
name_add_number(struct name *name, const uint8_t tag[2], uint64_t number)
{
    if ((size_t)name->size + 2 + varint_size(number) > NAME_BYTES) {
        PyErr_Format(PyExc_ValueError, "a name of %d bytes", name->size);
        return -1;
    }
    uint8_t *at = name->bytes + name->size;
    *at++ = tag[0];
    *at++ = tag[1];
    name->size = (uint8_t)(put_varint(at, number) - name->bytes);
    return 0;
}

/* Name the track of a task by its own name, where it has a row to itself. */
static int
label_by_name(struct encoder *encoder, struct task *task)
{
    PyObject *label = task_label(encoder, task->id, task->root_site);
    int result = label == NULL ? -1 : label_task(encoder, task, label);
    Py_XDECREF(label);
    return result;
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
    task->root_site = root;
    task->ready_ns = task->situation = -1;
    struct site *site = NULL;
    if (root && (site = labelled(encoder, root)) == NULL) {
        goto error;
    }
    if (step_name(encoder, id, root, &task->step) < 0) {
        goto error;
    }
    task->uuid = take_number(encoder->new_uuid);
    if (name_add_number(&task->step, CORRELATION_TAG, task->uuid) < 0) {
        goto error;
    }
    track_init(&task->track, task->uuid);
    if (send_task_track(encoder, task, NULL, 0) < 0) {
        goto error;
    }
    if (site != NULL) {
        if (!site->is_nameless) {
            task->root = Py_NewRef(site->label);
        }
        if (site->is_user && !encoder->has_row_each && label_task(encoder, task, site->label) < 0) {
            goto error;
        }
    }
    if (encoder->has_row_each && label_by_name(encoder, task) < 0) {
        goto error;
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

/* Open the "ready" of a task; `because` is NULL where its cause is not known yet. */
static int
open_ready(struct encoder *encoder, struct task *task, const struct name *because, int64_t since_ns)
{
    /* The cause is told with the beginning; that of an eager task's yield comes later, and is told with the end. */
    task->has_cause = because != NULL;
    task->cause.size = 0;
    const struct name *name = fixed_name(encoder, &encoder->ready_name, "ready");
    encoder->ready++;
    task->is_ready = true;
    task->ready_ns = since_ns;
    if (name == NULL || (because != NULL && add_name(encoder, because) < 0) || add_counts(encoder) < 0) {
        return -1;
    }
    return track_push(encoder, &task->track, STATE_SLICE, name, 0);
}

static int
close_state(struct encoder *encoder, struct task *task, int64_t cause)
{
    return add_end_of_state(encoder, task, cause) < 0 ? -1 : track_close(encoder, &task->track, STATE_SLICE);
}

static int
end_task(struct encoder *encoder, struct task *task, int64_t outcome_flags, int64_t error)
{
    PyObject *outcome; /* borrowed */
    if (outcome_of(encoder, outcome_flags, error, &outcome) < 0 || label_by_root(encoder, task) < 0) {
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
    int result = close_state(encoder, task, 0);
    if (result == 0 && add_bytes(encoder, outcome) == 0 && add_counts(encoder) == 0) {
        result = track_close_all(encoder, &task->track);
    }
    else {
        result = -1;
    }
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
    if (task->has_cause) {
        return 0;
    }
    struct name because;
    if (because_of(encoder, event, &because) < 0) {
        return -1;
    }
    if (task->is_running || task->is_ready) {
        task->has_cause = true;
        task->cause = because;
        return 0;
    }
    int64_t kind = event->flags & CAUSE_MASK;
    if (close_state(encoder, task, 1 + (kind < CAUSES ? kind : CAUSE_UNKNOWN)) < 0) {
        return -1;
    }
    return open_ready(encoder, task, &because, event->flags & SEEN_LATE ? -1 : event->time_ns);
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
    bool is_lag_known = task->is_ready && task->ready_ns >= 0;
    int64_t lag_ns = 0;
    if (task->is_ready) {
        task->is_ready = false;
        encoder->ready--;
        if (add_counts(encoder) < 0) {
            return -1;
        }
        lag_ns = task->ready_ns >= 0 ? event->time_ns - task->ready_ns : 0;
        if (lag_ns >= TOLD_LAG_NS && !thread->lag && lag_uuid(encoder, thread->id, &thread->lag) < 0) {
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
    task->has_stack = false;
    encoder->late.count = 0;
    if (track_open(encoder, track, task->id, &task->step, event->time_ns) < 0) {
        return -1;
    }
    if (is_on_top(&task->track, STATE_SLICE)) {
        if (add_end_of_state(encoder, task, 0) < 0) {
            return -1;
        }
        /* Here, for beside a counter that is 0 the trace processor takes every other one for 0. */
        if (is_lag_known && add_lag(encoder, thread, lag_ns) < 0) {
            return -1;
        }
        if (track_close(encoder, &task->track, STATE_SLICE) < 0) {
            return -1;
        }
    }
    task->has_cause = false;
    task->thread = thread->id;
    return steps_push(thread, task);
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
    /* A loop that never says that it has nothing to do has no lag any more where nothing is ready. */
    bool is_at_rest = !encoder->ready && !thread->idles;
    if (add_arrows(encoder, &task->wakes, ARROW_FROM_TAG) < 0 ||
        (is_at_rest && add_no_lag(encoder, thread) < 0) || track_close(encoder, track, task->id) < 0) {
        return -1;
    }
    task->is_running = false;
    if (encoder->late.count && place_late(encoder, task) < 0) {
        return -1;
    }
    if (event->flags & OUTCOME_MASK) {
        return end_task(encoder, task, event->flags, event->site);
    }
    if (is_on_top(&task->track, STATE_SLICE)) { /* its beginning was before the recording */
        if (close_state(encoder, task, 0) < 0) {
            return -1;
        }
        encoder->ready -= task->is_ready;
    }
    if (task->has_cause || event->flags & YIELDED) {
        struct name because = task->cause;
        return open_ready(encoder, task, task->has_cause ? &because : NULL, event->time_ns);
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
    task->has_stack = true;
    task->wait = stack->wait;
    task->library = stack->library;
    task->wait_code = stack->code;
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
        return end_task(encoder, task, CLOSED, 0);
    }
    }
}
