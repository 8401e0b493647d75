/* What stands on a loop in the place of its methods, as asynctrace.probes.loop defines it: each queued callback is wrapped
 * in a run. A shim calls the original first and records after it: a call that the loop refuses has not happened. Its time
 * is read before, for the woken step may begin on another thread meanwhile.
 */

#include "events.h"
#include <stddef.h>
#include <structmember.h>

enum { IN_PLACE = 8 /* arguments that need no memory of their own */ };
#define NEVER_S 9e9 /* of the clock, which counts from boot: anyio sets timers at infinity */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    LoopState *probe;
    PyObject *owner_ref; /* a weak reference: to the loop, or to its selector */
    PyObject *original;  /* a function of the owner */
    PyObject *name, *qualified_name;
    bool is_threadsafe;
    bool is_inner; /* of what asyncio's own call_soon and call_soon_threadsafe both go on to */
} Shim;

static PyObject *get_running_loop; /* asyncio.events._get_running_loop */
static PyObject *soon_code, *threadsafe_code; /* of asyncio's own call_soon and call_soon_threadsafe */
static PyObject *time_name;

static PyObject *
owner_of(Shim *self) /* new reference; None when it is gone */
{
    PyObject *owner = referent(self->owner_ref);
    return owner != NULL ? owner : Py_NewRef(Py_None);
}

/* Call what the shim stands for, with another callback in the place of an argument (or with all as they are: NULL). */
static PyObject *
call_original(Shim *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords, Py_ssize_t place,
              PyObject *callback)
{
    PyObject *in_place[IN_PLACE];
    Py_ssize_t named = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    if (named == 1 && args[count] == Py_None && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "context") == 0) {
        keywords = NULL; /* another tool's shim below ours may not know the keyword */
        named = 0;
    }
    PyObject **all = in_place;
    if (1 + count + named > IN_PLACE) {
        all = PyMem_Malloc((size_t)(1 + count + named) * sizeof(PyObject *));
        if (all == NULL) {
            return PyErr_NoMemory();
        }
    }
    PyObject *owner = owner_of(self);
    all[0] = owner;
    memcpy(all + 1, args, (size_t)(count + named) * sizeof(PyObject *));
    if (callback != NULL) {
        all[1 + place] = callback;
    }
    PyObject *result = PyObject_Vectorcall(self->original, all, (size_t)(1 + count), keywords);
    Py_DECREF(owner);
    if (all != in_place) {
        PyMem_Free(all);
    }
    return result;
}

/* After a failure of ours what is to be queued is queued as it is; a signal's exception comes after that. */
static PyObject *
queue_after_failure(Shim *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    bool is_ours = failed_in(self->probe) == 0;
    if (is_ours) {
        return call_original(self, args, count, keywords, 0, NULL);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(call_original(self, args, count, keywords, 0, NULL));
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return NULL;
}

/* Meet the loop if this is its thread; see LoopProbe.await_thread. */
static int
meet(LoopState *probe, PyObject *callback)
{
    if (probe->books.core != NULL || probe->meet == NULL || probe->meet == Py_None) {
        return 0;
    }
    PyObject *met = PyObject_CallMethod((PyObject *)probe, "_meet_for", "O", callback);
    Py_XDECREF(met);
    return met == NULL ? -1 : 0;
}

static int
cause_of_wake(Shim *self, Core *core, ThreadState *state, Cause *cause)
{
    if (state->has_cause) {
        *cause = state->cause;
        return 0;
    }
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame());
    bool is_threadsafe = self->is_threadsafe;
    if (self->is_inner && frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        is_threadsafe = (PyObject *)code == threadsafe_code;
        if (is_threadsafe || (PyObject *)code == soon_code) {
            PyFrameObject *back = PyFrame_GetBack(frame);
            Py_SETREF(frame, back);
        }
        Py_DECREF(code);
    }
    if (is_threadsafe) {
        PyObject *running = fault() ? NULL : PyObject_CallNoArgs(get_running_loop), *owner = owner_of(self);
        bool is_here = running == owner;
        Py_XDECREF(running);
        Py_DECREF(owner);
        if (running == NULL || !is_here) {
            Py_XDECREF(frame);
            *cause = (Cause){CAUSE_THREAD, state->id, 0, 0};
            return running == NULL ? -1 : 0;
        }
        /* On the loop's own thread, outside of any run: a signal's handler, or a transport's callback. */
    }
    return completed_from(core, frame, cause);
}

