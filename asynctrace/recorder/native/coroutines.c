/* The callbacks of sys.monitoring on CPython 3.12 and later, as asynctrace.probes.monitoring defines them.
 *
 * Here is what happens all the time: a known coroutine starts where a known one awaits it, or as its task's root, goes on,
 * is suspended and ends. For the rest each callback calls its reference, which works on the same tables.
 */

#include "bare_steps.h"
#include "hooks.h"

#if PY_VERSION_HEX >= 0x030C0000

enum { CO_GENERATORS_WE_LEAVE = 0x100 | 0x200 }; /* iterable coroutines, async generators */
enum { CO_ANY_COROUTINE = 0x80 | CO_GENERATORS_WE_LEAVE };
enum { STARTED, RESUMED, YIELDED_, RETURNED_, THROWN_, UNWOUND, CALLBACKS };
enum { TRACED_CODES = 2 }; /* of `plain`; coroutines of decorated functions are there as well */

typedef struct {
    PyObject_HEAD
    Core *core;
    Addresses *ids;       /* address of the frame -> id */
    Addresses *bare_steps; /* the steps that no run of a loop surrounds, which the references see to */
    PyObject *opened;     /* a dict: the open calls of plain functions */
    PyObject *plain;      /* a tuple of dicts that have, by its address, each code of plain functions that is wanted */
    bool wants_any;       /* it depends on more than that */
    bool only_traced;     /* no coroutine is in scope but those of decorated functions */
    PyObject *scope;      /* a dict: file -> whether it is in scope, of those that were asked for; NULL: all are */
    PyObject *guard;
    PyObject *references; /* a tuple of six functions */
    PyObject *disable;    /* what a callback returns so that the place costs nothing from then on */
    int send;             /* the opcode of SEND */
} Callbacks;

static PyObject *
refer(Callbacks *self, int which, PyObject *const *args, Py_ssize_t count)
{
    return PyObject_Vectorcall(PyTuple_GET_ITEM(self->references, which), args, (size_t)count, NULL);
}

static PyObject *
done(Callbacks *self, int result)
{
    return result < 0 && failed(self->guard) < 0 ? NULL : Py_NewRef(Py_None);
}

static inline int
flags_of(PyObject *code)
{
    return ((PyCodeObject *)code)->co_flags;
}

/* Whether a coroutine of this code is certainly recorded; else its reference finds out. */
static bool
is_surely_in_scope(Callbacks *self, PyObject *code)
{
    if (self->scope == NULL) {
        return true;
    }
    return PyDict_GetItemWithError(self->scope, ((PyCodeObject *)code)->co_filename) == Py_True;
}

/* Whether code stands at an await (or yield from). At a call it does not: `c.send()` suspends no caller. */
static int
is_await(Callbacks *self, PyCodeObject *code, int at)
{
    PyObject *bytes = fault() ? NULL : PyCode_GetCode(code); /* cached by CPython */
    if (bytes == NULL) {
        return -1;
    }
    const unsigned char *instructions = (const unsigned char *)PyBytes_AS_STRING(bytes);
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    /* On 3.12 the position is that of SEND's inline cache, the instruction after it. */
    bool found = (at >= 0 && at < size && instructions[at] == self->send) ||
                 (at >= 2 && at - 2 < size && instructions[at - 2] == self->send);
    Py_DECREF(bytes);
    return found;
}

static int
is_awaiting(Callbacks *self, Frame *frame)
{
    PyObject *code = PyUnstable_InterpreterFrame_GetCode(frame);
    int result = is_await(self, (PyCodeObject *)code, PyUnstable_InterpreterFrame_GetLasti(frame));
    Py_DECREF(code);
    return result;
}

/* Whether certainly nothing awaits what starts: neither a coroutine nor a generator called it, or at no await. */
static int
is_alone(Callbacks *self, PyThreadState *thread)
{
    PyFrameObject *own = PyThreadState_GetFrame(thread); /* a frame object knows what lies between it and the next */
    PyFrameObject *above = own != NULL ? PyFrame_GetBack(own) : NULL;
    Py_XDECREF(own);
    if (above == NULL) {
        return 1;
    }
    PyCodeObject *code = PyFrame_GetCode(above);
    int result = 0;
    if (code->co_flags & (CO_ANY_COROUTINE | CO_GENERATOR)) {
        result = is_await(self, code, PyFrame_GetLasti(above));
    }
    Py_DECREF(code);
    Py_DECREF(above);
    return result < 0 ? -1 : !result;
}

