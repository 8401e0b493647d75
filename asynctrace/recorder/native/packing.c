/* Packed events: counted, unpacked, put in order of time and cut.
 *
 * They are bytes that this core has made itself, and are only checked for being whole.
 */

#include "packing.h"
#include "events.h"

enum { MOST_IN_FRAME = 1 << 16 };

typedef struct {
    int64_t values[FIELDS];
} Event;

static PyObject *array_type; /* array.array, once it was needed */

/* Reading. */

typedef struct {
    const uint8_t *place, *end;
} Frames;

/* Go to the next frame: its events, its bytes; false at the end. */
static bool
next_frame(Frames *frames, size_t *count, const uint8_t **events)
{
    uint32_t head[2];
    if (frames->end - frames->place < FRAME_HEAD) {
        return false;
    }
    memcpy(head, frames->place, FRAME_HEAD);
    *events = frames->place + FRAME_HEAD;
    if ((size_t)(frames->end - *events) < head[1]) {
        return false;
    }
    frames->place = *events + head[1];
    *count = head[0];
    return true;
}

static size_t
count_in(Frames frames)
{
    size_t all = 0, count;
    const uint8_t *events;
    while (next_frame(&frames, &count, &events)) {
        all += count;
    }
    return all;
}

static inline uint64_t
get(const uint8_t **place)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = *(*place)++;
        value |= (uint64_t)(byte & 127) << shift;
        shift += 7;
    } while (byte > 127 && shift < 70);
    return value;
}

/* Read the event that follows another in its frame, the first one one of zeros; return where the next one is. */
static inline const uint8_t *
read_event(const uint8_t *place, Event *event)
{
    uint64_t thread = (uint64_t)event->values[1];
    unsigned head = *place++;
    if (head == OTHER_THREAD) {
        thread = get(&place);
        head = *place++;
    }
    uint64_t time_ns = (uint64_t)event->values[0] + unzigzag(get(&place));
    uint64_t subject = (uint64_t)event->values[3] + unzigzag(get(&place));
    uint64_t other = head & HAS_OTHER ? subject + unzigzag(get(&place)) : 0;
    uint64_t site = head & HAS_SITE ? get(&place) : 0;
    uint64_t flags = head & HAS_FLAGS ? get(&place) : 0;
    *event = (Event){{(int64_t)time_ns, (int64_t)thread, head & 31, (int64_t)subject, (int64_t)other, (int64_t)site,
                      (int64_t)flags}};
    return place;
}

/* Read the events of a frame from one to before another into `events`. */
static void
read_events(const uint8_t *place, size_t begin, size_t end, Event *events)
{
    Event event = {{0}};
    for (size_t index = 0; index < end; index++) {
        place = read_event(place, &event);
        if (index >= begin) {
            *events++ = event;
        }
    }
}

/* Read some of all events. */
static void
read_range(Frames frames, size_t begin, size_t end, Event *events)
{
    size_t first = 0, count;
    const uint8_t *place;
    while (first < end && next_frame(&frames, &count, &place)) {
        size_t from = begin > first ? begin - first : 0;
        size_t until = end - first < count ? end - first : count;
        if (from < until) {
            read_events(place, from, until, events);
            events += until - from;
        }
        first += count;
    }
}

/* Writing. */

static PyObject *
pack_events(const Event *events, size_t count) /* new reference: bytes */
{
    size_t frames = (count + MOST_IN_FRAME - 1) / MOST_IN_FRAME;
    if (count > PY_SSIZE_T_MAX / LONGEST_EVENT / 2) {
        return PyErr_NoMemory();
    }
    uint8_t *bytes = PyMem_RawMalloc(frames * FRAME_HEAD + count * LONGEST_EVENT + 1);
    if (bytes == NULL) {
        return PyErr_NoMemory();
    }
    uint8_t *end = bytes;
    for (size_t begin = 0; begin < count; begin += MOST_IN_FRAME) {
        size_t some = count - begin < MOST_IN_FRAME ? count - begin : MOST_IN_FRAME;
        uint8_t *head = end;
        Cursor cursor = {head + FRAME_HEAD, 0, 0, 0};
        for (size_t index = begin; index < begin + some; index++) {
            const int64_t *values = events[index].values;
            write_event(&cursor, (uint64_t)values[0], (uint64_t)values[1], (unsigned)values[2], (uint64_t)values[3],
                        (uint64_t)values[4], (uint64_t)values[5], (uint64_t)values[6]);
        }
        write_frame_head(head, some, (size_t)(cursor.place - head) - FRAME_HEAD);
        end = cursor.place;
    }
    PyObject *packed = PyBytes_FromStringAndSize((char *)bytes, end - bytes);
    PyMem_RawFree(bytes);
    return packed;
}

