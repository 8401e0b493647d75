/* Await stacks of suspended tasks, as asynctrace.probes.wrapping.note_stack reads them, which also does what is unusual.
 *
 * Most waits are where earlier ones were. So a stack is first looked for by its chain of codes and offsets, and only one
 * that is not found is made a tuple of and asked for in the tables.
 */

#include "standins.h"

#include "events.h"

enum { DEEPEST = 48, SLOTS = 512 /* a power of two */ };
#define GENERATOR_STEP "async_generator_" /* what the types of the steps of async generators begin with */

typedef struct {
    PyObject *code; /* borrowed: of a suspended coroutine; or in a known stack kept by the tables */
    int64_t offset;
} Link;

/* A stack that was asked for. The tables keep its codes until what was looked up is to be forgotten. */
typedef struct {
    Link *links; /* NULL: this slot is free */
    size_t depth;
    int64_t key;
} Known;

typedef struct {
    PyObject_HEAD
    Core *core;
    PyObject *stack;     /* Tables.stack */
    PyObject *reference; /* note_stack of the reference, for this recorder */
    PyObject *seen_through; /* a tuple: the types of the reference's stand-ins */
    Known *known;           /* NULL until there is one */
    uint64_t forgotten;     /* that count of the core when they were asked for */
} StackNotes;

static PyGetSetDef *root_of_c_task;

static void
forget_known(StackNotes *self)
{
    if (self->known != NULL) {
        for (size_t index = 0; index < SLOTS; index++) {
            PyMem_Free(self->known[index].links);
        }
        PyMem_Free(self->known);
        self->known = NULL;
    }
    self->forgotten = self->core != NULL ? self->core->forgotten : 0;
}

static Known *
slot_for(StackNotes *self, const Link *links, size_t depth) /* NULL: there is none yet */
{
    uint64_t hash = depth;
    for (size_t index = 0; index < depth; index++) {
        hash = (hash ^ (uintptr_t)links[index].code) * UINT64_C(0x9E3779B97F4A7C15);
        hash = (hash ^ hash >> 32) + (uint64_t)links[index].offset;
    }
    hash *= UINT64_C(0x9E3779B97F4A7C15);
    return self->known != NULL ? &self->known[hash >> 32 & (SLOTS - 1)] : NULL;
}

static bool
is_of(const Known *known, const Link *links, size_t depth)
{
    if (known->links == NULL || known->depth != depth) {
        return false;
    }
    for (size_t index = 0; index < depth; index++) {
        if (known->links[index].code != links[index].code || known->links[index].offset != links[index].offset) {
            return false;
        }
    }
    return true;
}

/* Remember the key of a stack. It is no failure if there is no memory for that. */
static void
remember(StackNotes *self, const Link *links, size_t depth, int64_t key)
{
    if (self->known == NULL && (self->known = PyMem_Calloc(SLOTS, sizeof(Known))) == NULL) {
        return;
    }
    Known *known = slot_for(self, links, depth);
    Link *copy = PyMem_Malloc((depth + 1) * sizeof(Link)); /* never of no bytes: NULL says that a slot is free */
    if (copy != NULL) {
        if (depth > 0) {
            memcpy(copy, links, depth * sizeof(Link));
        }
        PyMem_Free(known->links);
        *known = (Known){copy, depth, key};
    }
}

static int64_t
ask_tables(StackNotes *self, const Link *links, size_t depth)
{
    PyObject *places = PyTuple_New((Py_ssize_t)depth);
    for (size_t index = 0; places != NULL && index < depth; index++) {
        int64_t site = site_of_code(self->core, links[index].code);
        PyObject *place = site < 0 ? NULL : Py_BuildValue("(LL)", (long long)site, (long long)links[index].offset);
        if (place == NULL) {
            Py_CLEAR(places);
        }
        else {
            PyTuple_SET_ITEM(places, (Py_ssize_t)index, place);
        }
    }
    PyObject *number = places != NULL ? PyObject_CallOneArg(self->stack, places) : NULL;
    int64_t key = number != NULL ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    Py_XDECREF(places);
    return key;
}

static int64_t
key_of(StackNotes *self, const Link *links, size_t depth)
{
    if (self->forgotten != self->core->forgotten) {
        forget_known(self);
    }
    Known *known = slot_for(self, links, depth);
    if (known != NULL && is_of(known, links, depth)) {
        return known->key;
    }
    /* Python code runs from here on: another thread may let the chain go, or the tables forget. */
    for (size_t index = 0; index < depth; index++) {
        Py_INCREF(links[index].code);
    }
    int64_t key = ask_tables(self, links, depth);
    if (key >= 0 && self->forgotten == self->core->forgotten) {
        remember(self, links, depth, key);
    }
    for (size_t index = 0; index < depth; index++) {
        Py_DECREF(links[index].code);
    }
    return key;
}

