/* Of all events, those that have to do with decorated functions, and what the others add up to: see asynctrace.recorder.sieve. */

#include "sieve.h"

#include "containers.h"
#include "event_reader.h"
#include "faults.h"

enum { NOT_KNOWN = -1, READY, RUNNING, WAITING, KINDS };
enum { FIELDS_OF_EVENT = 7, FIELDS_OF_ENDED = 5 };
static const int64_t LONGEST_TURN_NS = 100000000;

struct life {
    struct event created, step; /* `step` is the beginning of the present step, where `is_in_step` */
    int64_t since_ns, ready_ns, stack, steps;
    int kind;
    bool pending, is_in_step, is_wanted, is_known;
};

struct loop {
    int64_t since_ns, turn_ns, delay_ns;
    bool is_idle;
};

typedef struct {
    PyObject_HEAD
    PyObject *is_traced;
    bool wants_tasks;
    struct table traced;     /* site -> 1: it is, 2: it is not */
    struct table tasks;      /* id -> life */
    struct table coroutines; /* id -> 1: its events are kept */
    struct table loops;      /* id -> loop */
    struct table steps;      /* thread -> numbers: the tasks whose steps are open on it */
    struct numbers delays, ended, kept;
    int64_t counts[KINDS];
    int64_t active_ns, idle_ns;
} Sieve;

static int
keep(Sieve *self, const struct event *event)
{
    if (numbers_reserve(&self->kept, FIELDS_OF_EVENT) < 0) {
        return -1;
    }
    memcpy(self->kept.items + self->kept.count, event, FIELDS_OF_EVENT * sizeof(int64_t));
    self->kept.count += FIELDS_OF_EVENT;
    return 0;
}

static inline struct life *
life_of(const Sieve *self, int64_t task)
{
    return table_find(&self->tasks, task);
}

/* The task whose step is innermost on a thread, 0 where there is none. */
static int64_t
task_on(const Sieve *self, int64_t thread)
{
    const struct numbers *steps = table_find(&self->steps, thread);
    return steps != NULL && steps->count > 0 ? steps->items[steps->count - 1] : 0;
}

static void
leave_state(Sieve *self, struct life *life, int64_t time_ns)
{
    if (life->kind != NOT_KNOWN) {
        self->counts[life->kind]--;
        if (life->kind == READY) {
            life->ready_ns += time_ns - life->since_ns;
        }
    }
}

static void
set_state(Sieve *self, struct life *life, int kind, int64_t time_ns)
{
    leave_state(self, life, time_ns);
    self->counts[kind]++;
    life->kind = kind;
    life->since_ns = time_ns;
}

/* Loops. */

static void
count_time(Sieve *self, struct loop *loop, int64_t time_ns)
{
    int64_t passed_ns = time_ns > loop->since_ns ? time_ns - loop->since_ns : 0;
    loop->since_ns += passed_ns;
    *(loop->is_idle ? &self->idle_ns : &self->active_ns) += passed_ns;
}

static int
end_turn(Sieve *self, struct loop *loop, int64_t time_ns)
{
    count_time(self, loop, time_ns);
    int result = loop->delay_ns >= 0 ? numbers_add(&self->delays, loop->delay_ns) : 0;
    loop->delay_ns = -1;
    loop->turn_ns = time_ns;
    return result;
}

static struct loop *
loop_of_id(Sieve *self, int64_t id, int64_t time_ns)
{
    struct loop *loop = table_find(&self->loops, id);
    if (loop == NULL && (loop = PyMem_Malloc(sizeof(struct loop))) != NULL) {
        *loop = (struct loop){time_ns, time_ns, -1, false};
        if (table_put(&self->loops, id, loop) < 0) {
            PyMem_Free(loop);
            return NULL;
        }
    }
    else if (loop == NULL) {
        PyErr_NoMemory();
    }
    return loop;
}

static int
take_loop(Sieve *self, const struct event *event)
{
    struct loop *loop = loop_of_id(self, event->subject, event->time_ns);
    if (loop == NULL) {
        return -1;
    }
    if (event->kind == LOOP_IDLE_FINISHED) {
        count_time(self, loop, event->time_ns);
        loop->is_idle = false;
        loop->turn_ns = event->time_ns;
    }
    else {
        if (end_turn(self, loop, event->time_ns) < 0) {
            return -1;
        }
        loop->is_idle = event->kind == LOOP_IDLE_STARTED;
    }
    if (event->kind == LOOP_GONE) {
        table_take(&self->loops, event->subject);
        PyMem_Free(loop);
    }
    return 0;
}

