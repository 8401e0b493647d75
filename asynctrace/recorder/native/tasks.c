/* The identity of tasks, as asynctrace.probes.tasks defines it: that code does what is not usual. */

#include "events.h"
#include "standins.h"
#include <stddef.h>
#include <structmember.h>

Asyncio asyncio;

/* What we know of asyncio. */

static PyObject *
attribute_of(PyTypeObject *type, const char *name) /* new reference; NULL: it has none, no error is set */
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL) {
        PyErr_Clear();
    }
    return found;
}

PyGetSetDef *
getter_of(PyTypeObject *type, const char *name)
{
    PyObject *descriptor = attribute_of(type, name);
    PyGetSetDef *found = NULL;
    if (descriptor != NULL && Py_IS_TYPE(descriptor, &PyGetSetDescr_Type)) {
        found = ((PyGetSetDescrObject *)descriptor)->d_getset; /* lives as long as the type, which we keep */
    }
    Py_XDECREF(descriptor);
    return found;
}

static PyTypeObject *
type_in(PyObject *module, const char *name) /* new reference */
{
    PyObject *found = PyObject_GetAttrString(module, name);
    if (found != NULL && !PyType_Check(found)) {
        PyErr_Format(PyExc_ImportError, "%s of asyncio is no class", name);
        Py_CLEAR(found);
    }
    return (PyTypeObject *)found;
}

static PyObject *
function_of_c(const char *name) /* new reference; NULL: there is none such, no error is set */
{
    PyObject *module = PyImport_ImportModule("_asyncio");
    PyObject *found = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    PyErr_Clear();
    return found;
}

int
learn_asyncio(void)
{
    if (asyncio.c_task != NULL) {
        return 0;
    }
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *futures = tasks != NULL ? PyImport_ImportModule("asyncio.futures") : NULL;
    PyObject *exceptions = futures != NULL ? PyImport_ImportModule("asyncio.exceptions") : NULL;
    int result = -1;
    if (exceptions != NULL && (asyncio.py_task = type_in(tasks, "_PyTask")) != NULL &&
        (asyncio.gathering_future = type_in(tasks, "_GatheringFuture")) != NULL &&
        (asyncio.py_future = type_in(futures, "_PyFuture")) != NULL &&
        (asyncio.c_future = type_in(futures, "Future")) != NULL &&
        (asyncio.cancelled_error = PyObject_GetAttrString(exceptions, "CancelledError")) != NULL &&
        (asyncio.c_task = type_in(tasks, "Task")) != NULL) {
        result = 0;
        asyncio.get_name = attribute_of(asyncio.c_task, "get_name");
        asyncio.get_coro = attribute_of(asyncio.c_task, "get_coro");
        asyncio.pending = PyUnicode_InternFromString("PENDING");
        asyncio.cancelled = PyUnicode_InternFromString("CANCELLED");
        asyncio.state = getter_of(asyncio.c_future, "_state");
        asyncio.fut_waiter = getter_of(asyncio.c_task, "_fut_waiter");
        asyncio.must_cancel = getter_of(asyncio.c_task, "_must_cancel");
        asyncio.exception = getter_of(asyncio.c_task, "_exception");
        asyncio.current_task = function_of_c("current_task");
        asyncio.running_loop = function_of_c("_get_running_loop");
        asyncio.step_function = attribute_of(asyncio.py_task, "_Task__step");
        asyncio.wakeup_function = attribute_of(asyncio.py_task, "_Task__wakeup");
    }
    Py_XDECREF(tasks);
    Py_XDECREF(futures);
    Py_XDECREF(exceptions);
    return result;
}

