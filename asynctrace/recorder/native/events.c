/* Events in memory: 32 bytes each, in blocks; and what is done with many of them at once. */

#include "events.h"

enum { SMALLEST_BLOCK = 256, LARGEST_BLOCK = 8192 };
int
refuse_event(void)
{
    PyErr_SetString(PyExc_OverflowError, "an event with a number that does not fit");
    return -1;
}

int
make_room(Core *core)
{
    size_t capacity = core->last == NULL ? SMALLEST_BLOCK : core->last->capacity * 2;
    if (capacity > LARGEST_BLOCK) {
        capacity = LARGEST_BLOCK;
    }
    Block *block = PyMem_RawMalloc(sizeof(Block) + capacity * sizeof(Packed));
    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *block = (Block){NULL, 0, capacity};
    if (core->last == NULL) {
        core->first = block;
    }
    else {
        core->last->next = block;
    }
    core->last = block;
    return 0;
}

int
add_fields(Core *core, PyObject *fields)
{
    int64_t values[FIELDS];
    if (!PyTuple_Check(fields) || PyTuple_GET_SIZE(fields) != FIELDS) {
        PyErr_SetString(PyExc_TypeError, "an event is a tuple of seven numbers");
        return -1;
    }
    for (int index = 0; index < FIELDS; index++) {
        values[index] = PyLong_AsLongLong(PyTuple_GET_ITEM(fields, index));
        if (values[index] == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    forget_times();
    if ((uint64_t)values[2] > INT32_MAX || (uint64_t)values[6] > INT32_MAX) {
        return refuse_event();
    }
    return append(core, values[0], values[1], (int)values[2], values[3], values[4], values[5], (int)values[6]);
}

PyObject *
copy_events(const Core *core)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(core->count * sizeof(Packed)));
    if (bytes != NULL) {
        char *end = PyBytes_AS_STRING(bytes);
        for (const Block *block = core->first; block != NULL; block = block->next) {
            memcpy(end, block->events, block->size * sizeof(Packed));
            end += block->size * sizeof(Packed);
        }
    }
    return bytes;
}

void
free_events(Core *core)
{
    Block *block = core->first;
    core->first = core->last = NULL;
    core->count = 0;
    while (block != NULL) {
        Block *next = block->next;
        PyMem_RawFree(block);
        block = next;
    }
}

PyObject *
take_events(Core *core)
{
    PyObject *bytes = copy_events(core);
    if (bytes == NULL) {
        return NULL;
    }
    /* The last block stays, for what comes next: a large one need not be asked for again and again. */
    Block *last = core->last;
    if (last != NULL) {
        Block *block = core->first;
        while (block != last) {
            Block *next = block->next;
            PyMem_RawFree(block);
            block = next;
        }
        last->size = 0;
        core->first = last;
        core->count = 0;
    }
    return bytes;
}

/* Many events at once. */

static PyObject *array_type; /* array.array, once it was needed */

static PyObject *
as_array(PyObject *bytes) /* steals the reference */
{
    PyObject *array = NULL;
    if (bytes != NULL && array_type == NULL) {
        PyObject *module = PyImport_ImportModule("array");
        array_type = module != NULL ? PyObject_GetAttrString(module, "array") : NULL;
        Py_XDECREF(module);
    }
    if (bytes != NULL && array_type != NULL) {
        array = PyObject_CallFunction(array_type, "sO", "q", bytes);
    }
    Py_XDECREF(bytes);
    return array;
}

static inline void
unpack(const Packed *event, int64_t first_id, int64_t *fields)
{
    int64_t id = (int64_t)(event->subject & ID_BITS);
    fields[0] = event->time_ns;
    fields[1] = event->thread;
    fields[2] = (int64_t)(event->subject >> KIND_SHIFT & KIND_BITS);
    fields[3] = event->subject >> OWN_BIT & 1 ? first_id + id : id;
    fields[4] = event->other;
    fields[5] = event->site;
    fields[6] = (int64_t)(event->subject >> FLAGS_SHIFT & FLAG_BITS);
}

