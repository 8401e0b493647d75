/* Packets: the record of each event, and what it shows as. See perfetto_encoder.py and perfetto_layout.py. */

#include "encoder.h"

enum { FLUSH_AT = 1 << 18 }; /* bytes to write at once */

/* Of an event's record. */
enum { LATE = 30, OTHER_THREAD = 31, HAS_OTHER = 32, HAS_SITE = 64, HAS_FLAGS = 128 };
enum { RECORD_BYTES = 3 + 9 * VARINT_BYTES };

/* Hand what there is to the file. */
int
flush(struct encoder *encoder)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)encoder->out.bytes, (Py_ssize_t)encoder->out.size);
    if (bytes == NULL) {
        return -1;
    }
    encoder->out.size = 0; /* first: other threads may send meanwhile */
    PyObject *written = PyObject_CallOneArg(encoder->write, bytes);
    Py_DECREF(bytes);
    Py_XDECREF(written);
    return written == NULL ? -1 : 0;
}

/* Begin a packet, of whose content so many bytes are to be written next; return where, NULL on an error. */
static uint8_t *
begin_packet(struct encoder *encoder, size_t size)
{
    if (buffer_reserve(&encoder->out, 1 + VARINT_BYTES + size) < 0) {
        return NULL;
    }
    uint8_t *at = encoder->out.bytes + encoder->out.size;
    *at++ = PACKET_TAG;
    at = put_varint(at, size);
    encoder->out.size = (size_t)(at - encoder->out.bytes) + size;
    return at;
}

