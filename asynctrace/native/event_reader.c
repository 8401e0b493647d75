#include "event_reader.h"

#include <stdbool.h>
#include <string.h>

enum { FIELDS = sizeof(struct event) / sizeof(int64_t) };

static bool
is_in_range(const struct event *event)
{
    return (event->time_ns | event->thread | event->kind | event->subject | event->other | event->site |
            event->flags) >= 0;
}

static int
refuse(PyObject *error, PyObject *event)
{
    PyErr_Format(error, "an event with a number that does not fit in 63 bits: %S", event);
    return -1;
}

static int
read_tuple(PyObject *tuple, PyObject *error, struct event *event)
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
            return refuse(error, tuple);
        }
        if (number == -1 && PyErr_Occurred()) {
            return -1;
        }
        fields[index] = number;
    }
    memcpy(event, fields, sizeof(fields));
    return is_in_range(event) ? 0 : refuse(error, tuple);
}

static int
each_tuple(PyObject *events, PyObject *error, int (*take)(void *, const struct event *), void *target)
{
    PyObject *iterator = PyObject_GetIter(events);
    if (iterator == NULL) {
        return -1;
    }
    PyObject *tuple;
    while ((tuple = PyIter_Next(iterator)) != NULL) {
        struct event event;
        int result = read_tuple(tuple, error, &event);
        Py_DECREF(tuple);
        if (result < 0 || take(target, &event) < 0) {
            Py_DECREF(iterator);
            return -1;
        }
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static int
refuse_flat(PyObject *error, const struct event *event)
{
    PyObject *tuple = Py_BuildValue("(LLLLLLL)", (long long)event->time_ns, (long long)event->thread,
                                    (long long)event->kind, (long long)event->subject, (long long)event->other,
                                    (long long)event->site, (long long)event->flags);
    if (tuple != NULL) {
        refuse(error, tuple);
        Py_DECREF(tuple);
    }
    return -1;
}

static int
each_flat(const Py_buffer *view, PyObject *error, int (*take)(void *, const struct event *), void *target)
{
    bool is_signed = view->format != NULL && (strcmp(view->format, "q") == 0 || strcmp(view->format, "l") == 0);
    if (!is_signed || view->itemsize != sizeof(int64_t) || view->len % (Py_ssize_t)sizeof(struct event)) {
        PyErr_SetString(PyExc_ValueError, "flat events are seven integers each, of 64 bits with a sign");
        return -1;
    }
    for (Py_ssize_t position = 0; position < view->len; position += (Py_ssize_t)sizeof(struct event)) {
        struct event event;
        memcpy(&event, (const char *)view->buf + position, sizeof(event));
        if (!is_in_range(&event)) {
            return refuse_flat(error, &event);
        }
        if (take(target, &event) < 0) {
            return -1;
        }
    }
    return 0;
}

int
each_event(PyObject *events, PyObject *error, int (*take)(void *, const struct event *), void *target)
{
    if (!PyObject_CheckBuffer(events)) {
        return each_tuple(events, error, take, target);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(events, &view, PyBUF_CONTIG_RO | PyBUF_FORMAT) < 0) {
        return -1;
    }
    int result = each_flat(&view, error, take, target);
    PyBuffer_Release(&view);
    return result;
}