/* unpack(events, first_id, begin, end): the fields of events as an array of seven numbers each. */
PyObject *
unpack_events(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "unpack(events, first_id, begin, end)");
        return NULL;
    }
    int64_t first_id = PyLong_AsLongLong(args[1]);
    Py_ssize_t begin = PyLong_AsSsize_t(args[2]), end = PyLong_AsSsize_t(args[3]);
    Py_buffer view;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Py_ssize_t there = view.len / (Py_ssize_t)sizeof(Packed);
    end = end < there ? end : there;
    begin = begin < 0 ? 0 : begin < end ? begin : end;
    PyObject *bytes = NULL;
    if (end >= 0 && end - begin <= PY_SSIZE_T_MAX / (FIELDS * (Py_ssize_t)sizeof(int64_t))) {
        bytes = PyBytes_FromStringAndSize(NULL, (end - begin) * FIELDS * (Py_ssize_t)sizeof(int64_t));
    }
    if (bytes != NULL) {
        const Packed *events = view.buf;
        int64_t *fields = (int64_t *)(void *)PyBytes_AS_STRING(bytes);
        for (Py_ssize_t index = begin; index < end; index++, fields += FIELDS) {
            unpack(&events[index], first_id, fields);
        }
    }
    else if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    PyBuffer_Release(&view);
    return as_array(bytes);
}

/* Sort by time; what has the same time stays as it came. Runs that are in order already are merged. */
static int
sort(Packed *events, size_t count)
{
    Packed *other = NULL;
    for (;;) {
        size_t first = 1;
        while (first < count && events[first - 1].time_ns <= events[first].time_ns) {
            first++;
        }
        if (first >= count) {
            break;
        }
        if (other == NULL && (other = PyMem_RawMalloc(count * sizeof(Packed))) == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (size_t begin = 0; begin < count;) { /* merge each run with the next one */
            size_t middle = begin + 1;
            while (middle < count && events[middle - 1].time_ns <= events[middle].time_ns) {
                middle++;
            }
            size_t end = middle < count ? middle + 1 : middle;
            while (end < count && events[end - 1].time_ns <= events[end].time_ns) {
                end++;
            }
            size_t left = begin, right = middle;
            for (size_t place = begin; place < end; place++) {
                bool takes_left = right == end || (left < middle && events[left].time_ns <= events[right].time_ns);
                other[place] = events[takes_left ? left++ : right++];
            }
            begin = end;
        }
        memcpy(events, other, count * sizeof(Packed));
    }
    PyMem_RawFree(other);
    return 0;
}

/* settle(pending, taken, until_ns, start_ns): all in order of time, none earlier than the start, parted into (those up
 * to a time, those after it). Both are bytes of events. */
PyObject *
settle_events(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "settle(pending, taken, until_ns, start_ns)");
        return NULL;
    }
    int64_t until_ns = PyLong_AsLongLong(args[2]), start_ns = PyLong_AsLongLong(args[3]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    size_t before = (size_t)PyBytes_GET_SIZE(args[0]), after = (size_t)PyBytes_GET_SIZE(args[1]);
    size_t total = (before + after) / sizeof(Packed);
    Packed *events = PyMem_RawMalloc(total > 0 ? total * sizeof(Packed) : 1);
    if (events == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(events, PyBytes_AS_STRING(args[0]), before);
    memcpy((char *)events + before, PyBytes_AS_STRING(args[1]), after);
    PyObject *parted = NULL;
    if (sort(events, total) == 0) {
        size_t ready = 0;
        for (size_t index = 0; index < total && events[index].time_ns < start_ns; index++) {
            events[index].time_ns = start_ns; /* another thread's, stamped while the hooks were put in */
        }
        while (ready < total && events[ready].time_ns <= until_ns) {
            ready++;
        }
        parted = Py_BuildValue("(y#y#)", (char *)events, (Py_ssize_t)(ready * sizeof(Packed)),
                               (char *)(events + ready), (Py_ssize_t)((total - ready) * sizeof(Packed)));
    }
    PyMem_RawFree(events);
    return parted;
}