static uint8_t *
put_bytes(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

int
send_on_sequence(struct encoder *encoder, const void *content, size_t size)
{
    uint8_t *at = begin_packet(encoder, size + encoder->sequence_size);
    if (at == NULL) {
        return -1;
    }
    put_bytes(put_bytes(at, content, size), encoder->sequence, encoder->sequence_size);
    return 0;
}

/* Send a slice's beginning that is earlier than the event in hand. */
int
send_begin(struct encoder *encoder, int64_t time_ns, const struct track *track, const struct name *name)
{
    size_t event_size = 2 + track->field_size + name->size; /* below 128 */
    size_t stamp_size = 1 + varint_size((uint64_t)time_ns) + sizeof(BOOTTIME_FIELD);
    uint8_t *at = begin_packet(encoder, stamp_size + encoder->sequence_size + 2 + event_size);
    if (at == NULL) {
        return -1;
    }
    /* By the clock of the machine: that of the sequence is already later. */
    *at++ = TIMESTAMP_TAG;
    at = put_varint(at, (uint64_t)time_ns);
    at = put_bytes(at, BOOTTIME_FIELD, sizeof(BOOTTIME_FIELD));
    at = put_bytes(at, encoder->sequence, encoder->sequence_size);
    *at++ = TRACK_EVENT_TAG;
    *at++ = (uint8_t)event_size;
    *at++ = TYPE_TAG;
    *at++ = BEGIN;
    at = put_bytes(at, track->field, track->field_size);
    put_bytes(at, name->bytes, name->size);
    return 0;
}

/* Describe the track of a task, with its name when there is a label. */
int
send_task_track(struct encoder *encoder, const struct task *task, const char *label, size_t label_size)
{
    uint8_t fields[3 * (1 + VARINT_BYTES) + 1 + VARINT_BYTES], *at = fields;
    *at++ = 0x08; /* 1, the track's number; then 5, its parent, and 15, how it merges with others */
    at = put_varint(at, task->uuid);
    *at++ = 0x28;
    at = put_varint(at, encoder->task_group);
    *at++ = 0x78;
    at = put_varint(at, encoder->merging);
    if (label != NULL) {
        *at++ = 0x12; /* 2, its name */
        at = put_varint(at, label_size);
    }
    size_t fields_size = (size_t)(at - fields), track_size = fields_size + label_size;
    at = begin_packet(encoder, sizeof(DESCRIPTOR_TAG) + varint_size(track_size) + track_size);
    if (at == NULL) {
        return -1;
    }
    at = put_varint(put_bytes(at, DESCRIPTOR_TAG, sizeof(DESCRIPTOR_TAG)), track_size);
    at = put_bytes(at, fields, fields_size);
    if (label != NULL) {
        put_bytes(at, label, label_size);
    }
    return 0;
}

/* Return the bytes of one of the track events that are shown. */
static const uint8_t *
shown_at(const struct shown *shown, size_t index, size_t *size)
{
    size_t start = index ? shown->ends[index - 1] : 0;
    *size = shown->ends[index] - start;
    return shown->bytes.bytes + start;
}

/* Send the track events that are shown from one on, so long after the last packet. */
static int
send_shown_from(struct encoder *encoder, size_t index, uint64_t delay_ns)
{
    for (; index < encoder->shown.count; index++) {
        size_t size;
        const uint8_t *event = shown_at(&encoder->shown, index, &size);
        uint8_t *at = begin_packet(encoder, 1 + varint_size(delay_ns) + encoder->sequence_size + size);
        if (at == NULL) {
            return -1;
        }
        *at++ = TIMESTAMP_TAG;
        at = put_varint(at, delay_ns);
        at = put_bytes(at, encoder->sequence, encoder->sequence_size);
        if (size) {
            put_bytes(at, event, size);
        }
        delay_ns = 0;
    }
    return 0;
}

/* Send the track events that are shown, which belong to no event of ours. */
int
send_shown(struct encoder *encoder, uint64_t delay_ns)
{
    return send_shown_from(encoder, 0, delay_ns);
}

/* Write what goes before the head of an event's record, where its thread is not that of the event before. */
static uint8_t *
put_switch(struct encoder *encoder, uint8_t *at, struct thread *thread)
{
    bool is_new = thread->number < 0;
    if (is_new) {
        thread->number = encoder->next_thread_number++;
    }
    *at++ = OTHER_THREAD;
    at = put_varint(at, (uint64_t)thread->number);
    encoder->last_thread = thread;
    return is_new ? put_varint(at, (uint64_t)thread->id) : at;
}

static bool
is_other_a_number(int64_t kind)
{
    return kind == CALL_FINISHED || kind == CALLBACK_RAN || kind == LOST || kind == PROCESS_STARTED ||
           kind == BLOCKING_STARTED;
}

/* Write an event's record; return where it ends. There must be room for RECORD_BYTES. */
static uint8_t *
put_record(struct encoder *encoder, uint8_t *at, const struct event *event, struct thread *thread)
{
    if (event->time_ns < encoder->clock_ns) {
        /* The tracks have been drawn up to the clock: that is when it shows. */
        *at++ = LATE;
        at = put_varint(at, (uint64_t)(encoder->clock_ns - event->time_ns));
    }
    if (thread != encoder->last_thread) {
        at = put_switch(encoder, at, thread);
    }
    bool is_short = event->kind > 0 && event->kind < LATE;
    *at++ = (uint8_t)((is_short ? event->kind : 0) | (event->other ? HAS_OTHER : 0) | (event->site ? HAS_SITE : 0) |
                      (event->flags ? HAS_FLAGS : 0));
    if (!is_short) {
        at = put_varint(at, (uint64_t)event->kind);
    }
    at = put_varint(at, zigzag(event->subject - encoder->last_subject));
    encoder->last_subject = event->subject;
    if (event->other) {
        bool is_number = is_other_a_number(event->kind);
        at = put_varint(at, is_number ? (uint64_t)event->other : zigzag(event->other - event->subject));
    }
    if (event->site) {
        at = put_varint(at, (uint64_t)event->site);
    }
    if (event->flags) {
        at = put_varint(at, (uint64_t)event->flags);
    }
    return at;
}

/* Send an event, with the first of the track events that are shown, and then the others. */
static int
send_event(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    uint8_t record[RECORD_BYTES];
    size_t record_size = (size_t)(put_record(encoder, record, event, thread) - record); /* below 128 */
    uint64_t delay_ns = 0;
    if (event->time_ns >= encoder->clock_ns) {
        delay_ns = (uint64_t)(event->time_ns - encoder->clock_ns);
        encoder->clock_ns = event->time_ns;
    }
    size_t shown_size = 0;
    const uint8_t *shown = NULL;
    if (encoder->shown.count) {
        shown = shown_at(&encoder->shown, 0, &shown_size);
    }
    size_t size = sizeof(EVENT_TAG) + 1 + record_size + 1 + varint_size(delay_ns) + encoder->sequence_size;
    uint8_t *at = begin_packet(encoder, size + shown_size);
    if (at == NULL) {
        return -1;
    }
    at = put_bytes(at, EVENT_TAG, sizeof(EVENT_TAG));
    *at++ = (uint8_t)record_size;
    at = put_bytes(at, record, record_size);
    *at++ = TIMESTAMP_TAG;
    at = put_varint(at, delay_ns);
    at = put_bytes(at, encoder->sequence, encoder->sequence_size);
    if (shown_size) {
        put_bytes(at, shown, shown_size);
    }
    return send_shown_from(encoder, 1, 0);
}

/* Add to `shown` what an event shows as; one of another kind shows as nothing. */
static int
show_event(struct encoder *encoder, const struct event *event, struct thread *thread)
{
    switch (event->kind) {
    case TASK_CREATED:
    case TASK_READY:
    case STEP_STARTED:
    case STEP_FINISHED:
    case AWAIT_STACK:
    case TASK_COLLECTED:
        return show_task_event(encoder, event, thread);
    case COROUTINE_STARTED:
    case COROUTINE_SUSPENDED:
    case COROUTINE_RESUMED:
    case COROUTINE_FINISHED:
        return show_coroutine_event(encoder, event, thread);
    case CALL_STARTED:
    case CALL_FINISHED:
    case JOB_SUBMITTED:
    case JOB_FORGOTTEN:
    case BLOCKING_STARTED:
    case BLOCKING_FINISHED:
    case LOOP_IDLE_STARTED:
    case LOOP_IDLE_FINISHED:
    case CALLBACK_RAN:
    case MARK:
    case LOST:
        return show_thread_event(encoder, event, thread);
    default:
        return 0;
    }
}

/* Send an event's packets; `target` is the encoder. */
int
encode_event(void *target, const struct event *event)
{
    struct encoder *encoder = target;
    struct thread *thread = encoder->last_thread;
    if ((thread == NULL || thread->id != event->thread) && (thread = thread_of(encoder, event->thread)) == NULL) {
        return -1;
    }
    encoder->shown.count = 0;
    encoder->shown.bytes.size = 0;
    encoder->once.size = 0;
    if (show_event(encoder, event, thread) < 0) {
        return -1;
    }
    if (encoder->is_base) {
        encoder->shown.count = 0;
    }
    if (send_event(encoder, event, thread) < 0) {
        return -1;
    }
    if (encoder->out.size <= FLUSH_AT) {
        return 0;
    }
    /* Some thousand events: time for other threads, while it is written, and for Ctrl-C. */
    return flush(encoder) < 0 || PyErr_CheckSignals() < 0 ? -1 : 0;
}