/* What is known of a wake before the loop is called. */
typedef struct {
    PyObject *run; /* new reference */
    TaskEntry *entry; /* new reference; NULL: no step */
    int64_t time_ns;
    int64_t thread;
    Cause cause;
} Wake;

static int
prepare(Shim *self, const Books *books, PyObject *callback, PyObject *task, Wake *wake)
{
    LoopState *probe = self->probe;
    Core *core = books->core;
    ThreadState *state = current_state(core);
    if (state == NULL) {
        return -1;
    }
    /* Inside the end of a step, after its root was suspended, it is that step's own bare yield: see coroutines.c. */
    wake->time_ns = state->suspended_ns != 0 && task != NULL ? state->suspended_ns : now_ns();
    state->begun_ns = 0;
    wake->thread = state->id;
    int result = cause_of_wake(self, core, state, &wake->cause);
    int64_t due_ns = wake->cause.due_ns;
    wake->cause.due_ns = 0; /* it holds for what the timer wakes itself, not for what is queued on the way there */
    if (result == 0 && task == NULL) {
        wake->run = new_callback_run(probe, callback, &wake->cause);
    }
    else if (result == 0) {
        TaskEntry *entry = wake->entry = meet_task(books, task, wake->time_ns, state);
        if (entry != NULL && entry->is_c_task && entry->id == state->root_task && entry->id == state->task) {
            /* A task queues its own next step at the end of this one: no code of the program runs between the two. */
            state->suspended_ns = wake->time_ns;
        }
        if (entry != NULL && !self->is_threadsafe) {
            if (entry->yielded) {
                entry->yielded = false;
                wake->cause = (Cause){CAUSE_TASK, entry->id, 0, 0};
            }
            if (due_ns != 0 && due_ns < wake->time_ns) {
                /* Ready since the timer was due, or since it began to wait: the loop was late to look. But not while
                 * the loop was idle: a selector counts milliseconds, and sleeps on when the timer is due. */
                wake->time_ns = due_ns > entry->stepped_ns ? due_ns : entry->stepped_ns;
                if (wake->time_ns < probe->idle_until_ns) {
                    wake->time_ns = probe->idle_until_ns;
                }
            }
        }
        wake->run = entry != NULL ? new_step_run(probe, callback, entry) : NULL;
    }
    Py_DECREF(state);
    return wake->run == NULL ? -1 : 0;
}

static PyObject *
call_soon(Shim *self, PyObject *const *args, size_t flagged, PyObject *keywords)
{
    LoopState *probe = self->probe;
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    if (count == 0) {
        return call_original(self, args, count, keywords, 0, NULL);
    }
    PyObject *callback = args[0], *task = NULL;
    if (!self->is_threadsafe && meet(probe, callback) < 0) {
        return queue_after_failure(self, args, count, keywords);
    }
    Books books = hold(probe);
    if (books.core == NULL || books.table == NULL ||
        (!is_step(callback, &task) && (!PyCallable_Check(callback) || is_run(callback)))) {
        let_go(&books);
        return call_original(self, args, count, keywords, 0, NULL);
    }
    Wake wake = {NULL, NULL, 0, 0, {0, 0, 0, 0}};
    PyObject *handle;
    if (prepare(self, &books, callback, task, &wake) < 0) {
        Py_CLEAR(wake.entry);
        handle = queue_after_failure(self, args, count, keywords);
    }
    else {
        handle = call_original(self, args, count, keywords, 0, wake.run);
    }
    if (handle != NULL && wake.entry != NULL &&
        append(books.core, wake.time_ns, wake.thread, TASK_READY, wake.entry->id, wake.cause.id, wake.cause.site,
               (int)wake.cause.kind) < 0 &&
        failed_in(probe) < 0) {
        Py_CLEAR(handle);
    }
    Py_XDECREF(wake.run);
    Py_XDECREF(wake.entry);
    Py_XDECREF(task);
    let_go(&books);
    return handle;
}

