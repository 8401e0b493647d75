/* Stand-ins for the coroutines of decorated functions, as asynctrace.probes.wrapping.TracedCoroutine defines them.
 *
 * A stand-in notes each step and passes everything else on: to `await`, asyncio and inspect it is the coroutine. No frame of
 * ours is on the stack while that runs. Nothing but its stand-in drives a coroutine, so what is known here of its state is
 * true.
 */

#include "standins.h"

#include "hooks.h"
#include "raised.h"
#include <stddef.h>

static PyObject *throw_name, *close_name, *awaited_already;

static inline TracedCoroutine *
stand_in(PyObject *self)
{
    return (TracedCoroutine *)self;
}

/* Noting. What each of these has to say is told to the guard if it fails; -1: it is the program's error, and set. */

/* Whether a coroutine is the root of the task whose step runs: see coroutines.c on what they share. */
static inline bool
is_root(const TracedCoroutine *self, const ThreadState *state)
{
    return state->root == self->coroutine && state->root_task == state->task;
}

static int
append_start(TracedCoroutine *self, ThreadState *state, int flags)
{
    Core *core = self->core;
    PyObject *code = code_of(self->coroutine);
    int64_t site = code != NULL ? site_of_code(core, code) : -1;
    int result = -1;
    if (site >= 0) {
        state->begun_ns = state->suspended_ns = 0;
        self->id = new_id(core);
        self->earlier = state->coroutine;
        result = append(core, now_ns(), state->id, COROUTINE_STARTED, self->id, self->earlier, site, flags);
        if (result == 0) {
            result = tell_started(core, self->id, code, self->earlier == 0 && is_root(self, state) ? ROOT : self->earlier,
                                  NULL);
        }
    }
    Py_XDECREF(code);
    return result;
}

static int
append_resumption(TracedCoroutine *self, ThreadState *state, int flags)
{
    int64_t time_ns = state->begun_ns != 0 && is_root(self, state) ? state->begun_ns : now_ns();
    state->begun_ns = state->suspended_ns = 0;
    self->earlier = state->coroutine;
    int result = append(self->core, time_ns, state->id, COROUTINE_RESUMED, self->id, 0, 0, flags);
    return result < 0 ? result : tell_driven(self->core, self->id, true);
}

/* The coroutine is about to be driven. 1: that is noted, and `state` a new reference; 0: it is not to be. */
static int
enter(TracedCoroutine *self, int flags, ThreadState **state)
{
    *state = NULL;
    if (!self->core->is_open || self->has_ended) {
        return 0;
    }
    ThreadState *now = current_state(self->core);
    int result = now == NULL     ? -1
                 : self->id == 0 ? append_start(self, now, flags)
                                 : append_resumption(self, now, flags);
    if (result < 0) {
        Py_XDECREF(now);
        return failed(self->guard);
    }
    now->coroutine = self->id;
    *state = now;
    return 1;
}

static int
note_suspension(TracedCoroutine *self, ThreadState *state)
{
    state->coroutine = self->earlier;
    int64_t offset = offset_of(self->coroutine);
    if (offset < 0) {
        if (PyErr_Occurred()) {
            return failed(self->guard);
        }
        offset = 0;
    }
    int64_t time_ns = now_ns();
    state->begun_ns = 0;
    state->suspended_ns = is_root(self, state) ? time_ns : 0;
    int result = append(self->core, time_ns, state->id, COROUTINE_SUSPENDED, self->id, 0, offset, SUSPENDED);
    if (result == 0) {
        result = tell_driven(self->core, self->id, false);
    }
    return result < 0 ? failed(self->guard) : 0;
}

static int
note_end(TracedCoroutine *self, ThreadState *state, PyTypeObject *error, PyObject *value)
{
    int64_t site = 0;
    int outcome = RETURNED;
    state->coroutine = self->earlier;
    state->begun_ns = state->suspended_ns = 0;
    self->has_ended = true;
    if (error != NULL && PyType_IsSubtype(error, (PyTypeObject *)asyncio.cancelled_error)) {
        outcome = CANCELLED;
    }
    else if (error != NULL && PyType_IsSubtype(error, (PyTypeObject *)PyExc_GeneratorExit)) {
        outcome = CLOSED;
    }
    else if (error != NULL) {
        outcome = RAISED;
        site = site_of_text(self->core, PyType_GetQualName(error));
    }
    int result = site < 0 ? -1 : tell_finished(self->core, self->id, outcome, outcome == RAISED ? value : NULL);
    if (result == 0) {
        result = append(self->core, now_ns(), state->id, COROUTINE_FINISHED, self->id, 0, site, outcome);
    }
    return result < 0 ? failed(self->guard) : 0;
}