/* Sort by time; what has the same time stays as it came. Runs that are in order already are merged. */
static int
sort(Event *events, size_t count)
{
    Event *other = NULL;
    for (;;) {
        size_t first = 1;
        while (first < count && events[first - 1].values[0] <= events[first].values[0]) {
            first++;
        }
        if (first >= count) {
            break;
        }
        if (other == NULL && (other = PyMem_RawMalloc(count * sizeof(Event))) == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (size_t begin = 0; begin < count;) { /* merge each run with the next one */
            size_t middle = begin + 1;
            while (middle < count && events[middle - 1].values[0] <= events[middle].values[0]) {
                middle++;
            }
            size_t end = middle < count ? middle + 1 : middle;
            while (end < count && events[end - 1].values[0] <= events[end].values[0]) {
                end++;
            }
            size_t left = begin, right = middle;
            for (size_t place = begin; place < end; place++) {
                bool takes_left =
                    right == end || (left < middle && events[left].values[0] <= events[right].values[0]);
                other[place] = events[takes_left ? left++ : right++];
            }
            begin = end;
        }
        memcpy(events, other, count * sizeof(Event));
    }
    PyMem_RawFree(other);
    return 0;
}

/* What Python calls. */

static Frames
frames_of(const Py_buffer *view)
{
    return (Frames){view->buf, (const uint8_t *)view->buf + view->len};
}

/* count(packed) */
PyObject *
count_events(PyObject *Py_UNUSED(module), PyObject *packed)
{
    Py_buffer view;
    if (PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    size_t count = count_in(frames_of(&view));
    PyBuffer_Release(&view);
    return PyLong_FromSize_t(count);
}

/* earliest(packed): the earliest time of these events; the end of all times if there are none. */
PyObject *
earliest_event(PyObject *Py_UNUSED(module), PyObject *packed)
{
    Py_buffer view;
    if (PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Frames frames = frames_of(&view);
    int64_t earliest = INT64_MAX;
    size_t count;
    const uint8_t *place;
    while (next_frame(&frames, &count, &place)) {
        Event event = {{0}};
        while (count-- > 0) {
            place = read_event(place, &event);
            earliest = event.values[0] < earliest ? event.values[0] : earliest;
        }
    }
    PyBuffer_Release(&view);
    return PyLong_FromLongLong(earliest);
}

/* Read (packed, begin, end) into new memory; NULL and an error. */
static Event *
read_arguments(PyObject *const *args, Py_ssize_t given, size_t *count)
{
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "(packed, begin, end) are wanted");
        return NULL;
    }
    Py_ssize_t begin = PyLong_AsSsize_t(args[1]), end = PyLong_AsSsize_t(args[2]);
    Py_buffer view;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Frames frames = frames_of(&view);
    Py_ssize_t all = (Py_ssize_t)count_in(frames);
    end = end < all ? end : all;
    begin = begin < 0 ? 0 : begin;
    *count = begin < end ? (size_t)(end - begin) : 0;
    Event *events = *count < PY_SSIZE_T_MAX / sizeof(Event) ? PyMem_RawMalloc(*count * sizeof(Event) + 1) : NULL;
    if (events == NULL) {
        PyErr_NoMemory();
    }
    else if (*count > 0) {
        read_range(frames, (size_t)begin, (size_t)end, events);
    }
    PyBuffer_Release(&view);
    return events;
}

/* unpack(packed, begin, end): the fields of events as an array, seven each. */
PyObject *
unpack_events(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (array_type == NULL) {
        PyObject *module = PyImport_ImportModule("array");
        array_type = module != NULL ? PyObject_GetAttrString(module, "array") : NULL;
        Py_XDECREF(module);
        if (array_type == NULL) {
            return NULL;
        }
    }
    size_t count;
    Event *events = read_arguments(args, given, &count);
    if (events == NULL) {
        return NULL;
    }
    PyObject *view = PyMemoryView_FromMemory((char *)events, (Py_ssize_t)(count * sizeof(Event)), PyBUF_READ);
    PyObject *array = view != NULL ? PyObject_CallFunction(array_type, "s", "q") : NULL;
    PyObject *filled = array != NULL ? PyObject_CallMethod(array, "frombytes", "O", view) : NULL;
    if (filled == NULL) {
        Py_CLEAR(array);
    }
    Py_XDECREF(filled);
    Py_XDECREF(view);
    PyMem_RawFree(events);
    return array;
}

/* slice(packed, begin, end): some of them, packed. */
PyObject *
slice_events(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    size_t count;
    Event *events = read_arguments(args, given, &count);
    PyObject *packed = events != NULL ? pack_events(events, count) : NULL;
    PyMem_RawFree(events);
    return packed;
}

/* settle(pending, taken, until_ns, start_ns): all in order of time, none earlier than the start, parted into (those up to
 * a time, those after it). All are packed. */
PyObject *
settle_events(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    if (given != 4 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "settle(pending, taken, until_ns, start_ns)");
        return NULL;
    }
    int64_t until_ns = PyLong_AsLongLong(args[2]), start_ns = PyLong_AsLongLong(args[3]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Frames both[2];
    size_t counts[2];
    for (int index = 0; index < 2; index++) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(args[index]);
        both[index] = (Frames){bytes, bytes + PyBytes_GET_SIZE(args[index])};
        counts[index] = count_in(both[index]);
    }
    size_t count = counts[0] + counts[1];
    Event *events = PyMem_RawMalloc(count * sizeof(Event) + 1);
    if (events == NULL) {
        return PyErr_NoMemory();
    }
    read_range(both[0], 0, counts[0], events);
    read_range(both[1], 0, counts[1], events + counts[0]);
    PyObject *ready = NULL, *pending = NULL, *parted = NULL;
    if (sort(events, count) == 0) {
        for (size_t index = 0; index < count && events[index].values[0] < start_ns; index++) {
            events[index].values[0] = start_ns; /* another thread's, stamped while the hooks were put in */
        }
        size_t until = 0;
        while (until < count && events[until].values[0] <= until_ns) {
            until++;
        }
        ready = pack_events(events, until);
        pending = ready != NULL ? pack_events(events + until, count - until) : NULL;
        parted = pending != NULL ? PyTuple_Pack(2, ready, pending) : NULL;
    }
    Py_XDECREF(ready);
    Py_XDECREF(pending);
    PyMem_RawFree(events);
    return parted;
}