/* Whether a frame is that of the root of the task whose step runs. */
static inline bool
is_root(Frame *frame, ThreadState *state)
{
    return state->root != NULL && frame_of_coroutine(state->root) == frame && state->root_task == state->task;
}

/* Tell what awaits a coroutine that starts: 1 and the id (0: it is its task's root), 0: that takes a closer look. */
static int
find_awaiter(Callbacks *self, Frame *frame, ThreadState *state, int64_t *awaiter)
{
    *awaiter = 0;
    if (is_root(frame, state)) {
        return 1;
    }
    Frame *before = frame_before(frame);
    if (before != NULL && (*awaiter = map_get(&self->ids->map, before, 0)) == 0) {
        before = frame_before(before); /* there may be one of the interpreter's own between the two */
        *awaiter = before != NULL ? map_get(&self->ids->map, before, 0) : 0;
    }
    return *awaiter != 0 ? is_awaiting(self, before) : 0;
}

/* Whether it is certain of a plain function, of which there are many, that it is not recorded. */
static bool
is_unwanted(Callbacks *self, PyObject *code, int flags)
{
    if (flags & CO_ANY_COROUTINE || self->wants_any) {
        return false;
    }
    PyObject *address = PyLong_FromVoidPtr(code);
    bool is_unknown = address != NULL;
    for (Py_ssize_t index = 0; is_unknown && index < PyTuple_GET_SIZE(self->plain); index++) {
        is_unknown = PyDict_GetItemWithError(PyTuple_GET_ITEM(self->plain, index), address) == NULL;
    }
    Py_XDECREF(address);
    PyErr_Clear();
    return is_unknown;
}

/* Whether a coroutine is not of a decorated function, and only those are recorded. */
static bool
is_untraced(Callbacks *self, PyObject *code)
{
    if (!self->only_traced) {
        return false;
    }
    PyObject *address = PyLong_FromVoidPtr(code);
    bool is_unknown = address != NULL &&
                      PyDict_GetItemWithError(PyTuple_GET_ITEM(self->plain, TRACED_CODES), address) == NULL;
    Py_XDECREF(address);
    PyErr_Clear();
    return is_unknown;
}

static PyObject *
started(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *code = args[0];
    int flags = flags_of(code);
    if (is_unwanted(self, code, flags) || (flags & CO_ANY_COROUTINE && is_untraced(self, code))) {
        return Py_NewRef(self->disable);
    }
    if (!(flags & CO_ANY_COROUTINE) || flags & CO_GENERATORS_WE_LEAVE || !is_surely_in_scope(self, code)) {
        return refer(self, STARTED, args, count);
    }
    Core *core = self->core;
    PyThreadState *thread = PyThreadState_Get();
    Frame *frame = frame_of_thread(thread);
    int64_t site = site_of_known_code(core, code);
    if (site <= 0 || map_get(&self->ids->map, frame, 0) != 0) {
        return site < 0 ? done(self, -1) : refer(self, STARTED, args, count);
    }
    ThreadState *state = state_of(core, thread);
    if (state == NULL) {
        return done(self, -1);
    }
    int64_t awaiter, time_ns = 0;
    int found = find_awaiter(self, frame, state, &awaiter);
    if (found == 0 && (found = is_alone(self, thread)) > 0) {
        awaiter = 0;
        time_ns = now_ns();
        found = begin_bare_step(core, self->bare_steps, state, frame, time_ns);
    }
    if (found == 0) {
        Py_DECREF(state);
        return refer(self, STARTED, args, count);
    }
    int result = -1;
    if (found > 0) {
        int64_t id = new_id(core);
        state->begun_ns = state->suspended_ns = 0;
        result = map_set(&self->ids->map, frame, id) < 0
                     ? -1
                     : append(core, time_ns != 0 ? time_ns : now_ns(), state->id, COROUTINE_STARTED, id, awaiter, site, 0);
        if (result == 0) {
            int64_t driver = awaiter == 0 && is_root(frame, state) ? ROOT : awaiter;
            result = tell_started(core, id, code, driver, PyTuple_GET_ITEM(self->plain, TRACED_CODES));
        }
    }
    Py_DECREF(state);
    return done(self, result);
}