/* Whether tasks of this type are of the kind that the quick ways are made for: C's, with the attributes we know. */
static bool
is_c_task_type(PyTypeObject *type)
{
    return asyncio.fut_waiter != NULL && asyncio.must_cancel != NULL && asyncio.exception != NULL &&
           asyncio.state != NULL && asyncio.get_name != NULL && asyncio.get_coro != NULL &&
           asyncio.pending != NULL && asyncio.cancelled != NULL && asyncio.c_task != asyncio.py_task &&
           PyType_IsSubtype(type, asyncio.c_task);
}

static bool
is_task_type(PyTypeObject *type)
{
    return PyType_IsSubtype(type, asyncio.c_task) || PyType_IsSubtype(type, asyncio.py_task);
}

static bool
is_step_wrapper(PyTypeObject *type)
{
    if (asyncio.step_wrapper != NULL) {
        return type == asyncio.step_wrapper;
    }
    const char *name = strrchr(type->tp_name, '.');
    if (strcmp(name == NULL ? type->tp_name : name + 1, "TaskStepMethWrapper") != 0) {
        return false;
    }
    /* A class of the user's can have any name, but not this descriptor. */
    PyGetSetDef *stepped = type->tp_flags & Py_TPFLAGS_HEAPTYPE && PyType_GetModule(type) == NULL
                               ? NULL
                               : getter_of(type, "__self__");
    PyErr_Clear();
    if (stepped == NULL) {
        return false;
    }
    asyncio.step_wrapper = (PyTypeObject *)Py_NewRef((PyObject *)type);
    asyncio.stepped = stepped;
    return true;
}

bool
is_step(PyObject *callback, PyObject **task)
{
    PyTypeObject *type = Py_TYPE(callback);
    if (is_step_wrapper(type)) {
        *task = asyncio.stepped->get(callback, asyncio.stepped->closure);
        if (*task != NULL && *task != Py_None) {
            return true;
        }
        Py_CLEAR(*task);
        PyErr_Clear();
        return false;
    }
    if (type == &PyCFunction_Type) {
        PyObject *self = PyCFunction_GET_SELF(callback);
        PyMethodDef *method = ((PyCFunctionObject *)callback)->m_ml;
        if (self == NULL || !is_task_type(Py_TYPE(self))) {
            return false;
        }
        if (asyncio.wakeup == NULL && strcmp(method->ml_name, "task_wakeup") == 0) {
            asyncio.wakeup = method;
        }
        *task = method == asyncio.wakeup ? Py_NewRef(self) : NULL;
        return *task != NULL;
    }
    if (type == &PyMethod_Type) {
        PyObject *function = PyMethod_GET_FUNCTION(callback);
        if (function == asyncio.step_function || function == asyncio.wakeup_function) {
            *task = Py_NewRef(PyMethod_GET_SELF(callback));
            return true;
        }
    }
    return false;
}

/* One task. */

static TaskEntry *
new_entry(PyObject *task, PyObject *table, int64_t id) /* new reference */
{
    TaskEntry *self = fault() ? NULL : (TaskEntry *)TaskEntry_Type.tp_alloc(&TaskEntry_Type, 0); /* all else is 0 */
    if (self != NULL) {
        bool is_py_task = PyType_IsSubtype(Py_TYPE(task), asyncio.py_task);
        self->table = Py_NewRef(table);
        self->task_type = Py_NewRef((PyObject *)(is_py_task ? asyncio.py_task : asyncio.c_task));
        self->future_type = Py_NewRef((PyObject *)(is_py_task ? asyncio.py_future : asyncio.c_future));
        self->address = task;
        self->id = id;
        self->is_c_task = is_c_task_type(Py_TYPE(task));
    }
    return self;
}

#if PY_VERSION_HEX >= 0x030D0000

/* Since CPython 3.13 the name that asyncio gives a task is a number until somebody asks for it: to make a text of it costs
 * more than to record that the task was made. Nothing gives the number, so where it lies in a task is learnt from the first
 * tasks, by what they tell when they are asked; should they differ, all are asked ever after. */
enum { COMPARISONS = 16 };
static Py_ssize_t name_offset;
static int places_compared, numbers_compared;
static bool names_differ;

