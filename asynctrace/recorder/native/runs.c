/* A run stands in for a callback that a loop has queued, as asynctrace.probes.runs defines it: it notes begin and end.
 *
 * To everything but the loop it is its callback. No frame of ours is on the stack while it runs.
 */

#include "hooks.h"
#include "raised.h"
#include "standins.h"
#include <stddef.h>
#include <structmember.h>

enum { MOST_FREE = 64, LONG_CALLBACK_NS = 1000000 };

/* Runs come and go with each step; a few wait here to be used again. */
static Run *free_runs[MOST_FREE];
static int free_count;

static PyObject *run_step(Run *self, PyObject *const *args, size_t count, PyObject *keywords);
static PyObject *run_callback(Run *self, PyObject *const *args, size_t count, PyObject *keywords);

static Run *
new_run(PyTypeObject *type, LoopState *probe, PyObject *callback)
{
    Run *self;
    if (fault()) {
        return NULL;
    }
    if (free_count > 0) {
        self = free_runs[--free_count];
        PyObject_Init((PyObject *)self, type);
    }
    else if ((self = PyObject_GC_New(Run, type)) == NULL) {
        return NULL;
    }
    self->callback = Py_NewRef(callback);
    self->probe = (LoopState *)Py_NewRef((PyObject *)probe);
    self->entry = NULL;
    self->cause = (Cause){0, 0, 0, 0};
    return self;
}

PyObject *
new_callback_run(LoopState *probe, PyObject *callback, const Cause *cause)
{
    Run *self = new_run(&CallbackRun_Type, probe, callback);
    if (self != NULL) {
        self->vectorcall = (vectorcallfunc)run_callback;
        self->cause = *cause;
        PyObject_GC_Track(self);
    }
    return (PyObject *)self;
}

PyObject *
new_step_run(LoopState *probe, PyObject *callback, TaskEntry *entry)
{
    Run *self = new_run(&StepRun_Type, probe, callback);
    if (self != NULL) {
        self->vectorcall = (vectorcallfunc)run_step;
        self->entry = (TaskEntry *)Py_NewRef((PyObject *)entry);
        PyObject_GC_Track(self);
    }
    return (PyObject *)self;
}

bool
is_run(PyObject *object)
{
    return PyObject_TypeCheck(object, &Run_Type);
}

/* Running. What a hook has to say never touches the result of the callback, nor the exception that it raised. */

/* After a hook failed at the end of a run: what a signal's handler raised in it is the program's, and comes after the
 * callback's own exception or result. */
static PyObject *
end_of_failure(LoopState *probe, PyObject *result, Raised raised)
{
    if (failed_in(probe) == 0) {
        if (result == NULL) {
            take_back(raised);
        }
        return result;
    }
    Py_XDECREF(result);
    drop_raised(raised);
    return NULL;
}

/* Before the callback ran, a hook failed. 0: it is to be run all the same. -1: a signal's exception ends this turn of the
 * loop, and a step lost in it would leave its task waiting for ever: so it is queued again. */
static int
failed_at_begin(Run *self, PyObject *const *args, Py_ssize_t count)
{
    LoopState *probe = self->probe;
    if (failed_in(probe) == 0) {
        return 0;
    }
    Raised raised = put_aside();
    PyObject *loop = loop_of(probe);
    PyObject *call_soon = loop != NULL ? PyObject_GetAttrString(loop, "call_soon") : NULL;
    PyObject *all = call_soon != NULL ? PyTuple_New(count + 1) : NULL;
    if (all != NULL) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef((PyObject *)self));
        for (Py_ssize_t index = 0; index < count; index++) {
            PyTuple_SET_ITEM(all, index + 1, Py_NewRef(args[index]));
        }
        Py_XDECREF(PyObject_Call(call_soon, all, NULL));
    }
    PyErr_Clear();
    Py_XDECREF(all);
    Py_XDECREF(call_soon);
    Py_XDECREF(loop);
    take_back(raised);
    return -1;
}

