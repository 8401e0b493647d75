/* What the events of coroutines show as, on the track of their task: see the second half of perfetto_slices.py. */

#include "encoder.h"

void
coroutine_set_task(struct coroutine *coroutine, struct task *task)
{
    if (task != NULL) {
        task->owners++;
    }
    if (coroutine->task != NULL) {
        task_release(coroutine->task);
    }
    coroutine->task = task;
}

void
coroutine_free(struct coroutine *coroutine)
{
    coroutine_set_task(coroutine, NULL);
    PyMem_Free(coroutine);
}

static struct coroutine *
coroutine_with(const struct encoder *encoder, int64_t id)
{
    return table_find(&encoder->coroutines, id);
}

/* Return the task whose step runs on a thread, borrowed; NULL: none does. */
static struct task *
running_task(struct thread *thread)
{
    /* Events that contradict each other may end a task whose step is open: nothing can be shown on its track. */
    while (thread->steps_count) {
        struct task *task = thread->steps[thread->steps_count - 1];
        if (task->track.count) {
            return task;
        }
        thread->steps_count--;
        task_release(task);
    }
    return NULL;
}

/* Open a coroutine's slice on the track of a task that has not ended. */
static int
open_coroutine(struct encoder *encoder, struct task *task, int64_t key, int64_t site)
{
    if (!task->is_labelled) {
        struct site *code = labelled(encoder, site);
        if (code == NULL || (code->is_user && label_task(encoder, task, code->label) < 0)) {
            return -1;
        }
    }
    const struct name *name = site_name(encoder, site, AS_CODE);
    if (name == NULL) {
        return -1;
    }
    if (add_attributes(encoder, site) < 0) {
        return -1;
    }
    struct track *track = &task->track;
    if (!is_on_top(track, STATE_SLICE)) {
        return track_open(encoder, track, key, name, 0);
    }
    /* Beneath the state, which ends and begins again. */
    struct slice state = track->slices[--track->count];
    if (show(encoder, END_SLICE, track, NULL) < 0 || track_open(encoder, track, key, name, 0) < 0) {
        return -1;
    }
    return track_push(encoder, track, state.key, &state.name, state.time_ns);
}

/* Put the coroutines that began before the recording on the track of a task. */
int
place_late(struct encoder *encoder, struct task *task)
{
    for (size_t index = 0; index < encoder->late.count; index++) {
        int64_t key = encoder->late.items[index];
        struct coroutine *coroutine = coroutine_with(encoder, key);
        if (coroutine != NULL && coroutine->task == NULL) {
            coroutine_set_task(coroutine, task);
            if (open_coroutine(encoder, task, key, coroutine->site) < 0) {
                return -1;
            }
        }
    }
    encoder->late.count = 0;
    return 0;
}

/* Begin a coroutine, or begin it anew. */
static int
begin_coroutine(struct encoder *encoder, struct coroutine *known, const struct event *event, struct task *task)
{
    struct coroutine *coroutine = known;
    if (coroutine == NULL) {
        coroutine = PyMem_Calloc(1, sizeof(struct coroutine));
        if (coroutine == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (table_put(&encoder->coroutines, event->subject, coroutine) < 0) {
            PyMem_Free(coroutine);
            return -1;
        }
    }
    coroutine_set_task(coroutine, task);
    coroutine->site = event->site;
    coroutine->offset = 0;
    coroutine->is_generator = (event->flags & ASYNC_GENERATOR) != 0;
    return 0;
}

static int
show_started(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    struct coroutine *earlier = coroutine_with(encoder, event->subject);
    struct task *task = running_task(thread);
    if (task == NULL && event->flags & SEEN_LATE) {
        /* Whose it is, the end of a step that comes next may tell. */
        if (begin_coroutine(encoder, earlier, event, NULL) < 0) {
            return -1;
        }
        return numbers_add(&encoder->late, event->subject);
    }
    if (task == NULL) {
        struct coroutine *outer = coroutine_with(encoder, event->other);
        if (outer != NULL && outer->task != NULL && outer->task->track.count) {
            task = outer->task;
        }
    }
    if (encoder->late.count && task != NULL && place_late(encoder, task) < 0) {
        return -1;
    }
    if (earlier != NULL && earlier->task != NULL &&
        track_close(encoder, &earlier->task->track, event->subject) < 0) {
        return -1;
    }
    if (begin_coroutine(encoder, earlier, event, task) < 0) {
        return -1;
    }
    return task == NULL ? 0 : open_coroutine(encoder, task, event->subject, event->site);
}

static int
show_suspended(struct encoder *encoder, const struct event *event)
{
    struct coroutine *coroutine = coroutine_with(encoder, event->subject);
    if (coroutine == NULL) {
        return 0;
    }
    coroutine->offset = event->site;
    if (!coroutine->is_generator || !(event->flags & YIELDED) || coroutine->task == NULL) {
        return 0;
    }
    /* Who takes the value goes on while the generator stands still, and another task may drive it next. */
    int result = track_close(encoder, &coroutine->task->track, event->subject);
    coroutine_set_task(coroutine, NULL);
    return result;
}

static int
show_resumed(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    struct coroutine *coroutine = coroutine_with(encoder, event->subject);
    struct task *here = running_task(thread);
    if (coroutine == NULL || here == NULL || coroutine->task == here) {
        return 0;
    }
    if (coroutine->task != NULL) {
        /* Whoever collects a coroutine throws into it, and does not become its task. */
        if (event->flags & THROWN) {
            return 0;
        }
        if (track_close(encoder, &coroutine->task->track, event->subject) < 0) {
            return -1;
        }
    }
    coroutine_set_task(coroutine, here);
    return open_coroutine(encoder, here, event->subject, coroutine->site);
}

static int
show_finished(struct encoder *encoder, const struct event *event)
{
    struct coroutine *coroutine = (void *)(uintptr_t)table_take(&encoder->coroutines, event->subject);
    if (coroutine == NULL) {
        return 0;
    }
    int result = 0;
    if (coroutine->task != NULL) {
        result = add_outcome(encoder, event->flags, event->site);
        if (result == 0) {
            result = track_close(encoder, &coroutine->task->track, event->subject);
        }
    }
    coroutine_free(coroutine);
    return result;
}

int
show_coroutine_event(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    switch (event->kind) {
    case COROUTINE_STARTED:
        return show_started(encoder, event, thread);
    case COROUTINE_SUSPENDED:
        return show_suspended(encoder, event);
    case COROUTINE_RESUMED:
        return show_resumed(encoder, event, thread);
    default: /* COROUTINE_FINISHED */
        return show_finished(encoder, event);
    }
}
