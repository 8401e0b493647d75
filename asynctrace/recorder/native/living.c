/* What a fold keeps: made, found, copied and freed. */

#include "living.h"

#include "faults.h"

void *
add_life(struct table *lives, int64_t id, size_t size)
{
    void *life = table_find(lives, id);
    if (life != NULL) {
        return memset(life, 0, size);
    }
    life = fault() ? NULL : PyMem_Calloc(1, size);
    if (life == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (fault() || table_put(lives, id, life) < 0) {
        PyMem_Free(life);
        return NULL;
    }
    return life;
}

void
end_life(struct table *lives, int64_t id)
{
    PyMem_Free((void *)(uintptr_t)table_take(lives, id));
}

int
reserve(struct numbers *numbers, size_t more)
{
    return fault() ? -1 : numbers_reserve(numbers, more);
}

int
reserve_step(struct thread_life *thread)
{
    if (fault()) {
        return -1;
    }
    if (thread->step_count == thread->step_capacity) {
        size_t before = thread->step_capacity;
        struct step *moved = grown(thread->steps, &thread->step_capacity, before + 1, sizeof(struct step));
        if (moved == NULL) {
            return -1;
        }
        memset(moved + before, 0, (thread->step_capacity - before) * sizeof(struct step));
        thread->steps = moved;
    }
    return 0;
}

static void
free_thread(struct thread_life *thread)
{
    for (size_t index = 0; index < thread->step_capacity; index++) {
        PyMem_Free(thread->steps[index].running.items);
    }
    PyMem_Free(thread->steps);
    PyMem_Free(thread->bare.items);
    PyMem_Free(thread->calls.items);
    PyMem_Free(thread);
}

void
end_thread(struct table *threads, int64_t id)
{
    struct thread_life *thread = (void *)(uintptr_t)table_take(threads, id);
    if (thread != NULL) {
        free_thread(thread);
    }
}

int64_t *
find_row(const struct numbers *rows, size_t width, const int64_t *key, size_t key_width)
{
    for (size_t end = rows->count; end > 0; end -= width) {
        int64_t *row = rows->items + end - width;
        if (memcmp(row, key, key_width * sizeof(int64_t)) == 0) {
            return row;
        }
    }
    return NULL;
}

void
remove_row(struct numbers *rows, size_t width, int64_t *row)
{
    int64_t *next = row + width;
    memmove(row, next, (size_t)(rows->items + rows->count - next) * sizeof(int64_t));
    rows->count -= width;
}

/* Copying. Where it fails in the middle, what is there already is whole and can be freed. */

static int
copy_numbers(struct numbers *copy, const struct numbers *numbers)
{
    if (numbers->count == 0) {
        return 0;
    }
    if (reserve(copy, numbers->count) < 0) {
        return -1;
    }
    memcpy(copy->items, numbers->items, numbers->count * sizeof(int64_t));
    copy->count = numbers->count;
    return 0;
}

static int
copy_lives(struct table *copy, const struct table *lives, size_t size)
{
    for (size_t index = 0; index < lives->capacity; index++) {
        struct entry entry = lives->entries[index];
        if (entry.value != 0) {
            void *life = add_life(copy, entry.key, size);
            if (life == NULL) {
                return -1;
            }
            memcpy(life, (void *)(uintptr_t)entry.value, size);
        }
    }
    return 0;
}

static int
copy_thread(struct thread_life *copy, const struct thread_life *thread)
{
    for (size_t index = 0; index < thread->step_count; index++) {
        if (reserve_step(copy) < 0) {
            return -1;
        }
        struct step *step = &copy->steps[copy->step_count++];
        step->task = thread->steps[index].task;
        if (copy_numbers(&step->running, &thread->steps[index].running) < 0) {
            return -1;
        }
    }
    return copy_numbers(&copy->bare, &thread->bare) < 0 ? -1 : copy_numbers(&copy->calls, &thread->calls);
}

static int
copy_threads(struct table *copy, const struct table *threads)
{
    for (size_t index = 0; index < threads->capacity; index++) {
        struct entry entry = threads->entries[index];
        if (entry.value != 0) {
            struct thread_life *life = add_life(copy, entry.key, sizeof(struct thread_life));
            if (life == NULL || copy_thread(life, (void *)(uintptr_t)entry.value) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

int
fold_copy(struct fold *copy, const struct fold *fold)
{
    copy->count = fold->count;
    copy->passed = fold->passed;
    copy->forgotten_jobs = fold->forgotten_jobs;
    if (copy_lives(&copy->tasks, &fold->tasks, sizeof(struct task_life)) < 0 ||
        copy_lives(&copy->coroutines, &fold->coroutines, sizeof(struct coroutine_life)) < 0 ||
        copy_threads(&copy->threads, &fold->threads) < 0 ||
        copy_lives(&copy->calls, &fold->calls, sizeof(struct call_life)) < 0 ||
        copy_lives(&copy->jobs, &fold->jobs, sizeof(struct job_life)) < 0 ||
        copy_lives(&copy->loops, &fold->loops, sizeof(struct loop_life)) < 0) {
        return -1;
    }
    if (copy_numbers(&copy->blockings, &fold->blockings) < 0 ||
        copy_numbers(&copy->functions_dropped, &fold->functions_dropped) < 0 ||
        copy_numbers(&copy->processes, &fold->processes) < 0) {
        return -1;
    }
    return copy_numbers(&copy->ended_tasks, &fold->ended_tasks);
}

static void
free_lives(struct table *lives)
{
    for (size_t index = 0; index < lives->capacity; index++) {
        PyMem_Free((void *)(uintptr_t)lives->entries[index].value);
    }
    table_free(lives);
}

void
fold_free(struct fold *fold)
{
    for (size_t index = 0; index < fold->threads.capacity; index++) {
        struct thread_life *thread = (void *)(uintptr_t)fold->threads.entries[index].value;
        if (thread != NULL) {
            free_thread(thread);
        }
    }
    table_free(&fold->threads);
    free_lives(&fold->tasks);
    free_lives(&fold->coroutines);
    free_lives(&fold->calls);
    free_lives(&fold->jobs);
    free_lives(&fold->loops);
    PyMem_Free(fold->blockings.items);
    PyMem_Free(fold->functions_dropped.items);
    PyMem_Free(fold->processes.items);
    PyMem_Free(fold->ended_tasks.items);
}