static PyObject *
name_in(PyObject *task) /* borrowed; of a task of C's own type, once it is known where it lies */
{
    return *(PyObject **)((char *)task + name_offset);
}

/* A task that was asked holds the very name that it told. */
static void
compare_place(PyObject *task, PyObject *name)
{
    if (name_offset == 0) {
        Py_ssize_t found = 0, count = 0;
        for (Py_ssize_t offset = sizeof(PyObject); offset < Py_TYPE(task)->tp_basicsize; offset += sizeof(PyObject *)) {
            if (*(PyObject **)((char *)task + offset) == name) {
                found = offset;
                count++;
            }
        }
        names_differ = count != 1;
        name_offset = found;
    }
    names_differ = names_differ || name_in(task) != name;
    places_compared++;
}

static bool
is_named(PyObject *number, PyObject *name)
{
    PyObject *expected = PyUnicode_FromFormat("Task-%S", number);
    bool result = expected != NULL && PyUnicode_Check(name) && PyUnicode_Compare(expected, name) == 0;
    Py_XDECREF(expected);
    PyErr_Clear();
    return result;
}

/* The name of a task of C's, or the number that it is named by. */
static PyObject *
name_of(PyObject *task) /* new reference */
{
    if (Py_TYPE(task) != asyncio.c_task || names_differ) {
        return PyObject_CallOneArg(asyncio.get_name, task);
    }
    PyObject *number = NULL;
    if (places_compared >= COMPARISONS) {
        PyObject *held = name_in(task);
        if (held != NULL && PyLong_CheckExact(held)) {
            number = Py_NewRef(held);
            if (numbers_compared >= COMPARISONS) {
                return number;
            }
        }
    }
    PyObject *name = PyObject_CallOneArg(asyncio.get_name, task);
    if (name != NULL && number != NULL) {
        names_differ = !is_named(number, name);
        numbers_compared++;
    }
    else if (name != NULL && places_compared < COMPARISONS) {
        compare_place(task, name);
    }
    Py_XDECREF(number);
    return name;
}

#else

static PyObject *
name_of(PyObject *task) /* new reference */
{
    return PyObject_CallOneArg(asyncio.get_name, task);
}

#endif

int
read_name(Core *core, TaskEntry *entry, PyObject *task)
{
    if (fault()) {
        return -1;
    }
    PyObject *name = entry->is_c_task ? name_of(task) : NULL;
    if (name == NULL || !(PyUnicode_CheckExact(name) || PyLong_CheckExact(name))) {
        Py_XDECREF(name);
        if (PyErr_Occurred()) {
            return -1;
        }
        PyObject *result = PyObject_CallMethod(entry->table, "read_name", "OO", entry, task);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    entry->has_name = true;
    int result = 0;
    if (name != entry->name) {
        PyObject *id = PyLong_FromLongLong(entry->id);
        result = id == NULL ? -1 : PyDict_SetItem(core->names, id, name);
        Py_XDECREF(id);
        Py_XSETREF(entry->name, Py_NewRef(name));
    }
    Py_DECREF(name);
    return result;
}

/* Read the names of tasks that ended before a task factory's caller could name them. */
int
read_late_names(const Books *books)
{
    PyObject *late = books->late_names;
    Py_ssize_t count = 0;
    int result = 0;
    while (result == 0 && count < PyList_GET_SIZE(late)) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(late, count++));
        if (Py_IS_TYPE(item, &TaskEntry_Type)) {
            TaskEntry *entry = (TaskEntry *)item;
            PyObject *task = entry->ref != NULL ? referent(entry->ref) : NULL;
            result = task != NULL ? read_name(books->core, entry, task) : 0;
            Py_XDECREF(task);
            Py_CLEAR(entry->ref); /* it is nothing to us any more when the task is freed */
        }
        Py_DECREF(item);
    }
    return result == 0 ? PyList_SetSlice(late, 0, count, NULL) : -1;
}

