/* What the files of the native core share: its types, and what each file offers to the others.
 *
 * The Python code of `asynctrace.recorder` and `asynctrace.probes` defines what happens. The core does the same where it
 * happens often, and calls the Python code for the rest: a task's unusual root, a loop that is met, a failure.
 *
 * "New reference" and "borrowed" are said at each function that returns an object. All of this runs under the GIL.
 */

#ifndef ASYNCTRACE_NATIVE_H
#define ASYNCTRACE_NATIVE_H

#include "interpreter.h"

#include <stdbool.h>
#include <stdint.h>

#include "faults.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden) /* the files call each other without a detour */
#endif

/* Kinds and flags of events, as in asynctrace/events.py; a test compares them. */
enum {
    TASK_CREATED = 1,
    TASK_READY = 2,
    STEP_STARTED = 3,
    STEP_FINISHED = 4,
    AWAIT_STACK = 5,
    COROUTINE_STARTED = 7,
    COROUTINE_SUSPENDED = 8,
    COROUTINE_RESUMED = 9,
    COROUTINE_FINISHED = 10,
    LOOP_IDLE_STARTED = 18,
    LOOP_IDLE_FINISHED = 19,
    CALLBACK_RAN = 20,
};
enum { SUSPENDED = 0, RETURNED = 1, RAISED = 2, CANCELLED = 3, CLOSED = 4, OUTCOME_MASK = 7 };
enum { THROWN = 8, EAGER = 16, YIELDED = 64 };
enum { CAUSE_UNKNOWN = 0, CAUSE_TASK = 1, CAUSE_TIMER = 2, CAUSE_IO = 3, CAUSE_THREAD = 4 };

/* clock.c: CLOCK_MONOTONIC in nanoseconds, as time.monotonic_ns(). */
int64_t now_ns(void);

/* addresses.c: a map from addresses to numbers, or to pointers of whoever owns it. */
typedef struct {
    uintptr_t key; /* 0: free, 1: was used */
    int64_t value;
} Slot;

typedef struct {
    Slot *slots;
    size_t mask; /* number of slots - 1; there are none while `slots` is NULL */
    size_t used; /* slots that are not free */
    size_t count;
} Map;

