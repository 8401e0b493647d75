/* The native encoder: what it keeps from one event to the next, and who does what.
 *
 * It does what perfetto_encoder.py and perfetto_slices.py do, and gives the same bytes. For what it meets for the first
 * time, a name or a thread, it asks their Python objects, which send what the file needs of it (lookups.c); what they
 * answered it keeps. It works with the GIL held: a batch of the keeper's takes less time than it takes a thread to get
 * the GIL back, so that giving it up in between gained a program on another thread nothing that could be measured.
 *
 * Functions that return an int return -1 with a Python exception set, else 0. Events may say anything, for a file that
 * is damaged is encoded too: whatever they say, all that is found here is looked up, and may not be there.
 */

#ifndef ASYNCTRACE_ENCODER_H
#define ASYNCTRACE_ENCODER_H

#include "containers.h"
#include "event_reader.h"
#include "wire.h"

/* Some fields of a track event: those that name its slice (a name's number, a place's, an expression's), or that say
 * what it is due to. */
enum { NAME_BYTES = 31 };
struct name {
    uint8_t size; /* 0: there is none */
    uint8_t bytes[NAME_BYTES];
};

struct slice {
    int64_t key; /* the id of what it shows, or one of the following */
    int64_t time_ns;
    struct name name;
};

enum { TOLD_LAG_NS = 1000000 }; /* a shorter lag of a loop is told as none: every step has some */

enum { TASK_SLICE = -1, STATE_SLICE = -2 }; /* on the track of a task */

/* On the track of a thread: an id is never negative, this always is. */
static inline int64_t
blocking_key(int64_t subject)
{
    return -1 - subject;
}

/* What an await stack tells. */
struct stack {
    struct name wait;    /* at the user's innermost await */
    struct name library; /* at the libraries' innermost await */
    int64_t code;
    PyObject *label; /* bytes, owned, or NULL */
};

/* A track and its open slices, innermost last. */
struct track {
    uint8_t field[1 + VARINT_BYTES]; /* of a track event: which track it is on */
    size_t field_size;
    struct slice *slices;
    size_t count;
    size_t capacity;
    size_t deepest;
    size_t reopened;
};

/* A task that has not ended, or that a coroutine or an open step still refers to: whoever does holds one of `owners`. */
struct task {
    size_t owners;
    int64_t id;
    uint64_t uuid;
    struct track track; /* it has no open slices: the task has ended */
    struct name step;
    PyObject *root; /* the bytes of its root's name, owned; NULL where it has none */
    int64_t root_site;
    int64_t thread;
    int64_t awaited;
    int64_t ready_ns;  /* since when; -1 where that is unknown */
    int64_t situation; /* of the wait that is open, as far as it is known before its end; -1: there is none */
    bool is_labelled;
    bool is_ready;
    bool is_running;
    bool has_stack; /* the await stack of the step in progress is known: it tells the next three */
    struct name wait;
    struct name library;
    int64_t wait_code;
    /* Running: of a wake, after which it is ready again when the step ends. Ready: what its slice does not tell yet. */
    bool has_cause;
    struct name cause;
    struct name as_waker; /* the fields that say that it woke another, once it did */
    struct numbers arrows;
    struct numbers wakes;
    struct task *previous; /* among those that have not ended, in the order of their beginning */
    struct task *next;
};

struct coroutine {
    struct task *task; /* on whose track it shows, owned; NULL: on none */
    int64_t site;
    int64_t offset; /* where it last stood */
    bool is_generator;
};

struct thread {
    int64_t id;
    int64_t number; /* in the records of events; -1: none of its events has been written */
    bool has_track;
    struct track track;
    uint64_t lag;      /* the number of the counter of the loop's lag; 0: it has none yet */
    bool is_lagging;   /* by the last value that was told */
    bool idles;        /* whether the loop says when it has nothing to do */
    struct name cause; /* the fields that say that it made a task ready, once it did */
    struct task **steps; /* the tasks whose steps run here, innermost last, owned */
    size_t steps_count;
    size_t steps_capacity;
};

enum { OUTCOMES = CLOSED - RAISED + 1, CAUSES = CAUSE_THREAD + 1 };