PyObject *
code_of(PyObject *coroutine)
{
#if PY_VERSION_HEX >= 0x030C0000
    return (PyObject *)PyGen_GetCode((PyGenObject *)coroutine);
#else
    return Py_NewRef((PyObject *)((PyGenObject *)coroutine)->gi_code);
#endif
}

/* Make a task known that is as usual; NULL without an error: it is not. */
TaskEntry *
meet_usual_task(const Books *books, PyObject *task, int64_t time_ns, ThreadState *state)
{
    Core *core = books->core;
    if (Py_TYPE(task) != asyncio.c_task || !is_c_task_type(Py_TYPE(task)) || PyDict_GET_SIZE(books->expected) > 0) {
        return NULL;
    }
    PyObject *root = PyObject_CallOneArg(asyncio.get_coro, task);
    if (root != NULL && Py_IS_TYPE(root, &TracedCoroutine_Type)) {
        Py_SETREF(root, Py_NewRef(((TracedCoroutine *)root)->coroutine));
    }
    if (root == NULL || !PyCoro_CheckExact(root)) {
        Py_XDECREF(root);
        return NULL;
    }
    PyObject *code = code_of(root);
    int64_t site = code != NULL ? site_of_code(core, code) : -1;
    TaskEntry *entry = site < 0 ? NULL : new_entry(task, books->table, new_id(core));
    Py_XDECREF(code);
    if (entry != NULL) {
        entry->root = root;
        entry->stepped_ns = time_ns;
        int64_t creator = state->has_cause && state->cause.kind == CAUSE_TASK ? state->cause.id : 0;
        entry->ref = PyWeakref_NewRef(task, (PyObject *)entry);
        if (entry->ref == NULL || map_set(&books->entries->map, task, (int64_t)(intptr_t)entry) < 0) {
            Py_CLEAR(entry);
        }
        else {
            Py_INCREF(entry); /* the map's */
            if (append(core, time_ns, state->id, TASK_CREATED, entry->id, creator, site, 0) < 0) {
                Py_CLEAR(entry);
            }
        }
    }
    Py_DECREF(root);
    return entry;
}

TaskEntry *
meet_task(const Books *books, PyObject *task, int64_t time_ns, ThreadState *state)
{
    TaskEntry *entry = (TaskEntry *)(intptr_t)map_get(&books->entries->map, task, 0);
    if (entry != NULL) {
        return (TaskEntry *)Py_NewRef((PyObject *)entry);
    }
    entry = meet_usual_task(books, task, time_ns, state);
    if (entry == NULL && !PyErr_Occurred()) {
        PyObject *met = PyObject_CallMethod(books->table, "meet", "OLO", task, (long long)time_ns, state);
        if (met != NULL && !Py_IS_TYPE(met, &TaskEntry_Type)) {
            PyErr_SetString(PyExc_TypeError, "a task's entry of another core");
            Py_CLEAR(met);
        }
        entry = (TaskEntry *)met;
    }
    return entry;
}

/* A step. */

static PyObject *
attribute(PyObject *task, const PyGetSetDef *known, const char *name) /* new reference */
{
    if (fault()) {
        return NULL;
    }
    return known != NULL ? known->get(task, known->closure) : PyObject_GetAttrString(task, name);
}

static int
is_true(PyObject *value) /* steals the reference */
{
    int result = value != NULL ? PyObject_IsTrue(value) : -1;
    Py_XDECREF(value);
    return result;
}

/* Tell whether a future of C's, or a task, is in a state. */
static int
is_in_state(PyObject *future, PyObject *state)
{
    PyObject *now = fault() ? NULL : asyncio.state->get(future, asyncio.state->closure);
    int result = now == NULL ? -1 : now == state || PyUnicode_Compare(now, state) == 0;
    Py_XDECREF(now);
    return result;
}