/* Timers and readers: the callback is the second argument, and its cause is known. */

static PyObject *
queue_with_cause(Shim *self, PyObject *const *args, size_t flagged, PyObject *keywords,
                 int (*tell_cause)(Shim *, PyObject *, Cause *))
{
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    if (self->probe->books.core == NULL || count < 2 || !PyCallable_Check(args[1]) || is_run(args[1])) {
        return call_original(self, args, count, keywords, 0, NULL);
    }
    Cause cause = {CAUSE_UNKNOWN, 0, 0, 0};
    PyObject *run = !fault() && tell_cause(self, args[0], &cause) == 0 ? new_callback_run(self->probe, args[1], &cause) : NULL;
    if (run == NULL && failed_in(self->probe) < 0) {
        return NULL; /* a signal's exception; nothing waits for this callback yet */
    }
    PyObject *handle = call_original(self, args, count, keywords, 1, run);
    Py_XDECREF(run);
    return handle;
}

static int
io(Shim *Py_UNUSED(self), PyObject *Py_UNUSED(fd), Cause *cause)
{
    *cause = (Cause){CAUSE_IO, 0, 0, 0};
    return 0;
}

/* A timer: with its due time, where the loop's clock is the machine's. */
static int
timer_at(Shim *self, PyObject *when, Cause *cause)
{
    *cause = (Cause){CAUSE_TIMER, 0, 0, 0};
    double at_s = PyFloat_CheckExact(when) ? PyFloat_AS_DOUBLE(when) : NEVER_S;
    PyObject *known = self->probe->machine_clock;
    if (known == NULL || known == Py_None || !(at_s < NEVER_S && at_s > -NEVER_S)) { /* not nan either */
        return 0;
    }
    PyObject *owner = owner_of(self);
    PyObject *clock = owner != Py_None ? PyObject_GenericGetAttr(owner, time_name) : NULL;
    /* Unless the loop has another one of its own. Its __dict__ is not asked: see probes/attributes.py. */
    if (clock == NULL) {
        PyErr_Clear();
    }
    else if (PyMethod_Check(clock) && PyMethod_GET_SELF(clock) == owner && PyMethod_GET_FUNCTION(clock) == known) {
        cause->due_ns = (int64_t)(at_s * 1e9);
    }
    Py_XDECREF(clock);
    Py_DECREF(owner);
    return 0;
}

static int
timer_after(Shim *self, PyObject *delay, Cause *cause)
{
    PyObject *told = PyObject_CallMethod((PyObject *)self->probe, "timer_after", "O", delay);
    int result = told != NULL ? cause_from_tuple(told, cause) : -1;
    Py_XDECREF(told);
    return result;
}

static PyObject *
call_at(Shim *self, PyObject *const *args, size_t flagged, PyObject *keywords)
{
    return queue_with_cause(self, args, flagged, keywords, timer_at);
}

static PyObject *
call_later(Shim *self, PyObject *const *args, size_t flagged, PyObject *keywords)
{
    return queue_with_cause(self, args, flagged, keywords, timer_after);
}

static PyObject *
add_reader(Shim *self, PyObject *const *args, size_t flagged, PyObject *keywords)
{
    return queue_with_cause(self, args, flagged, keywords, io);
}

/* The selector: the loop is idle in it, unless it only looks. */