/* Read the chain from its root; 1: the reference has to, for there is a link that is not as usual; -1 and an error. */
static int
read_chain(StackNotes *self, PyObject *root, Link *links, size_t *depth)
{
    PyObject *link = Py_NewRef(root);
    int result = 0;
    while (link != Py_None) {
        PyObject *next;
        if (Py_IS_TYPE(link, &TracedCoroutine_Type)) {
            next = Py_NewRef(((TracedCoroutine *)link)->coroutine);
        }
        else if (PyCoro_CheckExact(link) || PyGen_CheckExact(link)) {
            if (*depth == DEEPEST || !is_suspended(link)) {
                result = 1;
                break;
            }
            PyObject *code = code_of(link);
            Py_DECREF(code); /* the coroutine keeps it */
            links[*depth] = (Link){code, offset_of(link)};
            next = links[*depth].offset < 0 ? NULL : awaited_by(link);
            (*depth)++;
        }
        else {
            result = strncmp(Py_TYPE(link)->tp_name, GENERATOR_STEP, strlen(GENERATOR_STEP)) == 0;
            for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(self->seen_through); index++) {
                result |= Py_IS_TYPE(link, (PyTypeObject *)PyTuple_GET_ITEM(self->seen_through, index));
            }
            break;
        }
        if (next == NULL) {
            result = -1;
            break;
        }
        Py_SETREF(link, next);
    }
    Py_DECREF(link);
    return result;
}

static PyObject *
root_of(PyObject *task) /* new reference */
{
    if (Py_IS_TYPE(task, asyncio.c_task) && root_of_c_task != NULL) {
        return root_of_c_task->get(task, root_of_c_task->closure);
    }
    return PyObject_CallMethod(task, "get_coro", NULL);
}

static int
call_note_stack(PyObject *function, int64_t time_ns, int64_t thread, PyObject *entry, PyObject *task)
{
    PyObject *noted = PyObject_CallFunction(function, "LLOO", (long long)time_ns, (long long)thread, entry, task);
    Py_XDECREF(noted);
    return noted == NULL ? -1 : 0;
}

static int
append_stack(StackNotes *self, int64_t time_ns, int64_t thread, TaskEntry *entry, PyObject *task)
{
    Link links[DEEPEST];
    size_t depth = 0;
    PyObject *root = root_of(task);
    int result = root != NULL ? read_chain(self, root, links, &depth) : -1;
    int64_t key = result == 0 ? key_of(self, links, depth) : -1;
    Py_XDECREF(root);
    if (result > 0) {
        return call_note_stack(self->reference, time_ns, thread, (PyObject *)entry, task);
    }
    return key < 0 ? -1 : append(self->core, time_ns, thread, AWAIT_STACK, entry->id, 0, key, 0);
}

int
note_stack(LoopState *probe, int64_t time_ns, int64_t thread, TaskEntry *entry, PyObject *task)
{
    PyObject *noted = Py_NewRef(probe->note_stack); /* the recording may end in what is called */
    int result = Py_IS_TYPE(noted, &StackNotes_Type)
                     ? append_stack((StackNotes *)noted, time_ns, thread, entry, task)
                     : call_note_stack(noted, time_ns, thread, (PyObject *)entry, task);
    Py_DECREF(noted);
    return result;
}

/* What Python sees. */

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"core", "stack", "reference", "seen_through", NULL};
    PyObject *core, *stack, *reference, *seen_through;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!OOO!", names, &Core_Type, &core, &stack, &reference,
                                     &PyTuple_Type, &seen_through)) {
        return NULL;
    }
    StackNotes *self = (StackNotes *)type->tp_alloc(type, 0);
    if (self != NULL) {
        root_of_c_task = getter_of(asyncio.c_task, "_coro");
        self->core = (Core *)Py_NewRef(core);
        self->stack = Py_NewRef(stack);
        self->reference = Py_NewRef(reference);
        self->seen_through = Py_NewRef(seen_through);
        self->forgotten = self->core->forgotten;
    }
    return (PyObject *)self;
}

static PyObject *
call(StackNotes *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"time_ns", "thread", "entry", "task", NULL};
    long long time_ns, thread;
    PyObject *entry, *task;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "LLO!O", names, &time_ns, &thread, &TaskEntry_Type, &entry, &task) ||
        append_stack(self, time_ns, thread, (TaskEntry *)entry, task) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
traverse(StackNotes *self, visitproc visit, void *arg)
{
    Py_VISIT(self->core);
    Py_VISIT(self->stack);
    Py_VISIT(self->reference);
    Py_VISIT(self->seen_through);
    return 0;
}

static void
dealloc(StackNotes *self)
{
    PyObject_GC_UnTrack(self);
    forget_known(self);
    Py_CLEAR(self->core);
    Py_CLEAR(self->stack);
    Py_CLEAR(self->reference);
    Py_CLEAR(self->seen_through);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

PyTypeObject StackNotes_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.StackNotes",
    .tp_doc = "Appends the await stack of a task; see asynctrace.probes.wrapping.note_stack.",
    .tp_basicsize = sizeof(StackNotes),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_call = (ternaryfunc)call,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
};
