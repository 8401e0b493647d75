/* The native half of a Recorder: where events go, the next id, and what is looked up in its tables. */

#include "hooks.h"
#include <stddef.h>
#include <structmember.h>

static uint64_t last_serial;

int
call_attend(Core *core, int64_t time_ns)
{
    if (time_ns < core->attend_ns) {
        return 0;
    }
    PyObject *attend = Py_XNewRef(core->attend); /* what is called may set another */
    PyObject *result = fault() ? NULL : attend != NULL ? PyObject_CallNoArgs(attend) : Py_NewRef(Py_None);
    Py_XDECREF(attend);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int64_t
call_for_site(PyObject *table, PyObject *argument)
{
    if (table == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this recorder is gone");
        return -1;
    }
    PyObject *number = fault() ? NULL : PyObject_CallOneArg(table, argument);
    int64_t site = number != NULL ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    return site;
}

int64_t
site_of_known_code(Core *core, PyObject *code)
{
    int64_t site = map_get(&core->sites, code, 0);
    if (site != 0) {
        return site;
    }
    PyObject *key = fault() ? NULL : PyLong_FromVoidPtr(code);
    if (key == NULL) {
        return -1;
    }
    PyObject *found = PyDict_GetItemWithError(core->codes, key); /* borrowed: (site, code) */
    Py_DECREF(key);
    if (found == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    site = PyTuple_Check(found) && PyTuple_GET_SIZE(found) > 0 ? PyLong_AsLongLong(PyTuple_GET_ITEM(found, 0)) : 0;
    if (site <= 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "a site's entry is a tuple of its number and its code");
    }
    /* The table keeps the code as long as it knows it, so that its address stays its own. */
    return site <= 0 || (!faults_are_on && map_set(&core->sites, code, site) < 0) ? -1 : site;
}

int64_t
site_of_code(Core *core, PyObject *code)
{
    int64_t site = site_of_known_code(core, code);
    return site != 0 ? site : call_for_site(core->site, code);
}

int64_t
site_of_text(Core *core, PyObject *text)
{
    int64_t site = text != NULL ? call_for_site(core->text, text) : -1;
    Py_XDECREF(text);
    return site;
}

/* What Python sees. */

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"local", "first_id", "codes", "site", "text", "names", NULL};
    PyObject *local, *codes, *site, *text, *task_names;
    long long first_id = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OLO!OOO!", names, &local, &first_id, &PyDict_Type, &codes,
                                     &site, &text, &PyDict_Type, &task_names)) {
        return NULL;
    }
    Core *self = (Core *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->local = Py_NewRef(local);
        self->attend = Py_NewRef(Py_None);
        self->codes = Py_NewRef(codes);
        self->site = Py_NewRef(site);
        self->text = Py_NewRef(text);
        self->names = Py_NewRef(task_names);
        self->first_id = self->last_id = first_id;
        self->attend_ns = INT64_MAX;
        self->serial = ++last_serial;
        self->is_open = true;
    }
    return (PyObject *)self;
}

static PyObject *
append_event(Core *self, PyObject *event)
{
    return add_fields(self, event) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
next_id(Core *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLongLong(new_id(self));
}

static PyObject *
take(Core *self, PyObject *Py_UNUSED(ignored))
{
    return take_events(self);
}

static PyObject *
copy(Core *self, PyObject *Py_UNUSED(ignored))
{
    return copy_events(self);
}

static PyObject *
forget_sites(Core *self, PyObject *Py_UNUSED(ignored))
{
    map_clear(&self->sites);
    self->forgotten++;
    return Py_NewRef(Py_None);
}

static Py_ssize_t
length(Core *self)
{
    return (Py_ssize_t)self->count;
}

static PyObject *
get_state(Core *self, void *Py_UNUSED(closure))
{
    return (PyObject *)current_state(self);
}

static int
set_state(Core *self, PyObject *state, void *Py_UNUSED(closure))
{
    if (state == NULL || !PyObject_TypeCheck(state, &ThreadState_Type)) {
        PyErr_SetString(PyExc_TypeError, "a thread's state is a ThreadState");
        return -1;
    }
    return replace_state(self, state);
}

static int
traverse(Core *self, visitproc visit, void *arg)
{
    Py_VISIT(self->local);
    Py_VISIT(self->attend);
    Py_VISIT(self->codes);
    Py_VISIT(self->site);
    Py_VISIT(self->text);
    Py_VISIT(self->names);
    Py_VISIT(self->hooks);
    Py_VISIT(self->open);
    Py_VISIT(self->driven);
    Py_VISIT(self->steps);
    return 0;
}

static int
clear(Core *self)
{
    /* The dicts are looked into without a check: they stay until the end. */
    drop_hooks(self);
    Py_CLEAR(self->attend);
    Py_CLEAR(self->local);
    Py_CLEAR(self->site);
    Py_CLEAR(self->text);
    return 0;
}

static void
dealloc(Core *self)
{
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_CLEAR(self->codes);
    Py_CLEAR(self->names);
    free_events(self);
    map_clear(&self->sites);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"append", (PyCFunction)append_event, METH_O, "append(event): a tuple of seven numbers"},
    {"new_id", (PyCFunction)next_id, METH_NOARGS, "new_id(): the next one"},
    {"take", (PyCFunction)take, METH_NOARGS, "take(): the events, in pieces of bytes; they are gone from here then"},
    {"copy", (PyCFunction)copy, METH_NOARGS, "copy(): the events, as bytes"},
    {"forget_sites", (PyCFunction)forget_sites, METH_NOARGS, "forget_sites(): the tables are about to drop some"},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"attend", T_OBJECT, offsetof(Core, attend), 0, "called by a hook when `attend_ns` is past"},
    {"attend_ns", T_LONGLONG, offsetof(Core, attend_ns), 0, "when hooks are to call `attend`"},
    {"is_open", T_BOOL, offsetof(Core, is_open), 0, "until the recording stops"},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
get_bytes(Core *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(bytes_of_events(self));
}

static PyObject *
get_hooks(Core *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->hooks != NULL ? self->hooks : Py_None);
}

static int
set_hooks_of(Core *self, PyObject *hooks, void *Py_UNUSED(closure))
{
    return set_hooks(self, hooks);
}

static PyGetSetDef attributes[] = {
    {"traced_hooks", (getter)get_hooks, (setter)set_hooks_of, "TracedHooks, or None", NULL},
    {"nbytes", (getter)get_bytes, NULL, "what the events take", NULL},
    {"state", (getter)get_state, (setter)set_state, "that of the current thread", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMappingMethods mapping = {.mp_length = (lenfunc)length};

PyTypeObject Core_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.Core",
    .tp_doc = "The native half of a Recorder; len() is how many events it holds.",
    .tp_basicsize = sizeof(Core),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = attributes,
    .tp_as_mapping = &mapping,
};
