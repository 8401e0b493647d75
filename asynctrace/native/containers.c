#include "containers.h"

void *
grown(void *array, size_t *capacity, size_t needed, size_t item_size)
{
    size_t larger = *capacity < 8 ? 8 : *capacity;
    while (larger < needed) {
        if (larger > SIZE_MAX / 2 / item_size) {
            PyErr_NoMemory();
            return NULL;
        }
        larger *= 2;
    }
    void *moved = PyMem_Realloc(array, larger * item_size);
    if (moved == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *capacity = larger;
    return moved;
}

int
buffer_grow(struct buffer *buffer, size_t more)
{
    if (more > SIZE_MAX - buffer->size) {
        PyErr_NoMemory();
        return -1;
    }
    uint8_t *moved = grown(buffer->bytes, &buffer->capacity, buffer->size + more, 1);
    if (moved == NULL) {
        return -1;
    }
    buffer->bytes = moved;
    return 0;
}

int
buffer_add(struct buffer *buffer, const void *bytes, size_t size)
{
    if (buffer_reserve(buffer, size) < 0) {
        return -1;
    }
    if (size) {
        memcpy(buffer->bytes + buffer->size, bytes, size);
        buffer->size += size;
    }
    return 0;
}

int
numbers_grow(struct numbers *numbers, size_t more)
{
    int64_t *moved = grown(numbers->items, &numbers->capacity, numbers->count + more, sizeof(int64_t));
    if (moved == NULL) {
        return -1;
    }
    numbers->items = moved;
    return 0;
}

int
numbers_add(struct numbers *numbers, int64_t number)
{
    if (numbers_reserve(numbers, 1) < 0) {
        return -1;
    }
    numbers->items[numbers->count++] = number;
    return 0;
}

enum { SMALL = 1024 }; /* entries */

/* Tables: open addressing, a key stands at its home or in the next free entry after it. */

static size_t
home_of(const struct table *table, int64_t key)
{
    /* Ids count up within a process, whose number is in their upper half: the multiplication spreads both. */
    uint64_t mixed = (uint64_t)key * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(mixed ^ mixed >> 32) & (table->capacity - 1);
}

/* Return where a key is, or would be: there is always a free entry. */
static size_t
place_of(const struct table *table, int64_t key)
{
    size_t place = home_of(table, key);
    while (table->entries[place].value != 0 && table->entries[place].key != key) {
        place = (place + 1) & (table->capacity - 1);
    }
    return place;
}

uint64_t
table_get(const struct table *table, int64_t key)
{
    return table->count ? table->entries[place_of(table, key)].value : 0;
}

/* Move all to new memory; false, and no error is set, where there is none: then the table is as it was. */
static bool
move_to(struct table *table, size_t capacity)
{
    struct table moved = {NULL, capacity, table->count};
    moved.entries = capacity <= SIZE_MAX / sizeof(struct entry) ? PyMem_Calloc(capacity, sizeof(struct entry)) : NULL;
    if (moved.entries == NULL) {
        return false;
    }
    for (size_t index = 0; index < table->capacity; index++) {
        struct entry entry = table->entries[index];
        if (entry.value != 0) {
            moved.entries[place_of(&moved, entry.key)] = entry;
        }
    }
    PyMem_Free(table->entries);
    *table = moved;
    return true;
}

static int
table_grow(struct table *table)
{
    if (!move_to(table, table->capacity ? table->capacity * 2 : 16)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int
table_set(struct table *table, int64_t key, uint64_t value)
{
    if (table->count >= table->capacity / 2 && table_grow(table) < 0) {
        return -1;
    }
    struct entry *entry = &table->entries[place_of(table, key)];
    table->count += entry->value == 0;
    *entry = (struct entry){key, value};
    return 0;
}

uint64_t
table_take(struct table *table, int64_t key)
{
    if (table->count == 0) {
        return 0;
    }
    size_t mask = table->capacity - 1, hole = place_of(table, key);
    uint64_t value = table->entries[hole].value;
    if (value == 0) {
        return 0;
    }
    /* Who would not be found past the hole moves into it, and leaves another. */
    for (size_t next = (hole + 1) & mask; table->entries[next].value != 0; next = (next + 1) & mask) {
        size_t home = home_of(table, table->entries[next].key);
        if (((next - home) & mask) >= ((next - hole) & mask)) {
            table->entries[hole] = table->entries[next];
            hole = next;
        }
    }
    table->entries[hole].value = 0;
    table->count--;
    return value;
}

void
table_clear(struct table *table)
{
    if (table->capacity > SMALL) {
        table_free(table);
    }
    else if (table->count) {
        memset(table->entries, 0, table->capacity * sizeof(struct entry));
        table->count = 0;
    }
}

void
table_fit(struct table *table)
{
    size_t capacity = table->capacity;
    while (capacity > SMALL && table->count < capacity / 8) {
        capacity /= 2;
    }
    if (capacity < table->capacity) {
        move_to(table, capacity); /* where there is no memory for it, the table stays as large as it is */
    }
}

void
table_free(struct table *table)
{
    PyMem_Free(table->entries);
    *table = (struct table){NULL, 0, 0};
}
