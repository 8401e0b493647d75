/* Steps that no run of a loop surrounds, as asynctrace.probes.coroutines defines them: here is what servers do all the
 * time, an eager task's first step, inside a run. What else there is is left to that code.
 */

#include "bare_steps.h"
#include "hooks.h"
#include <stddef.h>
#include <structmember.h>

#if PY_VERSION_HEX >= 0x030C0000

enum { ANY_FRAME = 16 /* asynctrace.probes.coroutines.ANY_FRAME */ };

static BareStep *
new_bare_step(TaskEntry *entry, const ThreadState *state, bool is_of_root) /* new reference */
{
    BareStep *self = fault() ? NULL : (BareStep *)BareStep_Type.tp_alloc(&BareStep_Type, 0);
    if (self != NULL) {
        self->entry = (TaskEntry *)Py_NewRef((PyObject *)entry);
        self->earlier_task = state->task;
        self->had_cause = state->has_cause;
        self->earlier_cause = state->cause;
        self->is_of_root = is_of_root;
    }
    return self;
}

/* Put a step into the table, in the place of another one if there is one; steals the reference. */
static int
put_step(Addresses *bare_steps, const void *key, BareStep *step)
{
    PyObject *earlier = (PyObject *)(intptr_t)map_get(&bare_steps->map, key, 0);
    if (map_set(&bare_steps->map, key, (int64_t)(intptr_t)step) < 0) {
        Py_DECREF(step);
        return -1;
    }
    Py_XDECREF(earlier);
    return 0;
}

static BareStep *
take_step(Addresses *bare_steps, const void *key) /* the table's reference, or NULL */
{
    int64_t value;
    return map_pop(&bare_steps->map, key, &value) ? (BareStep *)(intptr_t)value : NULL;
}

/* Return the task that runs on the loop of the run in progress; NULL, perhaps without an error. */
static PyObject *
running_task(LoopState *probe)
{
    if (asyncio.running_loop == NULL || asyncio.current_task == NULL || fault()) {
        return NULL;
    }
    PyObject *loop = PyObject_CallNoArgs(asyncio.running_loop);
    PyObject *ours = loop_of(probe);
    PyObject *task = loop != NULL && loop == ours ? PyObject_CallOneArg(asyncio.current_task, loop) : NULL;
    Py_XDECREF(loop);
    Py_XDECREF(ours);
    return task;
}

static int
begin(const Books *books, LoopState *probe, Addresses *bare_steps, ThreadState *state, Frame *frame, PyObject *task,
      TaskEntry *entry, int64_t time_ns)
{
    bool is_of_root = entry->root != NULL && frame_of_coroutine(entry->root) == frame;
    BareStep *step = new_bare_step(entry, state, is_of_root);
    if (step == NULL || put_step(bare_steps, frame, step) < 0 ||
        append(books->core, time_ns, state->id, STEP_STARTED, entry->id, probe->loop_id, 0, EAGER) < 0) {
        return -1;
    }
    state->task = entry->id;
    state->has_cause = true;
    state->cause = (Cause){CAUSE_TASK, entry->id, 0, 0};
    return read_name(books->core, entry, task) < 0 || tell_step_started(books->core, entry, task, true) < 0 ? -1 : 1;
}

int
begin_bare_step(Core *core, Addresses *bare_steps, ThreadState *state, Frame *frame, int64_t time_ns)
{
    LoopState *probe = state->probe;
    if (probe == NULL || probe->books.core != core || probe->books.table == NULL) {
        return 0;
    }
    Py_INCREF(probe);
    Books books = hold(probe);
    int result = 0;
    PyObject *task = PyList_GET_SIZE(books.ends) == 0 ? running_task(probe) : NULL;
    if (task != NULL && Py_IS_TYPE(task, asyncio.c_task)) {
        TaskEntry *known = (TaskEntry *)(intptr_t)map_get(&books.entries->map, task, 0); /* borrowed */
        TaskEntry *entry = NULL;
        if (known != NULL) {
            result = known->id == state->task; /* driven by hand, inside its task's step */
        }
        else if ((entry = meet_usual_task(&books, task, time_ns, state)) != NULL) {
            result = begin(&books, probe, bare_steps, state, frame, task, entry, time_ns);
        }
        Py_XDECREF(entry);
    }
    if (PyErr_Occurred()) {
        result = -1;
    }
    Py_XDECREF(task);
    let_go(&books);
    Py_DECREF(probe);
    return result;
}

BareEnd
end_of_bare_step(Core *core, Addresses *bare_steps, ThreadState *state, Frame *frame, int outcome)
{
    const Map *map = &bare_steps->map;
    if (map->count == 0) {
        return NOTHING;
    }
    const BareStep *step = (BareStep *)(intptr_t)map_get(map, frame, 0);
    if (step == NULL && map_find(map, ANY_FRAME) == NULL) {
        return NOTHING;
    }
    const LoopState *probe = state->probe;
    if (probe == NULL || probe->books.core != core || probe->books.table == NULL ||
        (outcome != SUSPENDED && outcome != RETURNED)) {
        return LOOK_CLOSER;
    }
    if (step != NULL && outcome == SUSPENDED && probe->note_stack != NULL && probe->note_stack != Py_None) {
        return LOOK_CLOSER; /* its await stack is noted a moment later */
    }
    if (step != NULL && (step->is_late || (probe->open_step != NULL && probe->open_step != Py_None) ||
                         (outcome != SUSPENDED && !step->is_of_root) || !step->entry->is_c_task)) {
        return LOOK_CLOSER;
    }
    return END_STEP;
}