/* Note that the coroutine left with the error that is set, which stays so. */
static int
note_error(TracedCoroutine *self, ThreadState *state)
{
    Raised raised = put_aside();
    PyTypeObject *error = type_of_raised(&raised);
    int goes_on = has_frame(self->coroutine); /* what was thrown it refused, or it would not be closed */
    int result;
    if (goes_on < 0) {
        result = failed(self->guard);
    }
    else if (goes_on) {
        result = note_suspension(self, state);
    }
    else {
        bool is_return = error != NULL && PyType_IsSubtype(error, (PyTypeObject *)PyExc_StopIteration);
        result = note_end(self, state, is_return ? NULL : error, is_return ? NULL : value_of_raised(&raised));
    }
    if (result < 0) {
        drop_raised(raised);
    }
    else {
        take_back(raised);
    }
    return result;
}

/* Driving. */

static PySendResult
am_send(PyObject *object, PyObject *value, PyObject **result)
{
    TracedCoroutine *self = stand_in(object);
    if (self->is_running) {
        return PyIter_Send(self->coroutine, value, result); /* it refuses */
    }
    ThreadState *state;
    Py_INCREF(object);
    self->is_running = true;
    PySendResult sent = PYGEN_ERROR;
    *result = NULL;
    if (enter(self, 0, &state) >= 0) {
        sent = PyIter_Send(self->coroutine, value, result);
        if (state != NULL) {
            int noted = sent == PYGEN_NEXT     ? note_suspension(self, state)
                        : sent == PYGEN_RETURN ? note_end(self, state, NULL, NULL)
                                               : note_error(self, state);
            if (noted < 0) {
                sent = PYGEN_ERROR;
                Py_CLEAR(*result);
            }
            Py_DECREF(state);
        }
    }
    self->is_running = false;
    Py_DECREF(object);
    return sent;
}

/* Set the StopIteration that carries what a coroutine returned; steals the reference. */
static void
set_stop_iteration(PyObject *value)
{
    if (value == Py_None) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    else {
        /* Made here: of a tuple or an exception PyErr_SetObject would make something else. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    }
    Py_DECREF(value);
}

static PyObject *
send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = am_send(self, value, &result);
    if (sent == PYGEN_RETURN) {
        set_stop_iteration(result);
        return NULL;
    }
    return result;
}

static PyObject *
next(PyObject *self)
{
    return send(self, Py_None);
}

/* Call a method that throws into the coroutine; `args` begins with the coroutine. */
static PyObject *
drive(TracedCoroutine *self, PyObject *name, PyObject *const *args, size_t count, int flags)
{
    ThreadState *state;
    PyObject *result = NULL;
    Py_INCREF((PyObject *)self);
    self->is_running = true;
    if (enter(self, flags, &state) >= 0) {
        result = PyObject_VectorcallMethod(name, args, count, NULL);
        if (state != NULL) {
            /* A close that succeeds returns None, and is the end. */
            int noted = result == NULL     ? note_error(self, state)
                        : name == throw_name ? note_suspension(self, state)
                                             : note_end(self, state, (PyTypeObject *)PyExc_GeneratorExit, NULL);
            if (noted < 0) {
                Py_CLEAR(result);
            }
            Py_DECREF(state);
        }
    }
    self->is_running = false;
    Py_DECREF((PyObject *)self);
    return result;
}

static int
flags_of_throw(PyObject *thrown)
{
    bool is_cancel = thrown == asyncio.cancelled_error ||
                     PyType_IsSubtype(Py_TYPE(thrown), (PyTypeObject *)asyncio.cancelled_error);
    return is_cancel ? THROWN : 0;
}

static PyObject *
throw(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    enum { MOST = 3 };
    TracedCoroutine *self = stand_in(object);
    if (count > MOST) {
        PyErr_Format(PyExc_TypeError, "throw expected at most %d arguments, got %zd", (int)MOST, count);
        return NULL;
    }
    PyObject *all[MOST + 1] = {self->coroutine};
    for (Py_ssize_t index = 0; index < count; index++) {
        all[index + 1] = args[index];
    }
    /* Nothing it refuses, and what is no exception, too, unless that is thrown into what it awaits. */
    if (self->is_running || count == 0 ||
        (self->id == 0 && !PyExceptionInstance_Check(args[0]) && !PyExceptionClass_Check(args[0]))) {
        return PyObject_VectorcallMethod(throw_name, all, (size_t)count + 1, NULL);
    }
    return drive(self, throw_name, all, (size_t)count + 1, flags_of_throw(args[0]));
}

static PyObject *
close_coroutine(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    TracedCoroutine *self = stand_in(object);
    PyObject *all[] = {self->coroutine};
    if (self->is_running) {
        return PyObject_VectorcallMethod(close_name, all, 1, NULL); /* it refuses */
    }
    self->has_ended = self->has_ended || self->id == 0; /* one that never began gives no event */
    return drive(self, close_name, all, 1, THROWN);
}

/* The interpreter refuses this to a coroutine, whose type it knows, before it sends anything. */
static PyObject *
await(PyObject *object)
{
    TracedCoroutine *self = stand_in(object);
    if (!self->is_running) {
        PyObject *awaited = awaited_by(self->coroutine);
        Py_XDECREF(awaited);
        if (awaited != Py_None) {
            if (awaited != NULL) {
                PyErr_SetObject(PyExc_RuntimeError, awaited_already);
            }
            return NULL;
        }
    }
    return Py_NewRef(object);
}

/* Dropped at an await: what it stands for is closed next. */
static void
finalize(PyObject *object)
{
    TracedCoroutine *self = stand_in(object);
    if (self->id == 0 || self->has_ended || !self->core->is_open) {
        return;
    }
    Raised raised = put_aside();
    ThreadState *state = current_state(self->core);
    int result;
    if (state == NULL) {
        result = failed(self->guard);
    }
    else {
        self->earlier = state->coroutine;
        result = note_end(self, state, (PyTypeObject *)PyExc_GeneratorExit, NULL);
        Py_DECREF(state);
    }
    if (result < 0) {
        PyErr_WriteUnraisable(object);
    }
    take_back(raised);
}

/* Standing in. */

static PyObject *
get_attribute(PyObject *self, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        found = PyObject_GetAttr(stand_in(self)->coroutine, name);
    }
    return found;
}

static int
set_attribute(PyObject *self, PyObject *name, PyObject *value)
{
    return PyObject_SetAttr(stand_in(self)->coroutine, name, value); /* `__name__` and `__qualname__` can be set */
}

static PyObject *
representation(PyObject *self)
{
    return PyObject_Repr(stand_in(self)->coroutine);
}

static PyObject *
get_class(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)&PyCoro_Type);
}