/* Tasks. Where a function returns whether an event is kept: 1, 0, or -1 and an error. */

static int
create(Sieve *self, const struct event *event)
{
    if (life_of(self, event->subject) != NULL) {
        return 0; /* as in no program */
    }
    struct life *life = PyMem_Calloc(1, sizeof(struct life));
    if (life == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    life->created = *event;
    life->since_ns = event->time_ns;
    life->kind = event->flags & SEEN_LATE ? NOT_KNOWN : READY;
    life->is_wanted = life->is_known = self->wants_tasks;
    if (table_put(&self->tasks, event->subject, life) < 0) {
        PyMem_Free(life);
        return -1;
    }
    if (life->kind == READY) {
        self->counts[READY]++;
    }
    return life->is_wanted;
}

/* Keep all events of a task from now on, in one of its steps; say that it is there, and that the step has begun. */
static int
want(Sieve *self, int64_t task)
{
    struct life *life = life_of(self, task);
    if (life == NULL || life->is_wanted) {
        return 0;
    }
    if (!life->is_known) {
        struct event created = life->created;
        if (life->is_in_step && life->steps > 1) {
            created.time_ns = life->step.time_ns;
            created.thread = life->step.thread;
            created.flags |= SEEN_LATE;
        }
        if (keep(self, &created) < 0) {
            return -1;
        }
    }
    life->is_wanted = life->is_known = true;
    return life->is_in_step ? keep(self, &life->step) : 0;
}

static int
is_traced(Sieve *self, int64_t site)
{
    uint64_t known = table_get(&self->traced, site);
    if (known == 0) {
        PyObject *number = fault() ? NULL : PyLong_FromLongLong(site);
        PyObject *answer = number != NULL ? PyObject_CallOneArg(self->is_traced, number) : NULL;
        int is_true = answer != NULL ? PyObject_IsTrue(answer) : -1;
        Py_XDECREF(number);
        Py_XDECREF(answer);
        if (is_true < 0) {
            return -1;
        }
        known = is_true ? 1 : 2;
        if (table_set(&self->traced, site, known) < 0) {
            return -1;
        }
    }
    return known == 1;
}

static int
start_coroutine(Sieve *self, const struct event *event)
{
    int traced = is_traced(self, event->site);
    int64_t task = task_on(self, event->thread);
    if (traced < 0 || (traced && task != 0 && want(self, task) < 0)) {
        return -1;
    }
    const struct life *life = task != 0 ? life_of(self, task) : NULL;
    if (!traced && life != NULL && !life->is_wanted) {
        return 0;
    }
    return table_set(&self->coroutines, event->subject, 1) < 0 ? -1 : 1;
}

static int
begin_step(Sieve *self, const struct event *event, struct life *life)
{
    struct loop *loop = loop_of_id(self, event->other, event->time_ns);
    struct numbers *steps = loop != NULL ? table_find(&self->steps, event->thread) : NULL;
    if (loop != NULL && steps == NULL && (steps = PyMem_Calloc(1, sizeof(struct numbers))) != NULL &&
        table_put(&self->steps, event->thread, steps) < 0) {
        PyMem_Free(steps);
        return -1;
    }
    if (steps == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        return -1;
    }
    if (life->kind == READY && event->time_ns - life->since_ns > loop->delay_ns) {
        loop->delay_ns = event->time_ns - life->since_ns;
    }
    set_state(self, life, RUNNING, event->time_ns);
    life->pending = false;
    life->step = *event;
    life->is_in_step = true;
    life->steps++;
    return numbers_add(steps, event->subject) < 0 ? -1 : life->is_wanted;
}

/* The task has come to its end: it goes. Return whether the event is kept. */
static int
end_task(Sieve *self, const struct event *event, struct life *life, int64_t outcome)
{
    leave_state(self, life, event->time_ns);
    if (!(life->created.flags & SEEN_LATE)) {
        int64_t ended[FIELDS_OF_ENDED] = {life->created.site, life->stack, outcome,
                                          event->time_ns - life->created.time_ns, life->ready_ns};
        if (numbers_reserve(&self->ended, FIELDS_OF_ENDED) < 0) {
            return -1;
        }
        memcpy(self->ended.items + self->ended.count, ended, sizeof(ended));
        self->ended.count += FIELDS_OF_ENDED;
    }
    int is_kept = life->is_known;
    table_take(&self->tasks, event->subject);
    PyMem_Free(life);
    return is_kept;
}

static int
end_step(Sieve *self, const struct event *event, struct life *life)
{
    struct numbers *steps = table_find(&self->steps, event->thread);
    for (size_t index = 0; steps != NULL && index < steps->count; index++) {
        if (steps->items[index] == event->subject) {
            steps->count = index;
        }
    }
    if (life->is_in_step) {
        struct loop *loop = loop_of_id(self, life->step.other, event->time_ns);
        if (loop == NULL ||
            (event->time_ns - loop->turn_ns > LONGEST_TURN_NS && end_turn(self, loop, event->time_ns) < 0)) {
            return -1;
        }
    }
    life->is_in_step = false;
    int64_t outcome = event->flags & OUTCOME_MASK;
    if (outcome != 0) {
        return end_task(self, event, life, outcome);
    }
    set_state(self, life, event->flags & YIELDED || life->pending ? READY : WAITING, event->time_ns);
    life->pending = false;
    if (life->is_wanted && event->other != 0) {
        struct life *other = life_of(self, event->other);
        if (other != NULL && !other->is_known) {
            other->is_known = true;
            if (keep(self, &other->created) < 0) {
                return -1;
            }
        }
    }
    return life->is_wanted;
}

static int
take_of_task(Sieve *self, const struct event *event)
{
    struct life *life = life_of(self, event->subject);
    if (life == NULL) {
        return event->kind != TASK_READY && event->kind != STEP_STARTED && event->kind != STEP_FINISHED &&
               event->kind != AWAIT_STACK && event->kind != TASK_COLLECTED;
    }
    switch (event->kind) {
    case TASK_READY:
        if (life->kind == RUNNING) {
            life->pending = true;
        }
        else if (life->kind != READY) {
            set_state(self, life, READY, event->time_ns);
        }
        return life->is_wanted;
    case STEP_STARTED:
        return begin_step(self, event, life);
    case AWAIT_STACK:
        if (life->stack == 0) {
            life->stack = event->site;
        }
        return life->is_wanted;
    case STEP_FINISHED:
        return end_step(self, event, life);
    case TASK_COLLECTED:
        return end_task(self, event, life, CLOSED);
    default:
        return life->is_wanted;
    }
}

static int
sift_event(Sieve *self, const struct event *event)
{
    switch (event->kind) {
    case COROUTINE_STARTED:
        return start_coroutine(self, event);
    case COROUTINE_SUSPENDED:
    case COROUTINE_RESUMED:
        return table_get(&self->coroutines, event->subject) != 0;
    case COROUTINE_FINISHED:
        return table_take(&self->coroutines, event->subject) != 0;
    case TASK_CREATED:
        return create(self, event);
    case LOOP_IDLE_STARTED:
    case LOOP_IDLE_FINISHED:
    case LOOP_GONE:
        return take_loop(self, event);
    case CALLBACK_RAN:
    case MARK:
        return 0;
    case CALL_STARTED: {
        int64_t task = task_on(self, event->thread);
        return task != 0 && want(self, task) < 0 ? -1 : 1;
    }
    default:
        return take_of_task(self, event);
    }
}

static int
take_event(void *target, const struct event *event)
{
    int is_kept = sift_event(target, event);
    return is_kept <= 0 ? is_kept : keep(target, event);
}

/* What Python sees. */

static PyObject *
array_of(const int64_t *items, size_t count) /* new reference: array("q") */
{
    PyObject *module = PyImport_ImportModule("array");
    PyObject *bytes = module != NULL ? PyBytes_FromStringAndSize((const char *)items, (Py_ssize_t)(count * sizeof(int64_t)))
                                     : NULL;
    PyObject *result = bytes != NULL ? PyObject_CallMethod(module, "array", "sO", "q", bytes) : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(module);
    return result;
}

static PyObject *
sift(Sieve *self, PyObject *events)
{
    self->kept.count = 0;
    if (each_event(events, PyExc_OverflowError, take_event, self) < 0) {
        return NULL;
    }
    PyObject *result = array_of(self->kept.items, self->kept.count);
    self->kept.count = 0;
    table_fit(&self->tasks);
    table_fit(&self->coroutines);
    return result;
}

/* Return a list of what is taken out of numbers: single ones, or tuples of so many. */
static PyObject *
take_list(struct numbers *numbers, size_t width)
{
    size_t count = numbers->count / width;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t index = 0; list != NULL && index < count; index++) {
        const int64_t *item = numbers->items + index * width;
        PyObject *made = width == 1 ? PyLong_FromLongLong(item[0])
                                    : Py_BuildValue("(LLLLL)", (long long)item[0], (long long)item[1],
                                                    (long long)item[2], (long long)item[3], (long long)item[4]);
        if (made == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)index, made);
    }
    if (list != NULL) {
        PyMem_Free(numbers->items); /* of a burst there may have been many */
        *numbers = (struct numbers){NULL, 0, 0};
    }
    return list;
}