static int
note_long_callback(LoopState *probe, Core *core, ThreadState *state, PyObject *callback, int64_t begin_ns,
                   int64_t end_ns)
{
    if (probe->books.core != core) {
        return 0; /* the recording stopped inside it */
    }
    /* By its code where it is a Python function, else by its type: no user object is asked. */
    PyObject *function = Py_IS_TYPE(callback, &PyMethod_Type) ? PyMethod_GET_FUNCTION(callback) : callback;
    int64_t site = Py_IS_TYPE(function, &PyFunction_Type) ? site_of_code(core, PyFunction_GET_CODE(function))
                                                          : site_of_text(core, PyType_GetName(Py_TYPE(function)));
    return site < 0 ? -1
                    : append(core, end_ns, state->id, CALLBACK_RAN, probe->loop_id, end_ns - begin_ns, site,
                             0);
}

static PyObject *
run_callback(Run *self, PyObject *const *args, size_t count, PyObject *keywords)
{
    LoopState *probe = (LoopState *)Py_NewRef((PyObject *)self->probe);
    PyObject *callback = Py_NewRef(self->callback);
    Core *core = (Core *)Py_XNewRef((PyObject *)probe->books.core);
    ThreadState *state = NULL;
    bool had_cause = false;
    Cause earlier = {0, 0, 0, 0};
    LoopState *earlier_probe = NULL;
    int64_t begin_ns = 0;
    PyObject *result = NULL;
    if (core != NULL) { /* else the recording has ended since */
        state = current_state(core);
        if (state == NULL) {
            if (failed_at_begin(self, args, PyVectorcall_NARGS(count)) < 0) {
                goto end;
            }
        }
        else {
            had_cause = state->has_cause;
            earlier = state->cause;
            begin_ns = now_ns();
            state->has_cause = true;
            state->cause = self->cause;
            earlier_probe = state->probe;
            state->probe = probe;
        }
    }
    result = PyObject_Vectorcall(callback, args, PyVectorcall_NARGS(count), keywords);
    if (state != NULL) {
        state->has_cause = had_cause;
        state->cause = earlier;
        state->probe = earlier_probe;
        int64_t end_ns = now_ns();
        if (end_ns - begin_ns >= LONG_CALLBACK_NS) {
            Raised raised = put_aside();
            if (note_long_callback(probe, core, state, callback, begin_ns, end_ns) < 0) {
                result = end_of_failure(probe, result, raised);
            }
            else if (result == NULL) {
                take_back(raised);
            }
        }
        Py_DECREF(state);
    }
end:
    Py_XDECREF(core);
    Py_DECREF(callback);
    Py_DECREF(probe);
    return result;
}