/* Note an event of the coroutine that runs; 1: it is not known, or not of the kind that is seen to here. */
static int
note(Callbacks *self, PyObject *code, int kind, int64_t site, int flags, PyObject *value)
{
    if (flags_of(code) & CO_GENERATORS_WE_LEAVE) {
        return 1;
    }
    PyThreadState *thread = PyThreadState_Get();
    Frame *frame = frame_of_thread(thread);
    int64_t id = map_get(&self->ids->map, frame, 0);
    if (id == 0) {
        return 1;
    }
    ThreadState *state = state_of(self->core, thread);
    if (state == NULL) {
        return -1;
    }
    BareEnd end = NOTHING; /* of an eager task's step, at a stop of its outermost coroutine */
    if (kind != COROUTINE_RESUMED) {
        end = end_of_bare_step(self->core, self->bare_steps, state, frame, flags);
        if (end == LOOK_CLOSER) {
            Py_DECREF(state);
            return 1;
        }
        if (kind == COROUTINE_FINISHED) {
            map_pop(&self->ids->map, frame, &id);
            if (tell_finished(self->core, id, flags, NULL) < 0) {
                Py_DECREF(state);
                return -1;
            }
        }
    }
    /* Between the begin of a step and its root's going on, and between that one's being suspended and the step's end, no
     * code of the program runs: they share a time, for to read the clock is a fifth of what an event costs. At an end it
     * is another matter: what the coroutine held is freed after it, and that may take long. */
    int64_t time_ns = kind == COROUTINE_RESUMED && state->begun_ns != 0 && is_root(frame, state) ? state->begun_ns
                                                                                                  : now_ns();
    state->begun_ns = 0;
    state->suspended_ns = kind == COROUTINE_SUSPENDED && is_root(frame, state) ? time_ns : 0;
    int result = append(self->core, time_ns, state->id, kind, id, 0, site, flags);
    if (result == 0 && kind != COROUTINE_FINISHED) {
        result = tell_driven(self->core, id, kind == COROUTINE_RESUMED);
    }
    if (result == 0 && end == END_STEP) {
        result = end_bare_step(self->bare_steps, state, frame, flags, value, time_ns);
    }
    Py_DECREF(state);
    return result;
}

static PyObject *
resumed(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    int result = note(self, args[0], COROUTINE_RESUMED, 0, 0, NULL);
    return result > 0 ? refer(self, RESUMED, args, count) : done(self, result);
}

static PyObject *
yielded(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    long offset = PyLong_AsLong(args[1]);
    int result = note(self, args[0], COROUTINE_SUSPENDED, offset, SUSPENDED, args[2]);
    return result > 0 ? refer(self, YIELDED_, args, count) : done(self, result);
}

static PyObject *
returned(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    if (is_unwanted(self, args[0], flags_of(args[0]))) {
        return Py_NewRef(self->disable);
    }
    int result = note(self, args[0], COROUTINE_FINISHED, 0, RETURNED, NULL);
    return result > 0 ? refer(self, RETURNED_, args, count) : done(self, result);
}

static PyObject *
thrown(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
#if PY_VERSION_HEX < 0x030F0000
    if (!(flags_of(args[0]) & CO_ANY_COROUTINE)) {
        return Py_NewRef(Py_None); /* to disable it would replace the program's exception */
    }
#endif
    return refer(self, THROWN_, args, count);
}

static PyObject *
unwound(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    int flags = flags_of(args[0]);
#if PY_VERSION_HEX < 0x030F0000
    if (!(flags & CO_ANY_COROUTINE) && PyDict_GET_SIZE(self->opened) == 0) {
        return Py_NewRef(Py_None); /* every function that an exception passes through comes by here */
    }
#endif
    if (!(flags & CO_ANY_COROUTINE)) {
        return refer(self, UNWOUND, args, count);
    }
    /* The reference looks the exception's type up. */
    PyTypeObject *type = count > 2 ? Py_TYPE(args[2]) : NULL;
    int outcome = 0;
    if (type != NULL && PyType_IsSubtype(type, (PyTypeObject *)asyncio.cancelled_error)) {
        outcome = CANCELLED;
    }
    else if (type != NULL && PyType_IsSubtype(type, (PyTypeObject *)PyExc_GeneratorExit)) {
        outcome = CLOSED;
    }
    int result = outcome != 0 ? note(self, args[0], COROUTINE_FINISHED, 0, outcome, NULL) : 1;
    return result > 0 ? refer(self, UNWOUND, args, count) : done(self, result);
}