static PyObject *
take_delays(Sieve *self, PyObject *Py_UNUSED(ignored))
{
    return take_list(&self->delays, 1);
}

static PyObject *
take_ended(Sieve *self, PyObject *Py_UNUSED(ignored))
{
    return take_list(&self->ended, FIELDS_OF_ENDED);
}

static PyObject *
counts(Sieve *self, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("(LLL)", (long long)self->counts[READY], (long long)self->counts[RUNNING],
                         (long long)self->counts[WAITING]);
}

static PyObject *
loop_times(Sieve *self, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("(LL)", (long long)self->active_ns, (long long)self->idle_ns);
}

static PyObject *
make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"is_traced", "wants_tasks", NULL};
    PyObject *traced;
    int wants_tasks;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Op", names, &traced, &wants_tasks)) {
        return NULL;
    }
    Sieve *self = (Sieve *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->is_traced = Py_NewRef(traced);
        self->wants_tasks = wants_tasks;
    }
    return (PyObject *)self;
}

static void
free_values(struct table *table)
{
    for (size_t index = 0; index < table->capacity; index++) {
        PyMem_Free((void *)(uintptr_t)table->entries[index].value);
    }
    table_free(table);
}

static int
traverse(Sieve *self, visitproc visit, void *arg)
{
    Py_VISIT(self->is_traced);
    return 0;
}

