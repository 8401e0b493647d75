/* What the tables of the part say, asked of its Names and ProcessTracks once each, and kept. */

#include "encoder.h"

/* Return what a method gave, checked to be bytes, and give up the reference to `given`; NULL on an error. */
PyObject *
checked_bytes(PyObject *given)
{
    if (given != NULL && !PyBytes_Check(given)) {
        PyErr_Format(PyExc_TypeError, "bytes are needed, not %.100s", Py_TYPE(given)->tp_name);
        Py_CLEAR(given);
    }
    return given;
}

/* Copy the bytes of a name, and give up the reference to them; NULL is an error that there was. */
int
take_name(PyObject *given, struct name *name)
{
    PyObject *bytes = checked_bytes(given);
    if (bytes == NULL) {
        return -1;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    int result = size > 0 && size <= NAME_BYTES ? 0 : -1;
    if (result == 0) {
        name->size = (uint8_t)size;
        memcpy(name->bytes, PyBytes_AS_STRING(bytes), (size_t)size);
    }
    else {
        PyErr_Format(PyExc_ValueError, "a name of %zd bytes", size);
    }
    Py_DECREF(bytes);
    return result;
}

static void
site_free(struct site *site)
{
    Py_XDECREF(site->label);
    for (int index = 0; index < OUTCOMES; index++) {
        Py_XDECREF(site->outcomes[index]);
    }
    for (size_t index = 0; index < site->waits.capacity; index++) {
        PyMem_Free((void *)(uintptr_t)site->waits.entries[index].value);
    }
    table_free(&site->waits);
    Py_XDECREF(site->attributes);
    PyMem_Free(site);
}

void
stack_free(struct stack *stack)
{
    Py_XDECREF(stack->label);
    PyMem_Free(stack);
}

/* Return a site, of which nothing need be known yet, borrowed. */
struct site *
site_of(struct encoder *encoder, int64_t key)
{
    struct site *site = table_find(&encoder->sites, key);
    if (site != NULL) {
        return site;
    }
    site = PyMem_Calloc(1, sizeof(struct site));
    if (site == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (table_put(&encoder->sites, key, site) < 0) {
        PyMem_Free(site);
        return NULL;
    }
    return site;
}

/* Return a site of which it is known how it labels a task and whose code it is, borrowed. */
struct site *
labelled(struct encoder *encoder, int64_t key)
{
    struct site *site = site_of(encoder, key);
    if (site == NULL || site->label != NULL) {
        return site;
    }
    PyObject *name = NULL, *is_user = NULL, *label = NULL;
    PyObject *answer = PyObject_CallMethod(encoder->names, "labelled", "L", (long long)key);
    if (answer != NULL) {
        name = PyObject_GetAttrString(answer, "name");
        is_user = PyObject_GetAttrString(answer, "is_user");
        Py_DECREF(answer);
    }
    if (name != NULL && is_user != NULL) {
        label = checked_bytes(PyObject_CallOneArg(encoder->visible_text, name));
    }
    int is_true = label != NULL ? PyObject_IsTrue(is_user) : -1;
    int has_name = is_true >= 0 ? PyObject_IsTrue(name) : -1;
    Py_XDECREF(name);
    Py_XDECREF(is_user);
    if (has_name < 0) {
        Py_XDECREF(label);
        return NULL;
    }
    site->label = label;
    site->is_user = is_true > 0;
    site->is_nameless = has_name == 0;
    return site;
}

/* Return the name for a text that is always the same, asked with the method `text`. */
const struct name *
fixed_name(struct encoder *encoder, struct name *name, const char *text)
{
    if (!name->size && take_name(PyObject_CallMethod(encoder->names, "text", "s", text), name) < 0) {
        return NULL;
    }
    return name;
}

/* Return one of the names of a site. */
const struct name *
site_name(struct encoder *encoder, int64_t key, enum site_name which)
{
    static const char *const methods[SITE_NAMES] = {"site", "plain", "submit"};
    struct site *site = site_of(encoder, key);
    if (site == NULL) {
        return NULL;
    }
    struct name *name = &site->names[which];
    if (name->size) {
        return name;
    }
    PyObject *answer = PyObject_CallMethod(encoder->names, methods[which], "L", (long long)key);
    return take_name(answer, name) < 0 ? NULL : name;
}

/* Find the name of a new task's steps. */
int
step_name(struct encoder *encoder, int64_t task, int64_t root, struct name *found)
{
    return take_name(PyObject_CallMethod(encoder->names, "step", "LL", (long long)task, (long long)root), found);
}

/* Return what a task's own row is called, as the bytes of its text; NULL on an error. */
PyObject *
task_label(struct encoder *encoder, int64_t task, int64_t root)
{
    PyObject *name = PyObject_CallMethod(encoder->names, "task", "LL", (long long)task, (long long)root);
    PyObject *label = name != NULL ? checked_bytes(PyObject_CallOneArg(encoder->visible_text, name)) : NULL;
    Py_XDECREF(name);
    return label;
}

int
lost_name(struct encoder *encoder, int64_t count, struct name *found)
{
    return take_name(PyObject_CallMethod(encoder->names, "lost", "L", (long long)count), found);
}

/* Find the bytes that say how something ended, borrowed: NULL when it simply returned. */
int
outcome_of(struct encoder *encoder, int64_t flags, int64_t error, PyObject **found)
{
    int outcome = (int)(flags & OUTCOME_MASK);
    *found = NULL;
    if (outcome < RAISED || outcome > CLOSED) {
        return 0;
    }
    PyObject **kept = encoder->outcomes;
    if (error) {
        struct site *site = site_of(encoder, error);
        if (site == NULL) {
            return -1;
        }
        kept = site->outcomes;
    }
    kept += outcome - RAISED;
    if (*kept == NULL) {
        *kept = checked_bytes(PyObject_CallMethod(encoder->names, "outcome", "iL", outcome, (long long)error));
        if (*kept == NULL) {
            return -1;
        }
    }
    *found = *kept;
    return 0;
}

/* Add to `once` bytes that may be NULL. */
int
add_bytes(struct encoder *encoder, PyObject *bytes)
{
    if (bytes == NULL) {
        return 0;
    }
    return buffer_add(&encoder->once, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* Add to `once` how something ended; nothing when it simply returned. */
int
add_outcome(struct encoder *encoder, int64_t flags, int64_t error)
{
    PyObject *outcome;
    return outcome_of(encoder, flags, error, &outcome) < 0 ? -1 : add_bytes(encoder, outcome);
}

/* Add to `once` the attributes that the decorator gave a piece of code. */
int
add_attributes(struct encoder *encoder, int64_t key)
{
    struct site *site = site_of(encoder, key);
    if (site == NULL) {
        return -1;
    }
    if (site->attributes == NULL) {
        site->attributes = checked_bytes(PyObject_CallMethod(encoder->names, "attributes", "L", (long long)key));
        if (site->attributes == NULL) {
            return -1;
        }
    }
    return add_bytes(encoder, site->attributes);
}

/* Describe the counter of a loop's lag in the file; find its number. */
int
lag_uuid(struct encoder *encoder, int64_t thread, uint64_t *uuid)
{
    PyObject *number = PyObject_CallMethod(encoder->tracks, "lag", "L", (long long)thread);
    if (number == NULL) {
        return -1;
    }
    *uuid = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    return *uuid == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

/* Describe the track of a thread in the file; find its number. */
int
thread_uuid(struct encoder *encoder, int64_t id, uint64_t *uuid)
{
    PyObject *number = NULL, *track = PyObject_CallMethod(encoder->tracks, "thread", "L", (long long)id);
    if (track != NULL) {
        number = PyObject_GetAttrString(track, "uuid");
        Py_DECREF(track);
    }
    if (number == NULL) {
        return -1;
    }
    *uuid = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    return *uuid == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

void
forget_site(struct encoder *encoder, int64_t key)
{
    struct site *site = (void *)(uintptr_t)table_take(&encoder->sites, key);
    if (site != NULL) {
        site_free(site);
    }
}

void
forget_all(struct encoder *encoder)
{
    for (size_t index = 0; index < encoder->sites.capacity; index++) {
        struct site *site = (void *)(uintptr_t)encoder->sites.entries[index].value;
        if (site != NULL) {
            site_free(site);
        }
    }
    table_free(&encoder->sites);
    for (size_t index = 0; index < encoder->stacks.capacity; index++) {
        struct stack *stack = (void *)(uintptr_t)encoder->stacks.entries[index].value;
        if (stack != NULL) {
            stack_free(stack);
        }
    }
    table_free(&encoder->stacks);
    for (size_t index = 0; index < encoder->kinds.capacity; index++) {
        PyMem_Free((void *)(uintptr_t)encoder->kinds.entries[index].value);
    }
    table_free(&encoder->kinds);
    for (int index = 0; index < OUTCOMES; index++) {
        Py_CLEAR(encoder->outcomes[index]);
    }
}
