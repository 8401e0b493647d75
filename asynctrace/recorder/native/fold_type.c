/* The type Fold, as Python sees it. What it keeps is handed out as plain values, for `NativeFold` in native_fold.py. */

#include "fold.h"

struct fold_object {
    PyObject_HEAD
    struct fold fold;
};

static struct fold *
fold_of(PyObject *self)
{
    return &((struct fold_object *)self)->fold;
}

static PyObject *
number(int64_t value) /* new reference */
{
    return PyLong_FromLongLong(value);
}

/* Return a list of numbers (new reference). */
static PyObject *
list_of(const struct numbers *numbers)
{
    PyObject *list = PyList_New((Py_ssize_t)numbers->count);
    for (size_t index = 0; list != NULL && index < numbers->count; index++) {
        PyObject *item = number(numbers->items[index]);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)index, item);
    }
    return list;
}

/* The attributes of each life, in the order of the __slots__ of its class in living.py (new references). */

static PyObject *
task_values(const void *life)
{
    const struct task_life *task = life;
    PyObject *cause = task->has_cause ? Py_BuildValue("(LLLL)", task->cause.thread, task->cause.other,
                                                      task->cause.site, task->cause.flags)
                                      : Py_NewRef(Py_None);
    if (cause == NULL) {
        return NULL;
    }
    return Py_BuildValue("(LNLLNiLLLLL)", task->awaited, cause, task->creator, task->future_type,
                         PyBool_FromLong(task->is_eager), task->kind, task->loop, task->root, task->site, task->stack,
                         task->thread);
}

static PyObject *
coroutine_values(const void *life)
{
    const struct coroutine_life *coroutine = life;
    return Py_BuildValue("(LLLNNNLLLLL)", coroutine->awaiter, coroutine->awaits, coroutine->driver,
                         PyBool_FromLong(coroutine->is_generator), PyBool_FromLong(coroutine->is_moved),
                         PyBool_FromLong(coroutine->is_suspended), coroutine->offset, coroutine->parent,
                         coroutine->site, coroutine->task, coroutine->yields);
}

static PyObject *
thread_values(const void *life)
{
    const struct thread_life *thread = life;
    PyObject *steps = PyList_New((Py_ssize_t)thread->step_count);
    for (size_t index = 0; steps != NULL && index < thread->step_count; index++) {
        const struct step *step = &thread->steps[index];
        PyObject *running = list_of(&step->running);
        PyObject *item = running != NULL ? Py_BuildValue("(LN)", step->task, running) : NULL;
        if (item == NULL) {
            Py_CLEAR(steps);
            break;
        }
        PyList_SET_ITEM(steps, (Py_ssize_t)index, item);
    }
    PyObject *bare = list_of(&thread->bare), *calls = list_of(&thread->calls);
    PyObject *values = NULL;
    if (steps != NULL && bare != NULL && calls != NULL) {
        values = PyTuple_Pack(3, bare, calls, steps);
    }
    Py_XDECREF(steps);
    Py_XDECREF(bare);
    Py_XDECREF(calls);
    return values;
}

static PyObject *
call_values(const void *life)
{
    const struct call_life *call = life;
    return Py_BuildValue("(LLLL)", call->depth, call->flags, call->job, call->site);
}

static PyObject *
job_values(const void *life)
{
    const struct job_life *job = life;
    PyObject *end = job->has_end ? Py_BuildValue("(LL)", job->end_site, job->end_flags) : Py_NewRef(Py_None);
    return end != NULL ? Py_BuildValue("(NLLLL)", end, job->flags, job->site, job->task, job->thread) : NULL;
}

static PyObject *
loop_values(const void *life)
{
    const struct loop_life *loop = life;
    return Py_BuildValue("(LLLL)", loop->idle_thread, loop->seen_by, loop->site, loop->thread);
}

