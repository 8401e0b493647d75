/* What grows: bytes, numbers, and tables from numbers to numbers. What returns an int returns -1 with a MemoryError. */

#ifndef ASYNCTRACE_CONTAINERS_H
#define ASYNCTRACE_CONTAINERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Return an array with room for more items, of `item_size` bytes each, or NULL: then the old one is as it was. */
void *grown(void *array, size_t *capacity, size_t needed, size_t item_size);

/* Bytes, to be added to. */
struct buffer {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
};

int buffer_grow(struct buffer *buffer, size_t more);
int buffer_add(struct buffer *buffer, const void *bytes, size_t size);

/* Make room for so many more bytes. */
static inline int
buffer_reserve(struct buffer *buffer, size_t more)
{
    return buffer->capacity - buffer->size >= more ? 0 : buffer_grow(buffer, more);
}

/* A list of numbers. */
struct numbers {
    int64_t *items;
    size_t count;
    size_t capacity;
};

int numbers_grow(struct numbers *numbers, size_t more);
int numbers_add(struct numbers *numbers, int64_t number);

/* Make room for so many more numbers. */
static inline int
numbers_reserve(struct numbers *numbers, size_t more)
{
    return numbers->capacity - numbers->count >= more ? 0 : numbers_grow(numbers, more);
}

/* From a number to another that is not 0, or to a pointer. */
struct entry {
    int64_t key;
    uint64_t value; /* 0: the entry is free */
};

struct table {
    struct entry *entries;
    size_t capacity; /* 0, or a power of two, and more than `count` */
    size_t count;
};

uint64_t table_get(const struct table *table, int64_t key); /* 0 where it is not */
int table_set(struct table *table, int64_t key, uint64_t value);
uint64_t table_take(struct table *table, int64_t key); /* and remove it */
void table_clear(struct table *table); /* and keep its memory, if it is small */
void table_fit(struct table *table);   /* give memory back where much was removed */
void table_free(struct table *table);

static inline void *
table_find(const struct table *table, int64_t key)
{
    return (void *)(uintptr_t)table_get(table, key);
}

static inline int
table_put(struct table *table, int64_t key, void *value)
{
    return table_set(table, key, (uint64_t)(uintptr_t)value);
}

#endif
