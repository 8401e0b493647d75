/* What events mention that has to be described: the native scanner. Its reference is ReferenceScanner in describing.py.
 *
 * It remembers what it has told, and tells it once, where the reference tells it with each batch: whoever asks knows
 * what was described already.
 */

#include "describing.h"

#include "containers.h"
#include "event_reader.h"

struct scanner {
    PyObject_HEAD
    struct table code_of_coroutine; /* the site of its code, which may be 0: then it is not in here */
    struct table told_numbers;      /* number -> 1 */
    struct table told_stacks;       /* key -> 1 */
    struct table told_places;       /* site -> struct table *, owned: offset -> 1 */
    /* Of the batch in hand, owned: the reader of the events may come to other Python code, and that to this scanner. */
    PyObject *numbers;
    PyObject *places;
    PyObject *stacks;
    PyObject *tasks;
    struct table batch_tasks; /* task -> 1: it has been told, 2: and that it has ended */
};

enum { MENTIONED = 1, ENDED = 2 };

static int
add_to(PyObject *list, PyObject *item)
{
    if (item == NULL) {
        return -1;
    }
    int result = PyList_Append(list, item);
    Py_DECREF(item);
    return result;
}

/* Tell a number, where it was not told before. */
static int
tell_number(struct table *told, PyObject *list, int64_t number)
{
    if (table_get(told, number)) {
        return 0;
    }
    return table_set(told, number, 1) < 0 ? -1 : add_to(list, PyLong_FromLongLong(number));
}

static int
tell_place(struct scanner *scanner, int64_t site, int64_t offset)
{
    struct table *offsets = table_find(&scanner->told_places, site);
    if (offsets == NULL) {
        offsets = PyMem_Calloc(1, sizeof(struct table));
        if (offsets == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (table_put(&scanner->told_places, site, offsets) < 0) {
            PyMem_Free(offsets);
            return -1;
        }
    }
    if (table_get(offsets, offset)) {
        return 0;
    }
    if (table_set(offsets, offset, 1) < 0) {
        return -1;
    }
    return add_to(scanner->places, Py_BuildValue("(LL)", (long long)site, (long long)offset));
}

/* Tell a task with a step or an end in this batch: once, and once more where it has ended. */
static int
tell_task(struct scanner *scanner, int64_t task, bool has_ended)
{
    uint64_t known = table_get(&scanner->batch_tasks, task), now = has_ended ? ENDED : MENTIONED;
    if (known >= now) {
        return 0;
    }
    if (table_set(&scanner->batch_tasks, task, now) < 0) {
        return -1;
    }
    PyObject *key = PyLong_FromLongLong(task);
    int result = key != NULL ? PyDict_SetItem(scanner->tasks, key, has_ended ? Py_True : Py_False) : -1;
    Py_XDECREF(key);
    return result;
}

static int
take_event(void *target, const struct event *event)
{
    struct scanner *scanner = target;
    switch (event->kind) {
    case COROUTINE_STARTED:
        if (event->site) {
            if (table_set(&scanner->code_of_coroutine, event->subject, (uint64_t)event->site) < 0) {
                return -1;
            }
        }
        else {
            table_take(&scanner->code_of_coroutine, event->subject);
        }
        break;
    case COROUTINE_SUSPENDED: /* its site is an offset */
        return tell_place(scanner, (int64_t)table_get(&scanner->code_of_coroutine, event->subject), event->site);
    case COROUTINE_FINISHED:
        table_take(&scanner->code_of_coroutine, event->subject);
        break;
    case BLOCKING_STARTED:
        if (event->other && (tell_place(scanner, event->other, event->flags) < 0 ||
                             tell_number(&scanner->told_numbers, scanner->numbers, event->other) < 0)) {
            return -1;
        }
        break;
    case TASK_CREATED:
    case STEP_STARTED:
        if (tell_task(scanner, event->subject, false) < 0) {
            return -1;
        }
        break;
    case STEP_FINISHED:
        if (tell_task(scanner, event->subject, (event->flags & OUTCOME_MASK) != 0) < 0) {
            return -1;
        }
        break;
    case TASK_COLLECTED:
        if (tell_task(scanner, event->subject, true) < 0) {
            return -1;
        }
        break;
    case AWAIT_STACK:
        return tell_number(&scanner->told_stacks, scanner->stacks, event->site);
    default:
        break;
    }
    return tell_number(&scanner->told_numbers, scanner->numbers, event->site);
}

static void
end_batch(struct scanner *scanner)
{
    table_clear(&scanner->batch_tasks);
    Py_CLEAR(scanner->numbers);
    Py_CLEAR(scanner->places);
    Py_CLEAR(scanner->stacks);
    Py_CLEAR(scanner->tasks);
}

static PyObject *
scanner_scan(PyObject *self, PyObject *events)
{
    struct scanner *scanner = (struct scanner *)self;
    if (scanner->numbers != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this scanner is at work already");
        return NULL;
    }
    scanner->numbers = PyList_New(0);
    scanner->places = PyList_New(0);
    scanner->stacks = PyList_New(0);
    scanner->tasks = PyDict_New();
    PyObject *found = NULL;
    if (scanner->numbers != NULL && scanner->places != NULL && scanner->stacks != NULL && scanner->tasks != NULL &&
        each_event(events, PyExc_OverflowError, take_event, scanner) == 0) {
        found = PyTuple_Pack(4, scanner->numbers, scanner->places, scanner->stacks, scanner->tasks);
    }
    end_batch(scanner);
    return found;
}

static PyObject *
scanner_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":Scanner", names)) {
        return NULL;
    }
    return type->tp_alloc(type, 0);
}

static void
scanner_dealloc(PyObject *self)
{
    struct scanner *scanner = (struct scanner *)self;
    PyTypeObject *type = Py_TYPE(self);
    end_batch(scanner);
    for (size_t index = 0; index < scanner->told_places.capacity; index++) {
        struct table *offsets = (void *)(uintptr_t)scanner->told_places.entries[index].value;
        if (offsets != NULL) {
            table_free(offsets);
            PyMem_Free(offsets);
        }
    }
    table_free(&scanner->told_places);
    table_free(&scanner->code_of_coroutine);
    table_free(&scanner->told_numbers);
    table_free(&scanner->told_stacks);
    table_free(&scanner->batch_tasks);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef scanner_methods[] = {
    {"scan", scanner_scan, METH_O, "Return what events mention: numbers, places, stacks, tasks."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot scanner_slots[] = {
    {Py_tp_doc, "Goes along with the events, in order, and tells what they mention."},
    {Py_tp_new, scanner_new},
    {Py_tp_dealloc, scanner_dealloc},
    {Py_tp_methods, scanner_methods},
    {0, NULL},
};

static PyType_Spec scanner_spec = {
    .name = "asynctrace.recorder._native.Scanner",
    .basicsize = sizeof(struct scanner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scanner_slots,
};

int
add_scanner(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &scanner_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int result = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return result;
}