/* What Waits.code says of a site, and the parts of a situation: see perfetto_waits.py. */
enum { CODE_MASK = 15, LOOK_UP = 15, CODE_ELSEWHERE = 4, USER_CODE = 1 << 8, GATHERING_TYPE = 1 << 9 };
enum { CAUSE_SHIFT = 4, FOR_TASK = 1 << 7, JOB_SHIFT = 8, FOR_GATHER = 1 << 10 };

/* How a site can name a slice: its code with the place, its text alone, the submission of a job. */
enum site_name { AS_CODE, AS_TEXT, AS_SUBMITTED, SITE_NAMES };

/* What is known of a site, asked when it is first needed. */
struct site {
    PyObject *label; /* bytes, owned; NULL: not asked yet, as the next two */
    bool is_user;
    bool is_nameless;
    PyObject *outcomes[OUTCOMES]; /* bytes, owned: what ended with this exception */
    struct name names[SITE_NAMES];
    struct name waiting;        /* for an object of this type */
    struct name causes[CAUSES]; /* the fields that say that this code made a task ready */
    int64_t code;               /* what Waits.code says, where `has_code` */
    bool has_code;
    PyObject *attributes;       /* bytes, owned */
    struct table waits;         /* offset -> struct name *, owned: of the waits there, with no size where none is shown */
};

struct counter {
    PyObject_HEAD
    uint64_t next;
};

/* What one event shows as: track events, one after the other. */
struct shown {
    struct buffer bytes;
    size_t *ends; /* where each ends */
    size_t count;
    size_t capacity;
};

struct encoder {
    PyObject_HEAD
    /* Owned; those from `names` on are NULL until `connect`. */
    PyObject *write;
    PyObject *wire_error;
    struct counter *new_flow;
    PyObject *names;
    PyObject *waits;
    PyObject *task_names;
    PyObject *tracks;
    PyObject *visible_text;
    struct counter *new_uuid;

    uint64_t task_group; /* the track above those of tasks */
    uint64_t merging;
    bool has_row_each;
    uint8_t sequence[1 + VARINT_BYTES]; /* the field of a packet */
    size_t sequence_size;
    bool is_base; /* the events in hand are: nothing happens in a base, it leads to what is open after it */
    bool is_busy; /* Python code that is asked something may call anything, and other threads may come meanwhile */

    struct buffer out;
    struct shown shown;
    struct buffer once; /* of the track event in hand: what is not repeated when its slice is opened again */
    int64_t clock_ns;
    int64_t last_subject;
    struct thread *last_thread;
    int64_t next_thread_number;

    struct table threads; /* id -> struct thread *, owned */
    struct thread **shown_threads; /* those with a track, in the order of their first showing */
    size_t shown_threads_count;
    size_t shown_threads_capacity;

    struct table tasks; /* id -> struct task *, owned */
    struct task *first_task;
    struct task *last_task;
    int64_t ready;
    int64_t live;
    struct table coroutines; /* id -> struct coroutine *, owned */
    struct numbers late;     /* coroutines that began before the recording, until their task is known */
    struct table job_arrows;
    struct table jobs_of_calls;
    struct table jobs; /* job -> 1 + its JOB_* */

    struct table sites;  /* key -> struct site *, owned */
    struct table stacks; /* key -> struct stack *, owned */
    struct table kinds;  /* situation -> struct name *, owned: which kind of wait it was */
    struct name ready_name;
    struct name wake_name;
    struct name idle_name;
    struct name waiting_name;
    PyObject *outcomes[OUTCOMES]; /* bytes, owned: without an exception */
};

/* packets.c: the bytes. */
int encode_event(void *encoder, const struct event *event);
int flush(struct encoder *encoder);
int send_on_sequence(struct encoder *encoder, const void *content, size_t size);
int send_begin(struct encoder *encoder, int64_t time_ns, const struct track *track, const struct name *name);
int send_task_track(struct encoder *encoder, const struct task *task, const char *label, size_t size);
int send_shown(struct encoder *encoder, uint64_t delay_ns);

