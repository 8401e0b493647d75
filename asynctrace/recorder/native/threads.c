/* What one thread is doing: its id, and the cause, task and call that now run on it.
 *
 * A thread's state is kept by the `_Local` of its recorder, which lets it go when the thread ends. In front of that is the
 * address of the state that was asked for last: threads take turns at the interpreter, and not often. It holds no
 * reference, so a state that goes takes it away.
 */

#include "native.h"
#include <stddef.h>
#include <structmember.h>

static struct {
    ThreadState *state; /* borrowed */
    uint64_t recorder;  /* its serial */
    uint64_t thread;    /* Python's number of the thread: no two threads of an interpreter have the same */
} last;

static PyObject *state_name; /* "state" */

ThreadState *
current_state(Core *core)
{
    return state_of(core, PyThreadState_Get());
}

ThreadState *
state_of(Core *core, PyThreadState *now)
{
    uint64_t thread = now->id;
    if (last.thread == thread && last.recorder == core->serial && core->local != NULL) {
        return (ThreadState *)Py_NewRef((PyObject *)last.state);
    }
    if (fault()) {
        return NULL;
    }
    if (core->local == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this recorder is gone");
        return NULL;
    }
    if (state_name == NULL && (state_name = PyUnicode_InternFromString("state")) == NULL) {
        return NULL;
    }
    PyObject *state = PyObject_GetAttr(core->local, state_name);
    if (state != NULL && !PyObject_TypeCheck(state, &ThreadState_Type)) {
        PyErr_SetString(PyExc_TypeError, "a thread's state of another core");
        Py_CLEAR(state);
    }
    if (state != NULL) { /* of which `forget_times` has to know in any case */
        last.state = (ThreadState *)state;
        last.recorder = faults_are_on ? 0 : core->serial;
        last.thread = thread;
    }
    return (ThreadState *)state;
}

void
forget_times(void)
{
    if (last.state != NULL) {
        last.state->begun_ns = last.state->suspended_ns = 0;
    }
}

void
forget_state(void)
{
    last.recorder = 0; /* of none */
}

int
replace_state(Core *core, PyObject *state)
{
    if (core->local == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this recorder is gone");
        return -1;
    }
    forget_state();
    return PyObject_SetAttrString(core->local, "state", state);
}

/* The causes of Python's slow roads are tuples. */

PyObject *
cause_as_tuple(const Cause *cause)
{
    return Py_BuildValue("(LLLL)", (long long)cause->kind, (long long)cause->id, (long long)cause->site,
                         (long long)cause->due_ns);
}

int
cause_from_tuple(PyObject *tuple, Cause *cause)
{
    long long kind, id, site, due_ns;
    if (!PyTuple_Check(tuple) || !PyArg_ParseTuple(tuple, "LLLL", &kind, &id, &site, &due_ns)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "a cause is a tuple of four numbers");
        }
        return -1;
    }
    *cause = (Cause){kind, id, site, due_ns};
    return 0;
}

static PyObject *
get_cause(ThreadState *self, void *Py_UNUSED(closure))
{
    return self->has_cause ? cause_as_tuple(&self->cause) : Py_NewRef(Py_None);
}

static int
set_cause(ThreadState *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cause cannot be deleted");
        return -1;
    }
    self->has_cause = value != Py_None;
    return self->has_cause ? cause_from_tuple(value, &self->cause) : 0;
}

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"id", NULL};
    long long id = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|L", names, &id)) {
        return NULL;
    }
    ThreadState *self = (ThreadState *)type->tp_alloc(type, 0); /* all else is 0 */
    if (self != NULL) {
        self->id = id;
    }
    return (PyObject *)self;
}

static void
dealloc(ThreadState *self)
{
    if (last.state == self) {
        last.recorder = 0; /* of none */
        last.state = NULL;
    }
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef members[] = {
    {"id", T_LONGLONG, offsetof(ThreadState, id), 0, "the thread's id"},
    {"task", T_LONGLONG, offsetof(ThreadState, task), 0, "the task whose step runs; 0 outside of any"},
    {"call", T_LONGLONG, offsetof(ThreadState, call), 0, "the innermost recorded call; 0 outside of any"},
    {"coroutine", T_LONGLONG, offsetof(ThreadState, coroutine), 0, "the innermost decorated coroutine that runs"},
    {"depth", T_LONGLONG, offsetof(ThreadState, depth), 0, "how many recorded calls are open"},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"cause", (getter)get_cause, (setter)set_cause, "of the run in progress; None outside of any", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject ThreadState_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.ThreadState",
    .tp_doc = "What one thread is doing.",
    .tp_basicsize = sizeof(ThreadState),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_weaklistoffset = offsetof(ThreadState, weak_references),
    .tp_members = members,
    .tp_getset = attributes,
};
