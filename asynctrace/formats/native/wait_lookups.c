/* What the part's tables say of waits and wakes, asked of its Waits once each, and kept. */

#include "encoder.h"

/* Tell whether what is awaited has a name of its own; -1 on an error. */
static int
is_named(struct encoder *encoder, int64_t awaited)
{
    if (!awaited) {
        return 0;
    }
    PyObject *key = PyLong_FromLongLong(awaited);
    int result = key != NULL ? PyDict_Contains(encoder->task_names, key) : -1;
    Py_XDECREF(key);
    return result;
}

/* Find the name of a wait where the user's code does not tell: by what is awaited if that has a name, by a library's
 * await if there is one, by the type of what is awaited. */
int
wait_name(struct encoder *encoder, int64_t awaited, int64_t type_site, const struct name *library, struct name *found)
{
    int has_name = is_named(encoder, awaited);
    if (has_name < 0) {
        return -1;
    }
    if (has_name) {
        /* Names of tasks come and change: this one is not kept. */
        PyObject *answer = PyObject_CallMethod(encoder->waits, "of", "LL", (long long)awaited, (long long)type_site);
        return take_name(answer, found);
    }
    if (library->size) {
        *found = *library;
        return 0;
    }
    struct name *kept = &encoder->waiting_name;
    if (type_site) {
        struct site *site = site_of(encoder, type_site);
        if (site == NULL) {
            return -1;
        }
        kept = &site->waiting;
    }
    if (!kept->size) {
        PyObject *answer = PyObject_CallMethod(encoder->waits, "of", "iL", 0, (long long)type_site);
        if (take_name(answer, kept) < 0) {
            return -1;
        }
    }
    *found = *kept;
    return 0;
}

/* Return the name of a wait at a place: one without a size in asyncio, or where it is unknown. */
const struct name *
wait_at(struct encoder *encoder, int64_t key, int64_t offset)
{
    struct site *site = site_of(encoder, key);
    if (site == NULL) {
        return NULL;
    }
    struct name *name = table_find(&site->waits, offset);
    if (name != NULL) {
        return name;
    }
    PyObject *answer = PyObject_CallMethod(encoder->waits, "at", "((LL))", (long long)key, (long long)offset);
    if (answer == NULL) {
        return NULL;
    }
    name = PyMem_Calloc(1, sizeof(struct name));
    if (name == NULL) {
        Py_DECREF(answer);
        PyErr_NoMemory();
        return NULL;
    }
    int result = 0;
    if (answer != Py_None) {
        result = take_name(answer, name);
    }
    else {
        Py_DECREF(answer);
    }
    if (result < 0 || table_put(&site->waits, offset, name) < 0) {
        PyMem_Free(name);
        return NULL;
    }
    return name;
}

/* Copy what Waits.stack answered: the name of the wait, a label, a code, a library's wait; all but the code may be None. */
static int
read_stack(struct encoder *encoder, PyObject *answer, struct stack *stack)
{
    if (!PyTuple_Check(answer) || PyTuple_GET_SIZE(answer) != 4) {
        PyErr_SetString(PyExc_TypeError, "of a stack four things are told");
        return -1;
    }
    stack->code = PyLong_AsLongLong(PyTuple_GET_ITEM(answer, 2));
    if (stack->code == -1 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *wait = PyTuple_GET_ITEM(answer, 0), *label = PyTuple_GET_ITEM(answer, 1); /* borrowed */
    PyObject *library = PyTuple_GET_ITEM(answer, 3);                                    /* borrowed */
    if ((wait != Py_None && take_name(Py_NewRef(wait), &stack->wait) < 0) ||
        (library != Py_None && take_name(Py_NewRef(library), &stack->library) < 0)) {
        return -1;
    }
    if (label != Py_None) {
        stack->label = checked_bytes(PyObject_CallOneArg(encoder->visible_text, label));
        return stack->label == NULL ? -1 : 0;
    }
    return 0;
}

/* Return what an await stack tells, borrowed. */
const struct stack *
stack_of(struct encoder *encoder, int64_t key)
{
    struct stack *stack = table_find(&encoder->stacks, key);
    if (stack != NULL) {
        return stack;
    }
    PyObject *answer = PyObject_CallMethod(encoder->waits, "stack", "L", (long long)key);
    if (answer == NULL) {
        return NULL;
    }
    stack = PyMem_Calloc(1, sizeof(struct stack));
    if (stack == NULL) {
        Py_DECREF(answer);
        PyErr_NoMemory();
        return NULL;
    }
    int result = read_stack(encoder, answer, stack);
    Py_DECREF(answer);
    if (result < 0 || table_put(&encoder->stacks, key, stack) < 0) {
        stack_free(stack);
        return NULL;
    }
    return stack;
}

/* Find what a site says of a wait. */
int
code_of(struct encoder *encoder, int64_t key, int64_t *code)
{
    struct site *site = site_of(encoder, key);
    if (site == NULL) {
        return -1;
    }
    if (!site->has_code) {
        PyObject *answer = PyObject_CallMethod(encoder->waits, "code", "L", (long long)key);
        if (answer == NULL) {
            return -1;
        }
        site->code = PyLong_AsLongLong(answer);
        Py_DECREF(answer);
        if (site->code == -1 && PyErr_Occurred()) {
            return -1;
        }
        site->has_code = true;
    }
    *code = site->code;
    return 0;
}

/* Add to `once` which kind of wait something was. */
int
add_kind(struct encoder *encoder, int64_t situation)
{
    struct name *name = table_find(&encoder->kinds, situation);
    if (name == NULL) {
        struct name found = {0};
        if (take_name(PyObject_CallMethod(encoder->waits, "kind", "L", (long long)situation), &found) < 0) {
            return -1;
        }
        name = PyMem_Malloc(sizeof(struct name));
        if (name == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        *name = found;
        if (table_put(&encoder->kinds, situation, name) < 0) {
            PyMem_Free(name);
            return -1;
        }
    }
    return add_name(encoder, name);
}

/* Return the fields that say which code made a task ready, borrowed. */
const struct name *
cause_of(struct encoder *encoder, int64_t kind, int64_t key)
{
    struct site *site = site_of(encoder, key);
    if (site == NULL) {
        return NULL;
    }
    int64_t known = kind < CAUSES ? kind : CAUSE_UNKNOWN;
    struct name *name = &site->causes[known];
    if (!name->size &&
        take_name(PyObject_CallMethod(encoder->waits, "cause", "LL", (long long)known, (long long)key), name) < 0) {
        return NULL;
    }
    return name;
}

/* Find the fields that say which task made another ready. */
int
cause_task(struct encoder *encoder, int64_t waker, int64_t root, struct name *found)
{
    return take_name(PyObject_CallMethod(encoder->waits, "cause_task", "LL", (long long)waker, (long long)root), found);
}

/* See to it that the fields are known that say that a thread made a task ready. */
int
cause_thread(struct encoder *encoder, struct thread *thread)
{
    if (thread->cause.size) {
        return 0;
    }
    return take_name(PyObject_CallMethod(encoder->waits, "cause_thread", "L", (long long)thread->id), &thread->cause);
}