/* The task of an eager step has come to its end: tell how. */
static int
end_task(const Books *books, Addresses *bare_steps, BareStep *step, int *outcome)
{
    TaskEntry *entry = step->entry;
    PyObject *task = entry->ref != NULL ? referent(entry->ref) : NULL;
    int result = 0;
    if (task != NULL) {
        int must_cancel = has_to_cancel(entry, task);
        if (must_cancel > 0) {
            *outcome = CANCELLED; /* the root returned, the task is cancelled all the same */
        }
        result = must_cancel < 0 ? -1 : read_name(books->core, entry, task);
        Py_DECREF(task);
    }
    /* The next event of any coroutine comes by here: who made the task may name it first. */
    if (result < 0 || PyList_Append(books->late_names, (PyObject *)entry) < 0 ||
        put_step(bare_steps, (void *)ANY_FRAME, (BareStep *)Py_NewRef((PyObject *)step)) < 0) {
        return -1;
    }
    drop_ended(books, entry);
    return 0;
}

static int
end(const Books *books, Addresses *bare_steps, ThreadState *state, BareStep *step, int outcome, PyObject *value,
    int64_t time_ns)
{
    TaskEntry *entry = step->entry;
    entry->stepped_ns = time_ns;
    state->task = step->earlier_task;
    state->has_cause = step->had_cause;
    state->cause = step->earlier_cause;
    int64_t awaited = 0, site = 0;
    if (outcome == RETURNED) {
        if (end_task(books, bare_steps, step, &outcome) < 0) {
            return -1;
        }
    }
    else if (value == Py_None) {
        outcome |= YIELDED;
        entry->yielded = true;
    }
    else if (name_awaited(books, value, &awaited, &site) < 0) {
        return -1;
    }
    if (append(books->core, time_ns, state->id, STEP_FINISHED, entry->id, awaited, site, outcome) < 0 ||
        tell_step_ended(books->core, entry, NULL, outcome) < 0) {
        return -1;
    }
    return call_attend(books->core, time_ns);
}

int
end_bare_step(Addresses *bare_steps, ThreadState *state, Frame *frame, int outcome, PyObject *value, int64_t time_ns)
{
    LoopState *probe = state->probe;
    if (probe == NULL || probe->books.table == NULL) {
        return 0; /* the recording has stopped meanwhile */
    }
    Py_INCREF(probe);
    Books books = hold(probe);
    int result = 0;
    if (PyList_GET_SIZE(books.late_names) > 0) {
        Py_XDECREF(take_step(bare_steps, (void *)ANY_FRAME));
        result = read_late_names(&books);
    }
    BareStep *step = result == 0 ? take_step(bare_steps, frame) : NULL;
    if (step != NULL) {
        result = end(&books, bare_steps, state, step, outcome, value, time_ns);
        Py_DECREF(step);
    }
    let_go(&books);
    Py_DECREF(probe);
    return result;
}

#endif

/* What Python sees of a step. */

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"entry", "is_of_root", "earlier_task", "earlier_cause", "is_late", NULL};
    PyObject *entry, *cause = Py_None;
    int is_of_root, is_late = 0;
    long long earlier_task = 0;
    Cause earlier = {0, 0, 0, 0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!p|LOp", names, &TaskEntry_Type, &entry, &is_of_root,
                                     &earlier_task, &cause, &is_late) ||
        (cause != Py_None && cause_from_tuple(cause, &earlier) < 0)) {
        return NULL;
    }
    BareStep *self = (BareStep *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->entry = (TaskEntry *)Py_NewRef(entry);
        self->earlier_task = earlier_task;
        self->had_cause = cause != Py_None;
        self->earlier_cause = earlier;
        self->is_of_root = is_of_root;
        self->is_late = is_late;
    }
    return (PyObject *)self;
}

static PyObject *
get_cause(BareStep *self, void *Py_UNUSED(closure))
{
    return self->had_cause ? cause_as_tuple(&self->earlier_cause) : Py_NewRef(Py_None);
}

static int
traverse(BareStep *self, visitproc visit, void *arg)
{
    Py_VISIT(self->entry);
    return 0;
}

static void
dealloc(BareStep *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->entry);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef members[] = {
    {"entry", T_OBJECT_EX, offsetof(BareStep, entry), READONLY, "of the task"},
    {"is_of_root", T_BOOL, offsetof(BareStep, is_of_root), READONLY, "whether the frame is the task's root's"},
    {"earlier_task", T_LONGLONG, offsetof(BareStep, earlier_task), READONLY, "whose step is around it, or 0"},
    {"is_late", T_BOOL, offsetof(BareStep, is_late), READONLY, "whether the recording began in it"},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"earlier_cause", (getter)get_cause, NULL, "of what is around it, or None", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject BareStep_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.BareStep",
    .tp_doc = "A step that no run of a loop surrounds; see asynctrace.probes.coroutines.BareStep.",
    .tp_basicsize = sizeof(BareStep),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_members = members,
    .tp_getset = attributes,
};