int
has_to_cancel(TaskEntry *entry, PyObject *task)
{
    return is_true(attribute(task, entry->is_c_task ? asyncio.must_cancel : NULL, "_must_cancel"));
}

int
begins_with_a_cancel(TaskEntry *entry, PyObject *task, PyObject *const *args, size_t count)
{
    int must = has_to_cancel(entry, task);
    if (must != 0 || count == 0) {
        return must;
    }
    /* The argument of task_wakeup is the future; a user's own future-like object is not asked. */
    PyTypeObject *type = Py_TYPE(args[0]);
    if ((type == asyncio.c_future || type == asyncio.c_task || type == asyncio.gathering_future) &&
        asyncio.state != NULL) {
        return is_in_state(args[0], asyncio.cancelled);
    }
    if (type == asyncio.py_future || type == asyncio.py_task) {
        return is_true(PyObject_CallMethod(args[0], "cancelled", NULL));
    }
    return 0;
}

/* Take the entry of a task that has ended out of the table; whoever calls this has a reference of its own. */
void
drop_ended(const Books *books, TaskEntry *entry)
{
    int64_t value;
    entry->has_ended = true;
    if (map_get(&books->entries->map, entry->address, 0) == (int64_t)(intptr_t)entry &&
        map_pop(&books->entries->map, entry->address, &value)) {
        Py_DECREF(entry); /* the map's */
    }
}

/* Drop a task that is done; tell how it ended. */
static int
finish(const Books *books, TaskEntry *entry, PyObject *task, int64_t *site, int *flags)
{
    if (read_name(books->core, entry, task) < 0) {
        return -1;
    }
    drop_ended(books, entry);
    Py_CLEAR(entry->ref); /* it is nothing to us any more when the task is freed */
    int cancelled = is_in_state(task, asyncio.cancelled);
    if (cancelled != 0) {
        *flags = CANCELLED;
        return cancelled < 0 ? -1 : 0;
    }
    /* Never task.exception(): it would silence "exception was never retrieved". */
    PyObject *exception = attribute(task, asyncio.exception, "_exception");
    if (exception == NULL) {
        return -1;
    }
    *flags = exception == Py_None ? RETURNED : RAISED;
    if (exception != Py_None) {
        *site = site_of_text(books->core, PyType_GetQualName(Py_TYPE(exception)));
    }
    Py_DECREF(exception);
    return *site < 0 ? -1 : 0;
}

/* Tell what a task waits for: the id of a task or job, or the name of the type. */
int
name_awaited(const Books *books, PyObject *future, int64_t *awaited, int64_t *site)
{
    TaskEntry *entry = (TaskEntry *)(intptr_t)map_get(&books->entries->map, future, 0);
    if (entry != NULL) {
        *awaited = entry->id;
        return 0;
    }
    PyTypeObject *type = Py_TYPE(future);
    if (PyDict_GET_SIZE(books->job_futures) == 0) {
        if (type != asyncio.c_future && type != asyncio.py_future) {
            *site = site_of_text(books->core, PyType_GetName(type));
        }
        return *site < 0 ? -1 : 0;
    }
    PyObject *told = PyObject_CallMethod(books->table, "awaited", "O", future);
    long long id, type_site;
    if (told == NULL || !PyArg_ParseTuple(told, "LL", &id, &type_site)) {
        Py_XDECREF(told);
        return -1;
    }
    Py_DECREF(told);
    *awaited = id;
    *site = type_site;
    return 0;
}