/* Note that the idle time begins, and where its end goes: to that core (new reference, NULL: it is not noted). */
static int
begin_idle(LoopState *probe, PyObject *timeout, Core **core, int64_t *thread, int64_t *loop_id)
{
    *core = NULL;
    *thread = *loop_id = 0;
    if (probe->books.core == NULL && probe->meet != NULL && probe->meet != Py_None) {
        PyObject *met = PyObject_CallMethod((PyObject *)probe, "_met", NULL);
        Py_XDECREF(met);
        if (met == NULL) {
            return -1;
        }
    }
    if (probe->books.core != NULL && probe->open_step != NULL && probe->open_step != Py_None) {
        PyObject *closed = PyObject_CallMethod((PyObject *)probe, "close_late_step", NULL);
        Py_XDECREF(closed);
        if (closed == NULL) {
            return -1;
        }
    }
    if (probe->books.core == NULL) {
        return 0;
    }
    if (timeout != Py_None) {
        PyObject *zero = PyLong_FromLong(0);
        int waits = zero != NULL ? PyObject_RichCompareBool(timeout, zero, Py_GT) : -1;
        Py_XDECREF(zero);
        if (waits <= 0) {
            return waits;
        }
    }
    *core = (Core *)Py_XNewRef((PyObject *)probe->books.core); /* if comparing has not stopped the recording */
    ThreadState *state = *core != NULL ? current_state(*core) : NULL;
    if (state == NULL) {
        return *core != NULL ? -1 : 0;
    }
    *thread = state->id;
    *loop_id = probe->loop_id;
    Py_DECREF(state);
    return append(*core, now_ns(), *thread, LOOP_IDLE_STARTED, *loop_id, 0, 0, 0);
}

static PyObject *
select_(Shim *self, PyObject *const *args, size_t flagged, PyObject *keywords)
{
    LoopState *probe = self->probe;
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    PyObject *timeout = count + (keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0) > 0 ? args[0] : Py_None;
    Core *core;
    int64_t thread, loop_id;
    if (begin_idle(probe, timeout, &core, &thread, &loop_id) < 0) {
        Py_CLEAR(core);
        if (failed_in(probe) < 0) {
            return NULL;
        }
    }
    PyObject *found = call_original(self, args, count, keywords, 0, NULL);
    if (core != NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        probe->idle_until_ns = now_ns();
        if (append(core, probe->idle_until_ns, thread, LOOP_IDLE_FINISHED, loop_id, 0, 0, 0) < 0 &&
            failed_in(probe) < 0) {
            Py_CLEAR(found);
            Py_XDECREF(type);
            Py_XDECREF(value);
            Py_XDECREF(traceback);
        }
        else if (type != NULL) {
            PyErr_Restore(type, value, traceback);
        }
    }
    Py_XDECREF(core);
    return found;
}

/* What Python sees. */

static vectorcallfunc
way_of(const char *name, bool *is_threadsafe)
{
    static const struct {
        const char *name;
        void *way;
    } ways[] = {
        {"call_soon", (void *)call_soon},   {"call_soon_threadsafe", (void *)call_soon},
        {"_call_soon", (void *)call_soon}, /* with (callback, args, context) */
        {"call_at", (void *)call_at},       {"call_later", (void *)call_later},
        {"add_reader", (void *)add_reader}, {"add_writer", (void *)add_reader},
        {"select", (void *)select_},
    };
    *is_threadsafe = strcmp(name, "call_soon_threadsafe") == 0;
    for (size_t index = 0; index < sizeof(ways) / sizeof(ways[0]); index++) {
        if (strcmp(name, ways[index].name) == 0) {
            return (vectorcallfunc)ways[index].way;
        }
    }
    return NULL;
}

static int
learn_code(PyObject *type, const char *name, PyObject **code)
{
    PyObject *function = PyObject_GetAttrString(type, name);
    PyObject *found = function != NULL ? PyObject_GetAttrString(function, "__code__") : NULL;
    Py_XDECREF(function);
    if (found == NULL) {
        return -1;
    }
    Py_XSETREF(*code, found);
    return 0;
}