/* tracks.c: track events, and the slices open on each track. */
int show(struct encoder *encoder, int type, const struct track *track, const struct name *name);
int show_once(struct encoder *encoder, int type, const struct track *track, const struct name *name);
int show_nothing(struct encoder *encoder);
void track_init(struct track *track, uint64_t uuid);
int track_push(struct encoder *encoder, struct track *track, int64_t key, const struct name *name, int64_t time_ns);
int track_open(struct encoder *encoder, struct track *track, int64_t key, const struct name *name, int64_t time_ns);
int track_close(struct encoder *encoder, struct track *track, int64_t key);
int track_close_all(struct encoder *encoder, struct track *track);
int add_arrow(struct encoder *encoder, const uint8_t tag[2], uint64_t flow);
int add_counts(struct encoder *encoder);
int add_name(struct encoder *encoder, const struct name *name);
int add_lag(struct encoder *encoder, struct thread *thread, int64_t lag_ns);
int add_no_lag(struct encoder *encoder, struct thread *thread);
bool is_on_top(const struct track *track, int64_t key);
uint64_t take_number(struct counter *counter);

/* Of each event: add to `shown` what it shows as. */
int show_task_event(struct encoder *encoder, const struct event *event, struct thread *thread);
int show_coroutine_event(struct encoder *encoder, const struct event *event, struct thread *thread);
int show_thread_event(struct encoder *encoder, const struct event *event, struct thread *thread);

/* tasks.c */
void task_release(struct task *task);
void task_list_free(struct encoder *encoder);
int label_task(struct encoder *encoder, struct task *task, PyObject *label);
int label_open_tasks(struct encoder *encoder);

/* waits.c: what a task waited for, and what made it ready. */
int open_wait(struct encoder *encoder, struct task *task, const struct event *event);
int add_end_of_state(struct encoder *encoder, struct task *task, int64_t cause);
int because_of(struct encoder *encoder, const struct event *event, struct name *found);

/* coroutines.c */
int place_late(struct encoder *encoder, struct task *task);
void coroutine_free(struct coroutine *coroutine);
void coroutine_set_task(struct coroutine *coroutine, struct task *task);

/* threads.c */
struct thread *thread_of(struct encoder *encoder, int64_t id);
struct track *thread_track(struct encoder *encoder, struct thread *thread);
void thread_free(struct thread *thread);

/* reopening.c: between the segments of a part. */
int show_open_again(struct encoder *encoder);
int show_close_all(struct encoder *encoder);

/* lookups.c: what the part's tables say. Names are borrowed: they stay until `forget_site`. NULL is an error. */
PyObject *checked_bytes(PyObject *given);
int take_name(PyObject *given, struct name *name);
struct site *site_of(struct encoder *encoder, int64_t key);
void stack_free(struct stack *stack);
struct site *labelled(struct encoder *encoder, int64_t key);
const struct name *fixed_name(struct encoder *encoder, struct name *name, const char *text);
const struct name *site_name(struct encoder *encoder, int64_t key, enum site_name which);
int step_name(struct encoder *encoder, int64_t task, int64_t root, struct name *found);
PyObject *task_label(struct encoder *encoder, int64_t task, int64_t root);
int lost_name(struct encoder *encoder, int64_t count, struct name *found);
int outcome_of(struct encoder *encoder, int64_t flags, int64_t error, PyObject **found);
int add_bytes(struct encoder *encoder, PyObject *bytes);
int add_outcome(struct encoder *encoder, int64_t flags, int64_t error);
int add_attributes(struct encoder *encoder, int64_t key);
int thread_uuid(struct encoder *encoder, int64_t id, uint64_t *uuid);
int lag_uuid(struct encoder *encoder, int64_t thread, uint64_t *uuid);
void forget_site(struct encoder *encoder, int64_t key);
void forget_all(struct encoder *encoder);

/* wait_lookups.c: what they say of waits and wakes. */
const struct name *wait_at(struct encoder *encoder, int64_t site, int64_t offset);
const struct stack *stack_of(struct encoder *encoder, int64_t key);
int wait_name(struct encoder *encoder, int64_t awaited, int64_t type_site, const struct name *library,
              struct name *found);
int code_of(struct encoder *encoder, int64_t key, int64_t *code);
int add_kind(struct encoder *encoder, int64_t situation);
const struct name *cause_of(struct encoder *encoder, int64_t kind, int64_t site);
int cause_task(struct encoder *encoder, int64_t waker, int64_t root, struct name *found);
int cause_thread(struct encoder *encoder, struct thread *thread);

#endif
