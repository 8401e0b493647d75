/* Folding what coroutines do: see fold.c. */

#include "fold.h"

static void
leave(struct numbers *running, int64_t id)
{
    /* A throw and a coroutine driven by hand leave from further down. */
    for (size_t index = running->count; index-- > 0;) {
        if (running->items[index] == id) {
            remove_row(running, 1, &running->items[index]);
            return;
        }
    }
}

static void
set_passed(struct fold *fold, struct coroutine_life *life, bool is_passed)
{
    if (life->is_passed != is_passed) {
        life->is_passed = is_passed;
        fold->passed += is_passed ? 1 : (size_t)-1;
    }
}

static void
drop_coroutine(struct fold *fold, int64_t id, struct coroutine_life *life)
{
    set_passed(fold, life, false);
    end_life(&fold->coroutines, id);
}

/* The one that awaits a coroutine goes on, if it does await it. */
static void
leave_awaiter(struct fold *fold, int64_t id, const struct coroutine_life *life)
{
    struct coroutine_life *parent = coroutine_of(fold, life->parent);
    if (parent != NULL && parent->awaits == id) {
        parent->awaits = 0;
    }
}

/* End a coroutine, and what it stands in: CPython closes that without an event at times. */
void
end_coroutine(struct fold *fold, int64_t id, struct coroutine_life *life)
{
    leave_awaiter(fold, id, life);
    do {
        int64_t inner = life->awaits;
        drop_coroutine(fold, id, life);
        id = inner;
        life = coroutine_of(fold, id);
    } while (life != NULL && !life->is_generator);
}

int
coroutine_started(struct fold *fold, const struct event *event)
{
    struct numbers *running = running_on(fold->here);
    const struct coroutine_life *earlier = coroutine_of(fold, event->subject);
    bool is_passed = earlier != NULL && earlier->is_passed;
    if (reserve(running, 1) < 0) {
        return -1;
    }
    struct coroutine_life *life = add_life(&fold->coroutines, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    int64_t task = task_on(fold->here);
    life->site = event->site;
    life->awaiter = life->parent = event->other;
    life->task = life->driver = task;
    life->is_generator = (event->flags & ASYNC_GENERATOR) != 0;
    life->is_passed = is_passed;
    struct coroutine_life *parent = coroutine_of(fold, event->other);
    if (parent != NULL) {
        parent->awaits = event->subject;
    }
    else if (task) {
        struct task_life *step = table_find(&fold->tasks, task);
        if (step != NULL && coroutine_of(fold, step->root) == NULL) {
            step->root = event->subject;
        }
    }
    running->items[running->count++] = event->subject;
    return 0;
}

/* Whoever asks for the next value of a generator awaits it now. */
static void
drive(struct fold *fold, int64_t id, struct coroutine_life *life)
{
    const struct numbers *running = running_on(fold->here);
    life->driver = task_on(fold->here);
    life->is_moved = true;
    life->parent = running->count ? running->items[running->count - 1] : 0;
    struct coroutine_life *parent = coroutine_of(fold, life->parent);
    if (parent != NULL) {
        parent->awaits = id;
    }
    life->yields = 0;
}

/* An exception is thrown into a coroutine: those that await it go on without an event. */
static void
pass_awaiters(struct fold *fold, const struct coroutine_life *life)
{
    struct coroutine_life *awaiter = coroutine_of(fold, life->parent);
    while (awaiter != NULL && awaiter->is_suspended && !awaiter->yields) {
        awaiter->is_suspended = false;
        set_passed(fold, awaiter, true);
        awaiter = coroutine_of(fold, awaiter->parent);
    }
}

int
coroutine_resumed(struct fold *fold, const struct event *event)
{
    struct coroutine_life *life = coroutine_of(fold, event->subject);
    if (life == NULL) {
        return 0;
    }
    struct numbers *running = running_on(fold->here);
    if (reserve(running, 1) < 0) {
        return -1;
    }
    if (life->is_generator && life->yields) {
        drive(fold, event->subject, life);
    }
    life->is_suspended = false;
    set_passed(fold, life, false);
    if (event->flags & THROWN) {
        pass_awaiters(fold, life);
    }
    if (!is_last(running, event->subject)) {
        running->items[running->count++] = event->subject;
    }
    return 0;
}

static void
suspend_passed(struct fold *fold, struct coroutine_life *life)
{
    set_passed(fold, life, false);
    if (life->yields) {
        return;
    }
    struct coroutine_life *awaiter = coroutine_of(fold, life->parent);
    for (size_t left = fold->coroutines.count; left > 0 && awaiter != NULL; left--) {
        if (awaiter->is_passed) {
            set_passed(fold, awaiter, false);
            awaiter->is_suspended = true;
        }
        awaiter = coroutine_of(fold, awaiter->parent);
    }
}

int
coroutine_suspended(struct fold *fold, const struct event *event)
{
    struct coroutine_life *life = coroutine_of(fold, event->subject);
    if (life == NULL) {
        return 0;
    }
    life->is_suspended = true;
    life->offset = event->site;
    life->yields = event->flags & YIELDED;
    if (life->yields && life->is_generator) {
        leave_awaiter(fold, event->subject, life); /* a value for its consumer, who goes on */
    }
    if (fold->passed) {
        suspend_passed(fold, life);
    }
    leave(running_on(fold->here), event->subject);
    return 0;
}

int
coroutine_finished(struct fold *fold, const struct event *event)
{
    struct coroutine_life *life = coroutine_of(fold, event->subject);
    if (life == NULL) {
        return 0;
    }
    if (life->awaits) {
        end_coroutine(fold, event->subject, life);
    }
    else {
        leave_awaiter(fold, event->subject, life);
        drop_coroutine(fold, event->subject, life);
    }
    leave(running_on(fold->here), event->subject);
    return 0;
}