static int
call_probe(LoopState *probe, const char *method)
{
    PyObject *result = PyObject_CallMethod((PyObject *)probe, method, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Note that a step begins. */
static int
begin_step(LoopState *probe, Core *core, ThreadState *state, TaskEntry *entry, PyObject *task, PyObject *const *args,
           size_t count)
{
    if (probe->open_step != NULL && probe->open_step != Py_None && call_probe(probe, "close_late_step") < 0) {
        return -1;
    }
    bool is_first = !entry->has_name;
    if (is_first && read_name(core, entry, task) < 0) {
        return -1;
    }
    int thrown = begins_with_a_cancel(entry, task, args, count);
    if (thrown < 0 || probe->books.core != core) { /* what was called may have stopped the recording */
        return thrown < 0 ? -1 : 1;
    }
    int64_t time_ns = now_ns();
    if (append(core, time_ns, state->id, STEP_STARTED, entry->id, probe->loop_id, 0, thrown ? THROWN : 0) < 0) {
        return -1;
    }
    state->has_cause = true;
    state->cause = (Cause){CAUSE_TASK, entry->id, 0, 0};
    state->task = state->root_task = entry->id;
    state->probe = probe;
    state->root = entry->root;
    state->begun_ns = time_ns;
    state->suspended_ns = 0;
    return tell_step_started(core, entry, task, is_first);
}

static int
end_step(LoopState *probe, const Books *books, ThreadState *state, TaskEntry *entry, PyObject *task)
{
    if (!is_recording(probe, books)) {
        return 0; /* it stopped inside this step */
    }
    Core *core = books->core;
    int64_t time_ns = state->suspended_ns; /* if the root was suspended: see coroutines.c */
    int64_t ended_ns = time_ns != 0 ? 0 : now_ns();
    if (PyList_GET_SIZE(books->ends) == 0) {
        if (PyList_GET_SIZE(books->late_names) > 0 && read_late_names(books) < 0) {
            return -1;
        }
    }
    else {
        PyObject *settled = PyObject_CallMethod(books->table, "settle", NULL);
        Py_XDECREF(settled);
        if (settled == NULL) {
            return -1;
        }
    }
    int64_t awaited, site;
    int flags;
    if (end_of_step(books, entry, task, &awaited, &site, &flags) < 0) {
        return -1;
    }
    if (time_ns == 0 || flags & OUTCOME_MASK || site != 0) {
        time_ns = ended_ns != 0 ? ended_ns : now_ns(); /* a future of the program's own runs code of its own */
    }
    entry->stepped_ns = time_ns;
    if (probe->note_stack != NULL && probe->note_stack != Py_None && !(flags & OUTCOME_MASK) &&
        !(flags & YIELDED && entry->has_stack)) {
        /* At a bare yield a task waits for nothing: its first stack is noted for its label, then only those of waits. */
        entry->has_stack = true;
        if (note_stack(probe, time_ns, state->id, entry, task) < 0) {
            return -1;
        }
    }
    if (append(core, time_ns, state->id, STEP_FINISHED, entry->id, awaited, site, flags) < 0 ||
        tell_step_ended(core, entry, task, flags) < 0) {
        return -1;
    }
    return call_attend(core, time_ns);
}

static PyObject *
run_step(Run *self, PyObject *const *args, size_t count, PyObject *keywords)
{
    LoopState *probe = (LoopState *)Py_NewRef((PyObject *)self->probe);
    PyObject *callback = Py_NewRef(self->callback);
    TaskEntry *entry = (TaskEntry *)Py_NewRef((PyObject *)self->entry);
    Books books = hold(probe);
    PyObject *task = NULL, *result = NULL;
    ThreadState *state = NULL;
    Py_ssize_t given = PyVectorcall_NARGS(count);
    bool had_cause = false;
    Cause earlier = {0, 0, 0, 0};
    LoopState *earlier_probe = NULL;
    int64_t earlier_task = 0, earlier_root_task = 0;
    void *earlier_root = NULL;
    /* Else it was queued in an earlier recording, or the recording has ended since. */
    if (books.core != NULL && entry->table == books.table && is_step(callback, &task)) {
        state = current_state(books.core);
        int begun = -1;
        if (state != NULL) {
            had_cause = state->has_cause;
            earlier = state->cause;
            earlier_task = state->task;
            earlier_root = state->root;
            earlier_root_task = state->root_task;
            earlier_probe = state->probe;
            begun = begin_step(probe, books.core, state, entry, task, args, (size_t)given);
        }
        if (begun != 0) {
            Py_CLEAR(state);
            if (begun < 0 && failed_at_begin(self, args, given) < 0) {
                goto end;
            }
        }
    }
    result = PyObject_Vectorcall(callback, args, (size_t)given, keywords);
    if (state != NULL) {
        state->has_cause = had_cause;
        state->cause = earlier;
        state->task = earlier_task;
        state->root = earlier_root;
        state->root_task = earlier_root_task;
        state->probe = earlier_probe;
        Raised raised = put_aside();
        int ended = end_step(probe, &books, state, entry, task);
        state->begun_ns = state->suspended_ns = 0;
        if (ended < 0) {
            result = end_of_failure(probe, result, raised);
        }
        else if (result == NULL) {
            take_back(raised);
        }
    }
end:
    Py_XDECREF(state);
    Py_XDECREF(task);
    let_go(&books);
    Py_DECREF(entry);
    Py_DECREF(callback);
    Py_DECREF(probe);
    return result;
}

/* Standing in. */

static PyObject *
callback_of(PyObject *object) /* borrowed */
{
    return is_run(object) ? ((Run *)object)->callback : object;
}

static PyObject *
get_attribute(PyObject *self, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        found = PyObject_GetAttr(((Run *)self)->callback, name);
    }
    return found;
}

static PyObject *
compare(PyObject *self, PyObject *other, int operation)
{
    if (operation != Py_EQ && operation != Py_NE) {
        return Py_NewRef(Py_NotImplemented);
    }
    return PyObject_RichCompare(((Run *)self)->callback, callback_of(other), operation);
}

static Py_hash_t
hash(PyObject *self)
{
    return PyObject_Hash(((Run *)self)->callback);
}

static PyObject *
representation(PyObject *self)
{
    return PyObject_Repr(((Run *)self)->callback);
}

static PyObject *
text(PyObject *self)
{
    return PyObject_Str(((Run *)self)->callback);
}

static int
truth(PyObject *self)
{
    return PyObject_IsTrue(((Run *)self)->callback);
}

static PyObject *
get_wrapped(Run *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->callback);
}

