/* Packets: the record of each event, and what it shows as. See perfetto_encoder.py and perfetto_layout.py. */

#include "encoder.h"

enum { FLUSH_AT = 1 << 18 }; /* bytes to write at once */

/* Of an event's record. */
enum { LATE = 30, OTHER_THREAD = 31, HAS_OTHER = 32, HAS_SITE = 64, HAS_FLAGS = 128 };
enum { RECORD_BYTES = 3 + 9 * VARINT_BYTES };

enum { FIELDS = sizeof(struct event) / sizeof(int64_t) };

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

static int
encode_event(struct encoder *encoder, const struct event *event, bool is_base)
{
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
    if (is_base) {
        encoder->shown.count = 0; /* nothing happens in a base: it leads to what is open after it */
    }
    if (send_event(encoder, event, thread) < 0) {
        return -1;
    }
    return encoder->out.size > FLUSH_AT ? flush(encoder) : 0;
}

/* Tell whether all numbers of an event fit in 63 bits: all that is done with them relies on it. */
static bool
is_in_range(const struct event *event)
{
    return (event->time_ns | event->thread | event->kind | event->subject | event->other | event->site |
            event->flags) >= 0;
}

/* Raise the WireError of an event, a tuple. */
static int
refuse(PyObject *event)
{
    PyObject *module = PyImport_ImportModule("asynctrace.formats.wire");
    PyObject *error = module != NULL ? PyObject_GetAttrString(module, "WireError") : NULL;
    if (error != NULL) {
        PyErr_Format(error, "an event with a number that does not fit in 63 bits: %S", event);
    }
    Py_XDECREF(error);
    Py_XDECREF(module);
    return -1;
}

/* Read a tuple. */
static int
read_event(PyObject *tuple, struct event *event)
{
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != FIELDS) {
        PyErr_Format(PyExc_ValueError, "an event is a tuple of seven integers, not %R", tuple);
        return -1;
    }
    int64_t fields[FIELDS];
    for (Py_ssize_t index = 0; index < FIELDS; index++) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(PyTuple_GET_ITEM(tuple, index), &overflow);
        if (overflow) {
            return refuse(tuple);
        }
        if (number == -1 && PyErr_Occurred()) {
            return -1;
        }
        fields[index] = number;
    }
    memcpy(event, fields, sizeof(fields));
    return is_in_range(event) ? 0 : refuse(tuple);
}

static int
encode_one_by_one(struct encoder *encoder, PyObject *events, bool is_base)
{
    PyObject *iterator = PyObject_GetIter(events);
    if (iterator == NULL) {
        return -1;
    }
    PyObject *tuple;
    while ((tuple = PyIter_Next(iterator)) != NULL) {
        struct event event;
        int result = read_event(tuple, &event);
        Py_DECREF(tuple);
        if (result < 0 || encode_event(encoder, &event, is_base) < 0) {
            Py_DECREF(iterator);
            return -1;
        }
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static int
refuse_flat(const struct event *event)
{
    PyObject *tuple = Py_BuildValue("(LLLLLLL)", (long long)event->time_ns, (long long)event->thread,
                                    (long long)event->kind, (long long)event->subject, (long long)event->other,
                                    (long long)event->site, (long long)event->flags);
    if (tuple != NULL) {
        refuse(tuple);
        Py_DECREF(tuple);
    }
    return -1;
}

static int
encode_flat(struct encoder *encoder, const Py_buffer *view, bool is_base)
{
    bool is_signed = view->format != NULL && (strcmp(view->format, "q") == 0 || strcmp(view->format, "l") == 0);
    if (!is_signed || view->itemsize != sizeof(int64_t) || view->len % (Py_ssize_t)sizeof(struct event)) {
        PyErr_SetString(PyExc_ValueError, "flat events are seven integers each, of 64 bits with a sign");
        return -1;
    }
    const char *at = view->buf, *end = at + view->len;
    for (; at < end; at += sizeof(struct event)) {
        struct event event;
        memcpy(&event, at, sizeof(event));
        if (!is_in_range(&event)) {
            return refuse_flat(&event);
        }
        if (encode_event(encoder, &event, is_base) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Encode events, an iterable of tuples or flat. */
int
encode_events(struct encoder *encoder, PyObject *events, bool is_base)
{
    if (!PyObject_CheckBuffer(events)) {
        return encode_one_by_one(encoder, events, is_base);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(events, &view, PyBUF_CONTIG_RO | PyBUF_FORMAT) < 0) {
        return -1;
    }
    int result = encode_flat(encoder, &view, is_base);
    PyBuffer_Release(&view);
    return result;
}