static int
clear(Sieve *self)
{
    Py_CLEAR(self->is_traced);
    return 0;
}

static void
dealloc(Sieve *self)
{
    PyObject_GC_UnTrack(self);
    clear(self);
    for (size_t index = 0; index < self->steps.capacity; index++) {
        struct numbers *steps = (struct numbers *)(uintptr_t)self->steps.entries[index].value;
        if (steps != NULL) {
            PyMem_Free(steps->items);
        }
    }
    free_values(&self->steps);
    free_values(&self->tasks);
    free_values(&self->loops);
    table_free(&self->traced);
    table_free(&self->coroutines);
    PyMem_Free(self->delays.items);
    PyMem_Free(self->ended.items);
    PyMem_Free(self->kept.items);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"sift", (PyCFunction)sift, METH_O, "sift(events): those that have to do with decorated functions"},
    {"take_delays", (PyCFunction)take_delays, METH_NOARGS, "take_delays(): of each turn of a loop that has ended"},
    {"take_ended", (PyCFunction)take_ended, METH_NOARGS, "take_ended(): the tasks that have ended"},
    {"counts", (PyCFunction)counts, METH_NOARGS, "counts(): of tasks that are ready, running, waiting"},
    {"loop_times", (PyCFunction)loop_times, METH_NOARGS, "loop_times(): active and idle, in nanoseconds"},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Sieve_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.Sieve",
    .tp_doc = "Keeps the events that have to do with decorated functions; see asynctrace.recorder.sieve.Sieve.",
    .tp_basicsize = sizeof(Sieve),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_methods = methods,
};