static PyObject *
get_class(Run *self, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)Py_TYPE(self->callback));
}

static PyObject *
get_parts(Run *self, void *Py_UNUSED(closure))
{
    PyObject *third = self->entry != NULL ? Py_NewRef((PyObject *)self->entry) : cause_as_tuple(&self->cause);
    return third != NULL ? Py_BuildValue("(OON)", self->callback, self->probe, third) : NULL;
}

static int
traverse(Run *self, visitproc visit, void *arg)
{
    Py_VISIT(self->callback);
    Py_VISIT(self->probe);
    Py_VISIT(self->entry);
    return 0;
}

static void
dealloc(Run *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->probe);
    Py_CLEAR(self->entry);
    if (free_count < MOST_FREE) {
        free_runs[free_count++] = self;
    }
    else {
        PyObject_GC_Del(self);
    }
}

static PyGetSetDef attributes[] = {
    {"__wrapped__", (getter)get_wrapped, NULL, "the callback", NULL},
    {"__class__", (getter)get_class, NULL, "the callback's", NULL},
    {"_asynctrace", (getter)get_parts, NULL, "(callback, probe, cause or task's entry)", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyNumberMethods number = {.nb_bool = truth};

PyTypeObject Run_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.Run",
    .tp_doc = "Stands in for a callback.",
    .tp_basicsize = sizeof(Run),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(Run, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_getattro = get_attribute,
    .tp_richcompare = compare,
    .tp_hash = hash,
    .tp_repr = representation,
    .tp_str = text,
    .tp_as_number = &number,
    .tp_getset = attributes,
};

PyTypeObject CallbackRun_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.CallbackRun",
    .tp_doc = "A plain callback. What it queues is caused by what caused it.",
    .tp_basicsize = sizeof(Run),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_base = &Run_Type,
    .tp_call = PyVectorcall_Call,
    .tp_traverse = (traverseproc)traverse,
    .tp_dealloc = (destructor)dealloc,
};

PyTypeObject StepRun_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.StepRun",
    .tp_doc = "A step of a task. What it queues is caused by its task.",
    .tp_basicsize = sizeof(Run),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_base = &Run_Type,
    .tp_call = PyVectorcall_Call,
    .tp_traverse = (traverseproc)traverse,
    .tp_dealloc = (destructor)dealloc,
};
