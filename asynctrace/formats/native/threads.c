/* What runs on a thread beside the steps of tasks: see perfetto_thread_slices.py. */

#include "encoder.h"

/* Return a thread, new or known, borrowed; NULL on an error. */
struct thread *
thread_of(struct encoder *encoder, int64_t id)
{
    struct thread *thread = table_find(&encoder->threads, id);
    if (thread != NULL) {
        return thread;
    }
    thread = PyMem_Calloc(1, sizeof(struct thread));
    if (thread == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    thread->id = id;
    thread->number = -1;
    if (table_put(&encoder->threads, id, thread) < 0) {
        PyMem_Free(thread);
        return NULL;
    }
    return thread;
}

void
thread_free(struct thread *thread)
{
    for (size_t index = 0; index < thread->steps_count; index++) {
        task_release(thread->steps[index]);
    }
    PyMem_Free(thread->steps);
    PyMem_Free(thread->track.slices);
    PyMem_Free(thread);
}

/* Return the track of a thread, described in the file at its first use; NULL on an error. */
struct track *
thread_track(struct encoder *encoder, struct thread *thread)
{
    if (thread->has_track) {
        return &thread->track;
    }
    if (encoder->shown_threads_count == encoder->shown_threads_capacity) {
        struct thread **moved = grown(encoder->shown_threads, &encoder->shown_threads_capacity,
                                      encoder->shown_threads_count + 1, sizeof(struct thread *));
        if (moved == NULL) {
            return NULL;
        }
        encoder->shown_threads = moved;
    }
    uint64_t uuid;
    if (thread_uuid(encoder, thread->id, &uuid) < 0) {
        return NULL;
    }
    track_init(&thread->track, uuid);
    thread->has_track = true;
    encoder->shown_threads[encoder->shown_threads_count++] = thread;
    return &thread->track;
}

uint64_t
take_number(struct counter *counter)
{
    return counter->next++;
}

/* Begin the arrow of a job, which replaces one that has not ended. */
static int
begin_job_arrow(struct encoder *encoder, int64_t job)
{
    uint64_t flow = take_number(encoder->new_flow);
    return table_set(&encoder->job_arrows, job, flow) < 0 ? -1 : add_arrow(encoder, ARROW_FROM_TAG, flow);
}

static int
show_call_started(struct encoder *encoder, const struct event *event, struct track *track)
{
    const struct name *name = site_name(encoder, event->site, AS_CODE);
    if (name == NULL) {
        return -1;
    }
    int64_t job = event->other;
    if (job) {
        if (table_set(&encoder->jobs_of_calls, event->subject, (uint64_t)job) < 0) {
            return -1;
        }
        uint64_t arrow = table_take(&encoder->job_arrows, job);
        if (arrow && add_arrow(encoder, ARROW_TO_TAG, arrow) < 0) {
            return -1;
        }
    }
    if (add_attributes(encoder, event->site) < 0) {
        return -1;
    }
    return track_open(encoder, track, event->subject, name, event->time_ns);
}

static int
show_call_finished(struct encoder *encoder, const struct event *event, struct track *track)
{
    if (add_outcome(encoder, event->flags, event->site) < 0) {
        return -1;
    }
    int64_t job = (int64_t)table_take(&encoder->jobs_of_calls, event->subject);
    if (job && begin_job_arrow(encoder, job) < 0) {
        return -1;
    }
    return track_close(encoder, track, event->subject);
}

static int
show_job_submitted(struct encoder *encoder, const struct event *event, struct track *track)
{
    const struct name *name = site_name(encoder, event->site, AS_SUBMITTED);
    if (name == NULL || begin_job_arrow(encoder, event->subject) < 0) {
        return -1;
    }
    return show_once(encoder, INSTANT, track, name);
}

static int
show_callback(struct encoder *encoder, const struct event *event, struct track *track)
{
    int64_t start_ns = event->time_ns > event->other ? event->time_ns - event->other : 0;
    if (track->count && track->slices[track->count - 1].time_ns > start_ns) {
        return 0; /* what began inside it has not ended: the two ends would be mixed up */
    }
    const struct name *name = site_name(encoder, event->site, AS_CODE);
    if (name == NULL || send_begin(encoder, start_ns, track, name) < 0) {
        return -1;
    }
    return show(encoder, END_SLICE, track, NULL);
}

static int
show_lost(struct encoder *encoder, const struct event *event, struct track *track)
{
    struct name name;
    return lost_name(encoder, event->other, &name) < 0 ? -1 : show(encoder, INSTANT, track, &name);
}

int
show_thread_event(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    if (event->kind == JOB_FORGOTTEN) {
        table_take(&encoder->jobs, event->subject);
        return 0;
    }
    if (event->kind == JOB_SUBMITTED) {
        int64_t kind = event->flags & JOB_MASK;
        if (table_set(&encoder->jobs, event->subject, 1 + (uint64_t)(kind <= JOB_PROCESS ? kind : JOB_OTHER)) < 0) {
            return -1;
        }
        if (event->flags & SEEN_LATE) {
            return 0; /* it was submitted before */
        }
    }
    const struct name *name = NULL;
    if (event->kind == BLOCKING_STARTED && (name = site_name(encoder, event->site, AS_TEXT)) == NULL) {
        return -1; /* asked before the track, as the reference does */
    }
    struct track *track = thread_track(encoder, thread);
    if (track == NULL) {
        return -1;
    }
    switch (event->kind) {
    case CALL_STARTED:
        return show_call_started(encoder, event, track);
    case CALL_FINISHED:
        return show_call_finished(encoder, event, track);
    case JOB_SUBMITTED:
        return show_job_submitted(encoder, event, track);
    case BLOCKING_STARTED:
        return track_open(encoder, track, blocking_key(event->subject), name, event->time_ns);
    case BLOCKING_FINISHED:
        return track_close(encoder, track, blocking_key(event->subject));
    case LOOP_IDLE_STARTED:
        name = fixed_name(encoder, &encoder->idle_name, "idle");
        thread->idles = true;
        if (name == NULL || add_no_lag(encoder, thread) < 0) {
            return -1;
        }
        return track_open(encoder, track, event->subject, name, event->time_ns);
    case LOOP_IDLE_FINISHED:
        return track_close(encoder, track, event->subject);
    case CALLBACK_RAN:
        return show_callback(encoder, event, track);
    case MARK:
        name = site_name(encoder, event->site, AS_TEXT);
        return name == NULL ? -1 : show(encoder, INSTANT, track, name);
    default: /* LOST */
        return show_lost(encoder, event, track);
    }
}