static int
learn_callers_of_inner(void)
{
    PyObject *module = PyImport_ImportModule("asyncio.base_events");
    PyObject *type = module != NULL ? PyObject_GetAttrString(module, "BaseEventLoop") : NULL;
    Py_XDECREF(module);
    int result = type == NULL || learn_code(type, "call_soon", &soon_code) < 0 ||
                         learn_code(type, "call_soon_threadsafe", &threadsafe_code) < 0
                     ? -1
                     : 0;
    Py_XDECREF(type);
    return result;
}

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"name", "probe", "owner_ref", "original", "qualified_name", NULL};
    PyObject *name, *probe, *owner_ref, *original, *qualified_name;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "UO!OOU", names, &name, &LoopState_Type, &probe, &owner_ref,
                                     &original, &qualified_name)) {
        return NULL;
    }
    if (!PyWeakref_Check(owner_ref)) {
        PyErr_SetString(PyExc_TypeError, "owner_ref is a weak reference");
        return NULL;
    }
    bool is_threadsafe;
    const char *text = PyUnicode_AsUTF8(name);
    vectorcallfunc way = text != NULL ? way_of(text, &is_threadsafe) : NULL;
    if (way == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "there is no shim for %R", name);
        }
        return NULL;
    }
    if (get_running_loop == NULL) {
        PyObject *events = PyImport_ImportModule("asyncio.events");
        get_running_loop = events != NULL ? PyObject_GetAttrString(events, "_get_running_loop") : NULL;
        Py_XDECREF(events);
        if (get_running_loop == NULL) {
            return NULL;
        }
    }
    if (strcmp(text, "_call_soon") == 0 && learn_callers_of_inner() < 0) {
        return NULL;
    }
    if (time_name == NULL && (time_name = PyUnicode_InternFromString("time")) == NULL) {
        return NULL;
    }
    Shim *self = (Shim *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = way;
        self->is_threadsafe = is_threadsafe;
        self->is_inner = strcmp(text, "_call_soon") == 0;
        self->probe = (LoopState *)Py_NewRef(probe);
        self->owner_ref = Py_NewRef(owner_ref);
        self->original = Py_NewRef(original);
        self->name = Py_NewRef(name);
        self->qualified_name = Py_NewRef(qualified_name);
    }
    return (PyObject *)self;
}

static PyObject *
get_signature(Shim *self, void *Py_UNUSED(closure))
{
    PyObject *owner = owner_of(self), *function = NULL, *inspect = NULL, *signature = NULL;
    if (owner != Py_None && (function = PyObject_GetAttr((PyObject *)Py_TYPE(owner), self->name)) != NULL) {
        PyObject *bound = PyObject_CallMethod(function, "__get__", "O", owner);
        inspect = bound != NULL ? PyImport_ImportModule("inspect") : NULL;
        signature = inspect != NULL ? PyObject_CallMethod(inspect, "signature", "O", bound) : NULL;
        Py_XDECREF(bound);
    }
    if (signature == NULL && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_Exception))) {
        PyErr_Clear();
        PyErr_SetString(PyExc_AttributeError, "__signature__");
    }
    Py_XDECREF(inspect);
    Py_XDECREF(function);
    Py_DECREF(owner);
    return signature;
}

static int
traverse(Shim *self, visitproc visit, void *arg)
{
    Py_VISIT(self->probe);
    Py_VISIT(self->owner_ref);
    Py_VISIT(self->original);
    return 0;
}

static int
clear(Shim *self)
{
    /* It can still be called while a cycle that it is in is taken apart: what it looks at stays until it is freed. */
    Py_CLEAR(self->original);
    self->original = Py_NewRef(Py_None);
    return 0;
}

static void
dealloc(Shim *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->original);
    Py_CLEAR(self->probe);
    Py_CLEAR(self->owner_ref);
    Py_CLEAR(self->name);
    Py_CLEAR(self->qualified_name);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef members[] = {
    {"__name__", T_OBJECT, offsetof(Shim, name), READONLY, NULL},
    {"__qualname__", T_OBJECT, offsetof(Shim, qualified_name), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"__signature__", (getter)get_signature, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Shim_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.Shim",
    .tp_doc = "Stands on a loop in the place of one of its methods.",
    .tp_basicsize = sizeof(Shim),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Shim, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_members = members,
    .tp_getset = attributes,
};