static PyObject *
get_coroutine(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(stand_in(self)->coroutine);
}

/* TracedCoroutine(coroutine, core, guard), at each call of a decorated function. */
static PyObject *
make(PyObject *type, PyObject *const *args, size_t flagged_count, PyObject *keywords)
{
    Py_ssize_t count = PyVectorcall_NARGS(flagged_count);
    if (count != 3 || (keywords != NULL && PyTuple_GET_SIZE(keywords) > 0) || !PyCoro_CheckExact(args[0]) ||
        !PyObject_TypeCheck(args[1], &Core_Type)) {
        PyErr_SetString(PyExc_TypeError, "TracedCoroutine() takes a coroutine, a Core and a guard");
        return NULL;
    }
    if (awaited_already == NULL) {
        throw_name = PyUnicode_InternFromString("throw");
        close_name = PyUnicode_InternFromString("close");
        awaited_already = PyUnicode_InternFromString("coroutine is being awaited already");
        if (throw_name == NULL || close_name == NULL || awaited_already == NULL) {
            Py_CLEAR(awaited_already);
            return NULL;
        }
    }
    TracedCoroutine *self = PyObject_GC_New(TracedCoroutine, (PyTypeObject *)type);
    if (self != NULL) {
        self->coroutine = Py_NewRef(args[0]);
        self->core = (Core *)Py_NewRef(args[1]);
        self->guard = Py_NewRef(args[2]);
        self->weak_references = NULL;
        self->id = self->earlier = 0;
        self->is_running = self->has_ended = false;
        PyObject_GC_Track((PyObject *)self);
    }
    return (PyObject *)self;
}

/* There is no tp_clear, as there is none of coroutines: their finalizers break the cycles that they are in. */
static int
traverse(TracedCoroutine *self, visitproc visit, void *arg)
{
    Py_VISIT(self->coroutine);
    Py_VISIT(self->core);
    Py_VISIT(self->guard);
    return 0;
}

static void
dealloc(TracedCoroutine *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return; /* somebody has taken a reference */
    }
    PyObject_GC_UnTrack((PyObject *)self);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    Py_CLEAR(self->coroutine);
    Py_CLEAR(self->core);
    Py_CLEAR(self->guard);
    PyObject_GC_Del(self);
}

static PyMethodDef methods[] = {
    {"send", send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))throw, METH_FASTCALL, NULL},
    {"close", close_coroutine, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"__class__", get_class, NULL, NULL, NULL},
    {"_coroutine", get_coroutine, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods async = {.am_await = await, .am_send = am_send};

PyTypeObject TracedCoroutine_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.TracedCoroutine",
    .tp_basicsize = sizeof(TracedCoroutine),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall = make,
    .tp_weaklistoffset = offsetof(TracedCoroutine, weak_references),
    .tp_as_async = &async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = next,
    .tp_methods = methods,
    .tp_getset = attributes,
    .tp_getattro = get_attribute,
    .tp_setattro = set_attribute,
    .tp_repr = representation,
    .tp_traverse = (traverseproc)traverse,
    .tp_finalize = finalize,
    .tp_dealloc = (destructor)dealloc,
};