int
end_of_step(const Books *books, TaskEntry *entry, PyObject *task, int64_t *awaited, int64_t *site, int *flags)
{
    *awaited = *site = 0;
    *flags = SUSPENDED;
    if (!entry->is_c_task) {
        PyObject *told = PyObject_CallMethod(books->table, "step_end", "OO", entry, task);
        long long other, type_site;
        int result = told != NULL && PyArg_ParseTuple(told, "LLi", &other, &type_site, flags) ? 0 : -1;
        Py_XDECREF(told);
        if (result == 0) {
            *awaited = other;
            *site = type_site;
        }
        return result;
    }
    PyObject *waiter = attribute(task, asyncio.fut_waiter, "_fut_waiter");
    if (waiter == NULL) {
        return -1;
    }
    int result;
    if (waiter != Py_None) {
        result = name_awaited(books, waiter, awaited, site);
    }
    else {
        result = is_in_state(task, asyncio.pending);
        if (result > 0) {
            *flags = YIELDED | SUSPENDED;
            result = 0;
        }
        else if (result == 0) {
            result = finish(books, entry, task, site, flags);
        }
    }
    Py_DECREF(waiter);
    return result;
}

/* What Python sees of an entry. */

static PyObject *
make(PyTypeObject *Py_UNUSED(type), PyObject *args, PyObject *keywords)
{
    static char *names[] = {"id", "task", "table", NULL};
    long long id;
    PyObject *task, *table;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "LOO", names, &id, &task, &table)) {
        return NULL;
    }
    return (PyObject *)new_entry(task, table, id);
}

/* The task is gone: called as the callback of its weak reference. */
static PyObject *
call(TaskEntry *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(keywords))
{
    return self->has_ended ? Py_NewRef(Py_None) : PyObject_CallMethod(self->table, "collected", "O", self);
}

static PyObject *
get_address(TaskEntry *self, void *Py_UNUSED(closure))
{
    return PyLong_FromVoidPtr(self->address);
}

static PyObject *
get_cause(TaskEntry *self, void *Py_UNUSED(closure))
{
    Cause cause = {CAUSE_TASK, self->id, 0, 0};
    return cause_as_tuple(&cause);
}

static int
traverse(TaskEntry *self, visitproc visit, void *arg)
{
    Py_VISIT(self->ref);
    Py_VISIT(self->table);
    Py_VISIT(self->task_type);
    Py_VISIT(self->future_type);
    return 0;
}

static int
clear(TaskEntry *self)
{
    Py_CLEAR(self->ref);
    Py_CLEAR(self->table);
    return 0;
}

static void
dealloc(TaskEntry *self)
{
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_CLEAR(self->task_type);
    Py_CLEAR(self->future_type);
    Py_CLEAR(self->name);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef members[] = {
    {"id", T_LONGLONG, offsetof(TaskEntry, id), READONLY, "the task's id"},
    {"table", T_OBJECT, offsetof(TaskEntry, table), READONLY, "whose entry it is"},
    {"task_type", T_OBJECT, offsetof(TaskEntry, task_type), READONLY, "asyncio's own class under the task"},
    {"future_type", T_OBJECT, offsetof(TaskEntry, future_type), READONLY, "and under that one"},
    {"ref", T_OBJECT, offsetof(TaskEntry, ref), 0, "a weak reference to the task"},
    {"stepped_ns", T_LONGLONG, offsetof(TaskEntry, stepped_ns), 0, "when its last step ended, or it was met"},
    {"has_name", T_BOOL, offsetof(TaskEntry, has_name), 0, "whether its name was read"},
    {"has_stack", T_BOOL, offsetof(TaskEntry, has_stack), 0, "whether its await stack was noted"},
    {"yielded", T_BOOL, offsetof(TaskEntry, yielded), 0, "an eager step that ended with a bare yield"},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"address", (getter)get_address, NULL, "of the task", NULL},
    {"cause", (getter)get_cause, NULL, "as the cause of what its steps queue", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject TaskEntry_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.TaskEntry",
    .tp_doc = "One task that is known; see asynctrace.probes.tasks.TaskEntry.",
    .tp_basicsize = sizeof(TaskEntry),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_call = (ternaryfunc)call,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_members = members,
    .tp_getset = attributes,
};
