/* Track events, and the slices open on each track: see perfetto_tracks.py. */

#include "encoder.h"

enum {
    DEEPEST = 500, /* the trace processor drops what is deeper than 512 */
    MOST_REOPENED = 100000,
    DEEPEST_OVERLAPPING = 16,
};

/* Note that what was added to `shown` ends here. */
static int
end_shown(struct shown *shown)
{
    if (shown->count == shown->capacity) {
        size_t *moved = grown(shown->ends, &shown->capacity, shown->count + 1, sizeof(size_t));
        if (moved == NULL) {
            return -1;
        }
        shown->ends = moved;
    }
    shown->ends[shown->count++] = shown->bytes.size;
    return 0;
}

static int
show_with(struct encoder *encoder, int type, const struct track *track, const struct name *name, const uint8_t *more,
          size_t more_size)
{
    struct buffer *bytes = &encoder->shown.bytes;
    size_t name_size = name != NULL ? name->size : 0;
    size_t size = 2 + track->field_size + name_size + more_size;
    if (buffer_reserve(bytes, 1 + VARINT_BYTES + size) < 0) {
        return -1;
    }
    uint8_t *at = bytes->bytes + bytes->size;
    *at++ = TRACK_EVENT_TAG;
    at = put_varint(at, size);
    *at++ = TYPE_TAG;
    *at++ = (uint8_t)type;
    memcpy(at, track->field, track->field_size);
    at += track->field_size;
    if (name_size) {
        memcpy(at, name->bytes, name_size);
        at += name_size;
    }
    if (more_size) {
        memcpy(at, more, more_size);
        at += more_size;
    }
    bytes->size = (size_t)(at - bytes->bytes);
    return end_shown(&encoder->shown);
}

/* Show a track event; its name may be NULL. */
int
show(struct encoder *encoder, int type, const struct track *track, const struct name *name)
{
    return show_with(encoder, type, track, name, NULL, 0);
}

/* Show a track event with what `once` holds, which is empty then. */
int
show_once(struct encoder *encoder, int type, const struct track *track, const struct name *name)
{
    size_t size = encoder->once.size;
    encoder->once.size = 0;
    return show_with(encoder, type, track, name, encoder->once.bytes, size);
}

/* Show a packet without a track event, for a slice that is too deep. */
int
show_nothing(struct encoder *encoder)
{
    encoder->once.size = 0;
    return end_shown(&encoder->shown);
}

void
track_init(struct track *track, uint64_t uuid)
{
    track->field[0] = TRACK_TAG;
    track->field_size = (size_t)(put_varint(track->field + 1, uuid) - track->field);
    track->deepest = DEEPEST;
}

bool
is_on_top(const struct track *track, int64_t key)
{
    return track->count && track->slices[track->count - 1].key == key;
}

/* Open a slice, however deep: it carries what `once` holds. */
int
track_push(struct encoder *encoder, struct track *track, int64_t key, const struct name *name, int64_t time_ns)
{
    if (track->count == track->capacity) {
        struct slice *moved = grown(track->slices, &track->capacity, track->count + 1, sizeof(struct slice));
        if (moved == NULL) {
            return -1;
        }
        track->slices = moved;
    }
    track->slices[track->count++] = (struct slice){key, time_ns, *name};
    return show_once(encoder, BEGIN, track, name);
}

int
track_open(struct encoder *encoder, struct track *track, int64_t key, const struct name *name, int64_t time_ns)
{
    if (track->count >= track->deepest) {
        return show_nothing(encoder);
    }
    return track_push(encoder, track, key, name, time_ns);
}

/* Close the slice with a key, if it is open: its end carries what `once` holds. */
int
track_close(struct encoder *encoder, struct track *track, int64_t key)
{
    size_t index = track->count;
    while (index > 0 && track->slices[index - 1].key != key) {
        index--;
    }
    if (index == 0) {
        encoder->once.size = 0;
        return 0;
    }
    struct slice *above = track->slices + index;
    size_t above_count = track->count - index;
    for (size_t count = above_count; count > 0; count--) {
        if (show(encoder, END_SLICE, track, NULL) < 0) {
            return -1;
        }
    }
    if (show_once(encoder, END_SLICE, track, NULL) < 0) {
        return -1;
    }
    for (size_t position = 0; position < above_count; position++) {
        if (show(encoder, BEGIN, track, &above[position].name) < 0) {
            return -1;
        }
    }
    memmove(above - 1, above, above_count * sizeof(struct slice));
    track->count--;
    track->reopened += above_count;
    if (track->reopened > MOST_REOPENED) {
        track->deepest = DEEPEST_OVERLAPPING;
    }
    return 0;
}

/* Close every slice: the end of the outermost carries what `once` holds. */
int
track_close_all(struct encoder *encoder, struct track *track)
{
    for (; track->count > 1; track->count--) {
        if (show(encoder, END_SLICE, track, NULL) < 0) {
            return -1;
        }
    }
    if (track->count == 0) {
        encoder->once.size = 0;
        return 0;
    }
    track->count = 0;
    return show_once(encoder, END_SLICE, track, NULL);
}

static uint8_t *
put_bits(uint8_t *at, uint64_t bits)
{
    for (int index = 0; index < 8; index++) {
        *at++ = (uint8_t)(bits >> 8 * index);
    }
    return at;
}

/* Add to `once` an end of an arrow. */
int
add_arrow(struct encoder *encoder, const uint8_t tag[2], uint64_t flow)
{
    uint8_t field[ARROW_BYTES] = {tag[0], tag[1]};
    put_bits(field + 2, flow);
    return buffer_add(&encoder->once, field, sizeof(field));
}

int
add_name(struct encoder *encoder, const struct name *name)
{
    return buffer_add(&encoder->once, name->bytes, name->size);
}

static int
add_gauge(struct encoder *encoder, uint64_t uuid, double value)
{
    uint8_t field[GAUGE_BYTES] = {GAUGE_TRACK_TAG[0], GAUGE_TRACK_TAG[1]}, *at = put_varint(field + 2, uuid);
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    *at++ = GAUGE_TAG[0];
    *at++ = GAUGE_TAG[1];
    at = put_bits(at, bits);
    return buffer_add(&encoder->once, field, (size_t)(at - field));
}

/* Add to `once` that a loop has no lag any more; nothing where it had none. */
int
add_no_lag(struct encoder *encoder, struct thread *thread)
{
    if (!thread->is_lagging) {
        return 0;
    }
    thread->is_lagging = false;
    return add_gauge(encoder, thread->lag, 0.0);
}

/* Add to `once` how long what a loop runs now had been ready; where that is long enough to tell its counter is known. */
int
add_lag(struct encoder *encoder, struct thread *thread, int64_t lag_ns)
{
    if (lag_ns < TOLD_LAG_NS) {
        return add_no_lag(encoder, thread);
    }
    thread->is_lagging = true;
    return add_gauge(encoder, thread->lag, (double)lag_ns);
}

/* Add to `once` the counters of live and of ready tasks. */
int
add_counts(struct encoder *encoder)
{
    /* Live first, for the trace processor takes what follows a 0 as 0 too, and where no task lives none is ready. */
    uint8_t fields[2 * (1 + VARINT_BYTES)], *at = fields;
    *at++ = COUNTER_TAG;
    at = put_varint(at, encoder->live > 0 ? (uint64_t)encoder->live : 0);
    *at++ = COUNTER_TAG;
    at = put_varint(at, encoder->ready > 0 ? (uint64_t)encoder->ready : 0);
    return buffer_add(&encoder->once, fields, (size_t)(at - fields));
}