/* What Python sees. */

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"core",  "ids",   "bare_steps", "opened", "plain",   "wants_any", "only_traced",
                            "scope", "guard", "references", "send",   "disable", NULL};
    PyObject *core, *ids, *bare_steps, *opened, *plain, *scope, *guard, *references, *disable;
    int send, wants_any, only_traced;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O!O!O!O!ppOOO!iO", names, &Core_Type, &core, &Addresses_Type, &ids,
                                     &Addresses_Type, &bare_steps, &PyDict_Type, &opened, &PyTuple_Type, &plain,
                                     &wants_any, &only_traced, &scope, &guard, &PyTuple_Type, &references, &send, &disable)) {
        return NULL;
    }
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(plain); index++) {
        if (!PyDict_Check(PyTuple_GET_ITEM(plain, index))) {
            PyErr_SetString(PyExc_TypeError, "plain are dicts");
            return NULL;
        }
    }
    if (PyTuple_GET_SIZE(plain) <= TRACED_CODES) {
        PyErr_SetString(PyExc_TypeError, "plain are three dicts");
        return NULL;
    }
    if (PyTuple_GET_SIZE(references) != CALLBACKS || (scope != Py_None && !PyDict_Check(scope))) {
        PyErr_SetString(PyExc_TypeError, "references are six functions, scope is a dict or None");
        return NULL;
    }
    Callbacks *self = (Callbacks *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->core = (Core *)Py_NewRef(core);
        self->ids = (Addresses *)Py_NewRef(ids);
        self->bare_steps = (Addresses *)Py_NewRef(bare_steps);
        self->opened = Py_NewRef(opened);
        self->plain = Py_NewRef(plain);
        self->wants_any = wants_any;
        self->only_traced = only_traced;
        self->disable = Py_NewRef(disable);
        self->scope = scope == Py_None ? NULL : Py_NewRef(scope);
        self->guard = Py_NewRef(guard);
        self->references = Py_NewRef(references);
        self->send = send;
    }
    return (PyObject *)self;
}

static int
traverse(Callbacks *self, visitproc visit, void *arg)
{
    Py_VISIT(self->core);
    Py_VISIT(self->ids);
    Py_VISIT(self->bare_steps);
    Py_VISIT(self->opened);
    Py_VISIT(self->plain);
    Py_VISIT(self->disable);
    Py_VISIT(self->scope);
    Py_VISIT(self->guard);
    Py_VISIT(self->references);
    return 0;
}

static void
dealloc(Callbacks *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->core);
    Py_CLEAR(self->ids);
    Py_CLEAR(self->bare_steps);
    Py_CLEAR(self->opened);
    Py_CLEAR(self->plain);
    Py_CLEAR(self->disable);
    Py_CLEAR(self->scope);
    Py_CLEAR(self->guard);
    Py_CLEAR(self->references);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* The interpreter holds no reference to a callback that it calls, and a recording that stops meanwhile takes it away. */
static inline PyObject *
held(Callbacks *self, PyObject *(*callback)(Callbacks *, PyObject *const *, Py_ssize_t), PyObject *const *args,
     Py_ssize_t count)
{
    Py_INCREF(self);
    PyObject *result = callback(self, args, count);
    Py_DECREF(self);
    return result;
}

static PyObject *
call_started(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    return held(self, started, args, count);
}

static PyObject *
call_resumed(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    return held(self, resumed, args, count);
}

static PyObject *
call_yielded(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    return held(self, yielded, args, count);
}

static PyObject *
call_returned(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    return held(self, returned, args, count);
}

static PyObject *
call_thrown(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    return held(self, thrown, args, count);
}

static PyObject *
call_unwound(Callbacks *self, PyObject *const *args, Py_ssize_t count)
{
    return held(self, unwound, args, count);
}

#define CALLBACK(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"started", CALLBACK(call_started), METH_FASTCALL, "of PY_START"},
    {"resumed", CALLBACK(call_resumed), METH_FASTCALL, "of PY_RESUME"},
    {"yielded", CALLBACK(call_yielded), METH_FASTCALL, "of PY_YIELD"},
    {"returned", CALLBACK(call_returned), METH_FASTCALL, "of PY_RETURN"},
    {"thrown", CALLBACK(call_thrown), METH_FASTCALL, "of PY_THROW"},
    {"unwound", CALLBACK(call_unwound), METH_FASTCALL, "of PY_UNWIND"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject CoroutineCallbacks_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.CoroutineCallbacks",
    .tp_doc = "The callbacks of sys.monitoring.",
    .tp_basicsize = sizeof(Callbacks),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_methods = methods,
};

#else /* CPython 3.11 has no sys.monitoring */

PyTypeObject CoroutineCallbacks_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.CoroutineCallbacks",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
};

#endif