/* Return a dict from ids to the values of their lives (new reference). */
static PyObject *
lives_of(const struct table *lives, PyObject *(*values_of)(const void *life))
{
    PyObject *dict = PyDict_New();
    for (size_t index = 0; dict != NULL && index < lives->capacity; index++) {
        struct entry entry = lives->entries[index];
        if (entry.value == 0) {
            continue;
        }
        PyObject *id = number(entry.key), *values = values_of((const void *)(uintptr_t)entry.value);
        if (id == NULL || values == NULL || PyDict_SetItem(dict, id, values) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(id);
        Py_XDECREF(values);
    }
    return dict;
}

static int
append(PyObject *list, int64_t id)
{
    PyObject *item = number(id);
    int result = item != NULL ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return result;
}

static PyObject *
passed_of(const struct fold *fold) /* new reference: the ids of coroutines */
{
    PyObject *list = PyList_New(0);
    for (size_t index = 0; list != NULL && index < fold->coroutines.capacity; index++) {
        struct entry entry = fold->coroutines.entries[index];
        const struct coroutine_life *life = (const void *)(uintptr_t)entry.value;
        if (life != NULL && life->is_passed && append(list, entry.key) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *
forgotten_of(const struct fold *fold) /* new reference: the ids of jobs */
{
    PyObject *list = PyList_New(0);
    for (size_t index = 0; list != NULL && index < fold->jobs.capacity; index++) {
        struct entry entry = fold->jobs.entries[index];
        const struct job_life *life = (const void *)(uintptr_t)entry.value;
        if (life != NULL && life->is_forgotten && append(list, entry.key) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* What Python calls. */

static PyObject *
advance(PyObject *self, PyObject *fields)
{
    struct fold *fold = fold_of(self);
    if (!PyObject_CheckBuffer(fields)) { /* of which reading runs no other code, that could come to this fold */
        PyErr_Format(PyExc_TypeError, "flat events are wanted, not %R", fields);
        return NULL;
    }
    int result = each_event(fields, PyExc_OverflowError, fold_event, fold);
    fold_pause(fold);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
copy(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *other = type->tp_alloc(type, 0);
    if (other != NULL && fold_copy(fold_of(other), fold_of(self)) < 0) {
        Py_CLEAR(other);
    }
    return other;
}

static PyObject *
take_ended_tasks(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct numbers *ended = &fold_of(self)->ended_tasks;
    PyObject *list = list_of(ended);
    if (list != NULL) {
        PyMem_Free(ended->items);
        *ended = (struct numbers){NULL, 0, 0};
    }
    return list;
}

static PyObject *
state(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    const struct fold *fold = fold_of(self);
    PyObject *parts[] = {
        lives_of(&fold->tasks, task_values),
        lives_of(&fold->coroutines, coroutine_values),
        lives_of(&fold->threads, thread_values),
        lives_of(&fold->calls, call_values),
        lives_of(&fold->jobs, job_values),
        lives_of(&fold->loops, loop_values),
        list_of(&fold->blockings),
        passed_of(fold),
        list_of(&fold->functions_dropped),
        list_of(&fold->processes),
        forgotten_of(fold),
        list_of(&fold->ended_tasks),
    };
    enum { PARTS = sizeof(parts) / sizeof(parts[0]) };
    PyObject *all = PyTuple_New(PARTS);
    for (Py_ssize_t index = 0; index < PARTS; index++) {
        if (parts[index] == NULL) {
            Py_CLEAR(all);
        }
        else if (all != NULL) {
            PyTuple_SET_ITEM(all, index, Py_NewRef(parts[index]));
        }
    }
    for (size_t index = 0; index < PARTS; index++) {
        Py_XDECREF(parts[index]);
    }
    return all;
}

static PyObject *
get_count(PyObject *self, void *Py_UNUSED(closure))
{
    return number(fold_of(self)->count);
}

static PyObject *
new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":Fold", names)) {
        return NULL;
    }
    return type->tp_alloc(type, 0);
}

static void
dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    fold_free(fold_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"advance", advance, METH_O, "advance(fields): fold further events, flat ones in order of time"},
    {"copy", copy, METH_NOARGS, "copy(): a fold that goes its own way from here"},
    {"take_ended_tasks", take_ended_tasks, METH_NOARGS, "take_ended_tasks(): those that ended since the last call"},
    {"state", state, METH_NOARGS, "state(): what it keeps, as plain values"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"count", get_count, NULL, "how many events were folded", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Who is alive, and in what state, after the events so far."},
    {Py_tp_new, new},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "asynctrace.recorder._native.Fold",
    .basicsize = sizeof(struct fold_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = type_slots,
};

int
add_fold(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int result = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return result;
}
