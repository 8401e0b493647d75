/* The native half of a LoopProbe: what its shims and runs look at. The Python half sets it (asynctrace/probes/loop.py). */

#include "native.h"
#include <stddef.h>
#include <structmember.h>

PyObject *
referent(PyObject *weak_reference)
{
    PyObject *object = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyWeakref_GetRef(weak_reference, &object) < 0) {
        PyErr_Clear();
    }
#else
    object = PyWeakref_GetObject(weak_reference); /* borrowed */
    object = object == NULL || object == Py_None ? NULL : Py_NewRef(object);
#endif
    return object;
}

PyObject *
loop_of(LoopState *probe)
{
    return probe->loop_ref != NULL && PyWeakref_Check(probe->loop_ref) ? referent(probe->loop_ref) : NULL;
}

static PyObject *
attribute(PyObject *object, const char *name, PyTypeObject *type) /* new reference, or NULL with an error */
{
    PyObject *found = PyObject_GetAttrString(object, name);
    if (found != NULL && !PyObject_TypeCheck(found, type)) {
        PyErr_Format(PyExc_TypeError, "%s is no %s", name, type->tp_name);
        Py_CLEAR(found);
    }
    return found;
}

static PyObject *
get_recorder(LoopState *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->recorder != NULL ? self->recorder : Py_None);
}

static int
set_recorder(LoopState *self, PyObject *recorder, void *Py_UNUSED(closure))
{
    PyObject *core = NULL;
    if (recorder == Py_None) {
        recorder = NULL;
    }
    if (recorder != NULL && (core = attribute(recorder, "native_core", &Core_Type)) == NULL) {
        return -1;
    }
    Py_XSETREF(self->books.core, (Core *)core);
    Py_XSETREF(self->recorder, Py_XNewRef(recorder));
    return 0;
}

static PyObject *
get_table(LoopState *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->books.table != NULL ? self->books.table : Py_None);
}

/* What a table has as its own, and never replaces: it is as good as the table's reference, which is kept. */
static void *
part(PyObject *table, const char *name, PyTypeObject *type) /* borrowed; NULL with an error, or where one is set */
{
    PyObject *found = PyErr_Occurred() ? NULL : attribute(table, name, type);
    Py_XDECREF(found);
    return found;
}

static int
set_table(LoopState *self, PyObject *table, void *Py_UNUSED(closure))
{
    Books books = {.core = self->books.core};
    if (table != NULL && table != Py_None) {
        books.table = table;
        books.entries = part(table, "_entries", &Addresses_Type);
        books.job_futures = part(table, "_job_futures", &PyDict_Type);
        books.late_names = part(table, "late_names", &PyList_Type);
        books.ends = part(table, "ends", &PyList_Type);
        books.expected = part(table, "_expected", &PyDict_Type);
        if (PyErr_Occurred()) {
            return -1;
        }
        books.core = self->books.core; /* again: the table was asked meanwhile */
    }
    PyObject *earlier = self->books.table;
    Py_XINCREF(books.table);
    self->books = books;
    Py_XDECREF(earlier);
    return 0;
}

static PyObject *
callback_run(LoopState *self, PyObject *args)
{
    PyObject *callback, *cause;
    Cause why;
    if (!PyArg_ParseTuple(args, "OO", &callback, &cause) || cause_from_tuple(cause, &why) < 0) {
        return NULL;
    }
    return new_callback_run(self, callback, &why);
}

static PyObject *
step_run(LoopState *self, PyObject *args)
{
    PyObject *callback, *entry;
    if (!PyArg_ParseTuple(args, "OO!", &callback, &TaskEntry_Type, &entry)) {
        return NULL;
    }
    return new_step_run(self, callback, (TaskEntry *)entry);
}

static int
traverse(LoopState *self, visitproc visit, void *arg)
{
    Py_VISIT(self->recorder);
    Py_VISIT(self->books.core);
    Py_VISIT(self->books.table);
    Py_VISIT(self->guard);
    Py_VISIT(self->loop_ref);
    Py_VISIT(self->note_stack);
    Py_VISIT(self->open_step);
    Py_VISIT(self->meet);
    Py_VISIT(self->machine_clock);
    return 0;
}

static int
clear(LoopState *self)
{
    Books books = self->books;
    self->books = (Books){0};
    let_go(&books);
    Py_CLEAR(self->recorder);
    Py_CLEAR(self->guard);
    Py_CLEAR(self->loop_ref);
    Py_CLEAR(self->note_stack);
    Py_CLEAR(self->open_step);
    Py_CLEAR(self->meet);
    Py_CLEAR(self->machine_clock);
    return 0;
}

static void
dealloc(LoopState *self)
{
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"callback_run", (PyCFunction)callback_run, METH_VARARGS, "callback_run(callback, cause): what stands in for it"},
    {"step_run", (PyCFunction)step_run, METH_VARARGS, "step_run(callback, entry): what stands in for a task's step"},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"guard", T_OBJECT, offsetof(LoopState, guard), 0, "what a failure is told to"},
    {"loop_ref", T_OBJECT, offsetof(LoopState, loop_ref), 0, "a weak reference to the loop"},
    {"note_stack", T_OBJECT, offsetof(LoopState, note_stack), 0, "called where a step suspends, or None"},
    {"open_step", T_OBJECT, offsetof(LoopState, open_step), 0, "what the next step has to see to first, or None"},
    {"_meet", T_OBJECT, offsetof(LoopState, meet), 0, "called on the loop's own thread, or None"},
    {"loop_id", T_LONGLONG, offsetof(LoopState, loop_id), 0, "the loop's id"},
    {"machine_clock", T_OBJECT, offsetof(LoopState, machine_clock), 0, "what tells the machine's time, or None"},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"recorder", (getter)get_recorder, (setter)set_recorder, "what records this loop, or None", NULL},
    {"table", (getter)get_table, (setter)set_table, "its table of tasks, or None", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject LoopState_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.LoopState",
    .tp_doc = "The native half of a LoopProbe.",
    .tp_basicsize = sizeof(LoopState),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = attributes,
};
