/* Folding what tasks do, and their steps: see fold.c. */

#include "fold.h"

static void
leave_step(struct thread_life *thread, int64_t task)
{
    for (size_t index = thread->step_count; index-- > 0;) {
        if (thread->steps[index].task == task) {
            thread->step_count = index;
            return;
        }
    }
}

int
task_created(struct fold *fold, const struct event *event)
{
    struct task_life *life = add_life(&fold->tasks, event->subject, sizeof(*life));
    if (life == NULL) {
        return -1;
    }
    life->thread = event->thread;
    life->creator = event->other;
    life->site = event->site;
    life->kind = event->flags & SEEN_LATE ? UNKNOWN : READY;
    return 0;
}

int
task_ready(struct fold *fold, const struct event *event)
{
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life == NULL) {
        return 0;
    }
    if (!life->has_cause) {
        life->has_cause = true;
        life->cause.thread = event->thread;
        life->cause.other = event->other;
        life->cause.site = event->site;
        life->cause.flags = event->flags;
    }
    if (life->kind == WAITING || life->kind == UNKNOWN) {
        life->kind = READY;
    }
    return 0;
}

static int
end_task(struct fold *fold, int64_t id, const struct task_life *task)
{
    if (reserve(&fold->ended_tasks, 1) < 0) {
        return -1;
    }
    int64_t root = task->root;
    end_life(&fold->tasks, id);
    fold->ended_tasks.items[fold->ended_tasks.count++] = id;
    struct coroutine_life *life = coroutine_of(fold, root);
    if (life != NULL && !life->is_generator) {
        end_coroutine(fold, root, life);
    }
    return 0;
}

int
step_started(struct fold *fold, const struct event *event)
{
    struct thread_life *thread = fold->here;
    if (reserve_step(thread) < 0) {
        return -1;
    }
    struct step *step = &thread->steps[thread->step_count++];
    step->task = event->subject;
    step->running.count = 0;
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life == NULL) {
        return 0;
    }
    life->kind = RUNNING;
    life->has_cause = false;
    life->stack = life->awaited = 0;
    life->thread = event->thread;
    if (event->flags & EAGER) {
        life->is_eager = true;
    }
    if (!life->loop) {
        life->loop = event->other;
        struct loop_life *loop = table_find(&fold->loops, event->other);
        if (loop != NULL && !loop->thread) {
            loop->thread = event->thread;
        }
    }
    return 0;
}

int
step_finished(struct fold *fold, const struct event *event)
{
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life != NULL) {
        if (event->flags & OUTCOME_MASK) {
            if (end_task(fold, event->subject, life) < 0) {
                return -1;
            }
        }
        else if (event->flags & YIELDED || life->has_cause) {
            life->kind = READY;
        }
        else {
            life->kind = WAITING;
            life->awaited = event->other;
            life->future_type = event->site;
        }
    }
    leave_step(fold->here, event->subject);
    return 0;
}

int
task_collected(struct fold *fold, const struct event *event)
{
    const struct task_life *life = table_find(&fold->tasks, event->subject);
    return life != NULL ? end_task(fold, event->subject, life) : 0;
}

int
await_stack(struct fold *fold, const struct event *event)
{
    struct task_life *life = table_find(&fold->tasks, event->subject);
    if (life != NULL) {
        life->stack = event->site;
    }
    return 0;
}
