/* Between the segments of a part: what is open is closed in the one, and opened again in the next. */

#include "encoder.h"

static int
open_again(struct encoder *encoder, const struct track *track, bool is_last)
{
    for (size_t index = 0; index < track->count; index++) {
        if (is_last && index == track->count - 1 && add_counts(encoder) < 0) {
            return -1;
        }
        if (show_once(encoder, BEGIN, track, &track->slices[index].name) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Return the last track that has open slices, of those that `show_open_again` goes through; NULL: there is none. */
static const struct track *
last_open(const struct encoder *encoder)
{
    for (const struct task *task = encoder->last_task; task != NULL; task = task->previous) {
        if (task->track.count) {
            return &task->track;
        }
    }
    for (size_t index = encoder->shown_threads_count; index > 0; index--) {
        if (encoder->shown_threads[index - 1]->track.count) {
            return &encoder->shown_threads[index - 1]->track;
        }
    }
    return NULL;
}

/* Show the slices that are open after the events of a base; the last carries the counters. */
int
show_open_again(struct encoder *encoder)
{
    encoder->late.count = 0;
    table_free(&encoder->job_arrows); /* they would have no beginning, as the next ones */
    for (struct task *task = encoder->first_task; task != NULL; task = task->next) {
        task->arrows.count = 0;
        task->wakes.count = 0;
    }
    const struct track *last = last_open(encoder);
    for (size_t index = 0; index < encoder->shown_threads_count; index++) {
        const struct track *track = &encoder->shown_threads[index]->track;
        if (open_again(encoder, track, track == last) < 0) {
            return -1;
        }
    }
    for (struct task *task = encoder->first_task; task != NULL; task = task->next) {
        if (open_again(encoder, &task->track, &task->track == last) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Show the end of every slice. */
int
show_close_all(struct encoder *encoder)
{
    for (size_t index = 0; index < encoder->shown_threads_count; index++) {
        if (track_close_all(encoder, &encoder->shown_threads[index]->track) < 0) {
            return -1;
        }
    }
    for (struct task *task = encoder->first_task; task != NULL; task = task->next) {
        if (track_close_all(encoder, &task->track) < 0) {
            return -1;
        }
    }
    return 0;
}
