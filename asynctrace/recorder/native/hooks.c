/* Telling the hooks of decorated functions what happens, as asynctrace.recorder.reference.TracedHooks defines them.
 *
 * Nearly always there are none: then each of these is one comparison. They can be taken out at any time, also while one runs.
 */

#include "hooks.h"

static PyObject *started_name, *task_started_name, *suspended_name, *resumed_name, *finished_name, *step_started_name,
    *step_ended_name;

static int
learn_names(void)
{
    struct {
        PyObject **name;
        const char *text;
    } all[] = {
        {&started_name, "started"},     {&task_started_name, "task_started"}, {&suspended_name, "suspended"},
        {&resumed_name, "resumed"},     {&finished_name, "finished"},         {&step_started_name, "step_started"},
        {&step_ended_name, "step_ended"},
    };
    for (size_t index = 0; index < sizeof(all) / sizeof(all[0]); index++) {
        if (*all[index].name == NULL && (*all[index].name = PyUnicode_InternFromString(all[index].text)) == NULL) {
            return -1;
        }
    }
    return 0;
}

void
drop_hooks(Core *core)
{
    Py_CLEAR(core->hooks);
    Py_CLEAR(core->open);
    Py_CLEAR(core->driven);
    Py_CLEAR(core->steps);
    core->hooks_want_tasks = false;
}

int
set_hooks(Core *core, PyObject *hooks)
{
    if (hooks == NULL || hooks == Py_None) {
        drop_hooks(core);
        return 0;
    }
    PyObject *open = PyObject_GetAttrString(hooks, "open");
    PyObject *driven = open != NULL ? PyObject_GetAttrString(hooks, "driven") : NULL;
    PyObject *steps = driven != NULL ? PyObject_GetAttrString(hooks, "steps") : NULL;
    PyObject *tasks = steps != NULL ? PyObject_GetAttrString(hooks, "wants_tasks") : NULL;
    int wants_tasks = tasks != NULL ? PyObject_IsTrue(tasks) : -1;
    Py_XDECREF(tasks);
    if (wants_tasks >= 0 && !(PyDict_Check(open) && PyDict_Check(driven) && PyDict_Check(steps))) {
        PyErr_SetString(PyExc_TypeError, "what hooks have open is in dicts");
        wants_tasks = -1;
    }
    if (wants_tasks < 0 || learn_names() < 0) {
        Py_XDECREF(open);
        Py_XDECREF(driven);
        Py_XDECREF(steps);
        return -1;
    }
    drop_hooks(core);
    core->open = open;
    core->driven = driven;
    core->steps = steps;
    core->hooks_want_tasks = wants_tasks;
    core->hooks = Py_NewRef(hooks); /* last: whoever finds it finds the others */
    return 0;
}

/* Call a method of the hooks with an id, and what else there is; steals the references of that. */
static int
tell(Core *core, PyObject *method, int64_t id, PyObject *second, PyObject *third, PyObject *fourth)
{
    PyObject *hooks = Py_NewRef(core->hooks);
    PyObject *number = fault() ? NULL : PyLong_FromLongLong(id);
    PyObject *result = NULL;
    if (number != NULL) {
        PyObject *args[] = {hooks, number, second, third, fourth};
        size_t count = second == NULL ? 2 : third == NULL ? 3 : fourth == NULL ? 4 : 5;
        result = PyObject_VectorcallMethod(method, args, count, NULL);
    }
    Py_XDECREF(result);
    Py_XDECREF(number);
    Py_XDECREF(second);
    Py_XDECREF(third);
    Py_XDECREF(fourth);
    Py_DECREF(hooks);
    return result == NULL ? -1 : 0;
}

/* Whether an id is in a dict of the hooks. */
static int
has(PyObject *ids, int64_t id)
{
    if (PyDict_GET_SIZE(ids) == 0) {
        return 0;
    }
    PyObject *number = fault() ? NULL : PyLong_FromLongLong(id);
    int found = number != NULL ? PyDict_Contains(ids, number) : -1;
    Py_XDECREF(number);
    return found;
}

int
tell_started(Core *core, int64_t id, PyObject *code, int64_t awaiter, PyObject *traced_codes)
{
    if (core->hooks == NULL) {
        return 0;
    }
    if (traced_codes != NULL) {
        PyObject *address = fault() ? NULL : PyLong_FromVoidPtr(code);
        int is_traced = address != NULL ? PyDict_Contains(traced_codes, address) : -1;
        Py_XDECREF(address);
        if (is_traced <= 0) {
            return is_traced;
        }
    }
    PyObject *number = PyLong_FromLongLong(awaiter);
    return number == NULL ? -1 : tell(core, started_name, id, Py_NewRef(code), number, Py_NewRef(Py_False));
}

int
tell_driven(Core *core, int64_t id, bool is_resumed)
{
    if (core->hooks == NULL) {
        return 0;
    }
    int found = has(core->driven, id);
    return found <= 0 ? found : tell(core, is_resumed ? resumed_name : suspended_name, id, NULL, NULL, NULL);
}

int
tell_finished(Core *core, int64_t id, int outcome, PyObject *error)
{
    if (core->hooks == NULL) {
        return 0;
    }
    int found = has(core->open, id);
    if (found <= 0) {
        return found;
    }
    PyObject *number = PyLong_FromLong(outcome);
    return number == NULL ? -1
                          : tell(core, finished_name, id, number, Py_NewRef(error != NULL ? error : Py_None), NULL);
}

int
tell_step_started(Core *core, TaskEntry *entry, PyObject *task, bool is_first)
{
    if (core->hooks == NULL) {
        return 0;
    }
    if (is_first && core->hooks_want_tasks) {
        return tell(core, task_started_name, entry->id, Py_NewRef(task), NULL, NULL);
    }
    int found = has(core->steps, entry->id);
    return found <= 0 ? found : tell(core, step_started_name, entry->id, NULL, NULL, NULL);
}

int
tell_step_ended(Core *core, TaskEntry *entry, PyObject *task, int flags)
{
    if (core->hooks == NULL) {
        return 0;
    }
    int outcome = flags & OUTCOME_MASK;
    if (outcome == 0) {
        int found = has(core->steps, entry->id);
        return found <= 0 ? found : tell(core, step_ended_name, entry->id, NULL, NULL, NULL);
    }
    int found = has(core->open, entry->id);
    if (found <= 0) {
        return found;
    }
    /* Not `exception()`, which would silence "exception was never retrieved". */
    PyObject *error = outcome == RAISED && task != NULL ? PyObject_GetAttrString(task, "_exception") : NULL;
    if (error == NULL && PyErr_Occurred()) {
        return -1;
    }
    int result = tell_finished(core, entry->id, outcome, error);
    Py_XDECREF(error);
    return result;
}