static inline size_t
slot_of(uintptr_t key, size_t mask)
{
    /* Objects are aligned to 16 bytes; the multiplication spreads what is left over all bits. */
    return (size_t)(((uint64_t)key >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
}

/* Return the slot of a key (that is no mark), or NULL. */
static inline Slot *
map_find(const Map *map, uintptr_t key)
{
    if (map->slots != NULL) {
        for (size_t index = slot_of(key, map->mask); map->slots[index].key != 0; index = (index + 1) & map->mask) {
            if (map->slots[index].key == key) {
                return &map->slots[index];
            }
        }
    }
    return NULL;
}

static inline int64_t
map_get(const Map *map, const void *key, int64_t missing)
{
    Slot *slot = map_find(map, (uintptr_t)key);
    return slot == NULL ? missing : slot->value;
}

int map_set(Map *map, const void *key, int64_t value); /* -1 and MemoryError */
bool map_pop(Map *map, const void *key, int64_t *value);
void map_clear(Map *map);

/* A dict of Python's, for its slow roads, over a map that C works on: address -> id, or address -> object. */
typedef struct {
    PyObject_HEAD
    Map map;
    bool holds_objects; /* the values are references that the map owns */
} Addresses;
extern PyTypeObject Addresses_Type;
Addresses *addresses_new(bool holds_objects); /* new reference */

enum { FIELDS = 7 };

typedef struct Block Block; /* events.h */

/* A cause: why something was queued; as the tuple `Cause` of asynctrace.recorder.reference. */
typedef struct {
    int64_t kind;
    int64_t id;
    int64_t site;
    int64_t due_ns;
} Cause;

PyObject *cause_as_tuple(const Cause *cause); /* new reference */
int cause_from_tuple(PyObject *tuple, Cause *cause);

/* core.c: the native half of a Recorder. */
typedef struct {
    PyObject_HEAD
    PyObject *local;  /* asynctrace.recorder.reference._Local */
    PyObject *attend; /* called when `attend_ns` is past */
    PyObject *codes;  /* the dict of Tables: address -> (site, code) */
    PyObject *text;   /* Tables.text */
    PyObject *site;   /* Tables.site */
    PyObject *names;  /* task -> its name, or the number that asyncio has named it by */
    Block *first, *last;
    size_t count; /* events in the blocks */
    int64_t first_id; /* ids are above this: of the process */
    int64_t last_id;
    uint64_t serial; /* no two recorders of a process have the same */
    Map sites;       /* code -> site, a cache of `codes` */
    uint64_t forgotten; /* how often what was looked up was to be forgotten */
    bool is_open;       /* until the recording stops */
    int64_t attend_ns;
    PyObject *hooks;    /* TracedHooks, or NULL; the others are theirs, see hooks.c */
    PyObject *open, *driven, *steps;
    bool hooks_want_tasks;
} Core;
extern PyTypeObject Core_Type;

static inline int64_t
new_id(Core *core)
{
    return ++core->last_id;
}

int64_t site_of_code(Core *core, PyObject *code);          /* -1 and an error */
int64_t site_of_text(Core *core, PyObject *text);          /* steals the reference; -1 and an error */
int64_t site_of_known_code(Core *core, PyObject *code);    /* 0 if it has none yet; -1 and an error */
int call_attend(Core *core, int64_t time_ns);

/* threads.c: what one thread is doing. */
typedef struct TaskEntry TaskEntry;

typedef struct LoopState LoopState;

typedef struct {
    PyObject_HEAD
    PyObject *weak_references;
    int64_t id;
    LoopState *probe; /* borrowed: of the run in progress, which holds it; NULL outside of any */
    bool has_cause;
    Cause cause;
    int64_t task;
    int64_t call;
    int64_t coroutine;
    int64_t depth;
    void *root; /* of the task whose run is in progress: the address of its coroutine, only to be compared */
    int64_t root_task;
    int64_t begun_ns;     /* when that run began, 0 once anything came after it */
    int64_t suspended_ns; /* when that root was suspended, 0 else, and once anything but a wake came after it */
} ThreadState;
extern PyTypeObject ThreadState_Type;

ThreadState *current_state(Core *core); /* new reference */
ThreadState *state_of(Core *core, PyThreadState *thread); /* the same, of the current thread */
int replace_state(Core *core, PyObject *state);
void forget_state(void); /* ask for each thread's state again */
void forget_times(void); /* of the thread whose state was asked for last: something else happened on it */

/* tasks.c: the identity of tasks. */
struct TaskEntry {
    PyObject_HEAD
    PyObject *ref;         /* a weak reference to the task, whose callback is this entry; NULL once the task has ended */
    PyObject *table;       /* the TaskTable */
    PyObject *task_type;
    PyObject *future_type;
    PyObject *name;        /* as it was read last */
    void *address;
    void *root;            /* the address of the task's coroutine, only to be compared; NULL: not known */
    int64_t id;
    int64_t stepped_ns;
    bool has_name;
    bool has_stack;
    bool yielded;
    bool has_ended; /* it is in no table any more */
    bool is_c_task;
};
extern PyTypeObject TaskEntry_Type;

/* What the core knows of asyncio's types; filled once, by learn(). */
typedef struct {
    PyTypeObject *c_task, *c_future, *py_task, *py_future, *gathering_future;
    PyObject *get_name, *get_coro; /* methods of the C types */
    PyObject *pending, *cancelled; /* what their _state is, interned */
    PyGetSetDef *fut_waiter, *must_cancel, *exception, *state; /* their attributes; NULL: not such as we know */
    PyObject *cancelled_error;
    PyObject *running_loop, *current_task; /* functions of C's; NULL: they are not */
    PyObject *step_function, *wakeup_function; /* of the Python Task */
    PyTypeObject *step_wrapper; /* TaskStepMethWrapper, once one was seen */
    PyGetSetDef *stepped;       /* its __self__ */
    PyMethodDef *wakeup;        /* of task_wakeup, once one was seen */
} Asyncio;
extern Asyncio asyncio;
int learn_asyncio(void);
PyGetSetDef *getter_of(PyTypeObject *type, const char *name); /* NULL: it has none such, no error is set */
PyObject *code_of(PyObject *coroutine);                       /* new reference; of a generator, too */

/* What one recording of a loop works with. What a hook calls can stop the recording, on this thread or while another one
 * has the GIL: so it takes a copy (hold) and keeps it to its end (let_go). */
typedef struct {
    Core *core;         /* owned; NULL: nothing is recorded */
    PyObject *table;    /* owned: the TaskTable, or NULL */
    Addresses *entries; /* borrowed from that table, as are the others; NULL with it */
    PyObject *job_futures, *late_names, *ends, *expected; /* dicts and lists */
} Books;

bool is_step(PyObject *callback, PyObject **task); /* new reference to the task that this callback steps */
TaskEntry *meet_task(const Books *books, PyObject *task, int64_t time_ns, ThreadState *state); /* new reference */
TaskEntry *meet_usual_task(const Books *books, PyObject *task, int64_t time_ns, ThreadState *state); /* the same */
int read_name(Core *core, TaskEntry *entry, PyObject *task);
int read_late_names(const Books *books);
void drop_ended(const Books *books, TaskEntry *entry);
int has_to_cancel(TaskEntry *entry, PyObject *task); /* -1 and an error */
int name_awaited(const Books *books, PyObject *future, int64_t *awaited, int64_t *site);
int begins_with_a_cancel(TaskEntry *entry, PyObject *task, PyObject *const *args, size_t count); /* -1 and an error */
int end_of_step(const Books *books, TaskEntry *entry, PyObject *task, int64_t *awaited, int64_t *site, int *flags);

/* loops.c: the native half of a LoopProbe. */
struct LoopState {
    PyObject_HEAD
    PyObject *recorder; /* or NULL: nothing is recorded */
    Books books;        /* the core is that recorder's */
    PyObject *guard;
    PyObject *loop_ref;
    PyObject *note_stack; /* or None */
    PyObject *open_step;  /* or None */
    PyObject *meet;       /* or None */
    int64_t loop_id;
    int64_t idle_until_ns; /* the end of the loop's last idle time */
    PyObject *machine_clock; /* the function whose result is the machine's time, where the loop's class has it; or None */
};
extern PyTypeObject LoopState_Type;

PyObject *referent(PyObject *weak_reference); /* new reference, or NULL: it is gone; no error is set */
PyObject *loop_of(LoopState *probe); /* new reference, or NULL: it is gone; no error is set */

static inline Books
hold(const LoopState *probe)
{
    Py_XINCREF((PyObject *)probe->books.core);
    Py_XINCREF(probe->books.table);
    return probe->books;
}

static inline void
let_go(const Books *books)
{
    Py_XDECREF((PyObject *)books->core);
    Py_XDECREF(books->table);
}

/* Whether the recording that these are of goes on. */
static inline bool
is_recording(const LoopState *probe, const Books *books)
{
    return probe->books.core == books->core && books->core != NULL;
}

/* failures.c */
int failed(PyObject *guard);            /* the error that is set is told to the guard; -1: it is the program's, and set again */
int failed_in(LoopState *probe);

/* runs.c */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *callback;
    LoopState *probe;
    TaskEntry *entry; /* of a step; NULL: a plain callback */
    Cause cause;      /* of a plain callback */
} Run;
extern PyTypeObject Run_Type, CallbackRun_Type, StepRun_Type;

PyObject *new_callback_run(LoopState *probe, PyObject *callback, const Cause *cause);
PyObject *new_step_run(LoopState *probe, PyObject *callback, TaskEntry *entry);
bool is_run(PyObject *object);

/* shims.c */
extern PyTypeObject Shim_Type;

/* wakes.c: what completed a future outside of any run. */
int completed_from(Core *core, PyFrameObject *frame, Cause *cause); /* the frame that queued; steals the reference */

/* frames.c */
typedef struct _PyInterpreterFrame Frame;
extern bool frames_are_known;
#if PY_VERSION_HEX >= 0x030C0000
static inline Frame *
frame_of_thread(PyThreadState *thread)
{
#if PY_VERSION_HEX >= 0x030D0000
    return thread->current_frame;
#else
    return thread->cframe->current_frame;
#endif
}
#endif
Frame *frame_before(Frame *frame);
Frame *frame_of_object(PyObject *object);
Frame *frame_of_coroutine(void *coroutine);
int learn_frames(void);

/* coroutines.c */
extern PyTypeObject CoroutineCallbacks_Type;

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
