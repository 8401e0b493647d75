/* Events in memory: what hooks have appended, in blocks. What is taken out of them is *packed*: see packing.c. */

#include "events.h"
#include "packing.h"

int
refuse_event(void)
{
    PyErr_SetString(PyExc_OverflowError, "an event of a kind, or with a number, that there is not");
    return -1;
}

int
make_room(Core *core)
{
    if (fault()) {
        return -1;
    }
    size_t size = faults_are_on ? LONGEST_EVENT : SMALLEST_BLOCK;
    if (core->last != NULL && !faults_are_on) {
        size = (size_t)(core->last->end - core->last->bytes) * 2;
        size = size < LARGEST_BLOCK ? size : LARGEST_BLOCK;
    }
    Block *block = PyMem_RawMalloc(sizeof(Block) + size);
    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *block = (Block){NULL, 0, block->bytes + size, {block->bytes, 0, 0, 0}};
    if (core->last == NULL) {
        core->first = block;
    }
    else {
        core->last->next = block;
    }
    core->last = block;
    return 0;
}

int
add_fields(Core *core, PyObject *fields)
{
    int64_t values[FIELDS];
    if (!PyTuple_Check(fields) || PyTuple_GET_SIZE(fields) != FIELDS) {
        PyErr_SetString(PyExc_TypeError, "an event is a tuple of seven numbers");
        return -1;
    }
    for (int index = 0; index < FIELDS; index++) {
        values[index] = PyLong_AsLongLong(PyTuple_GET_ITEM(fields, index));
        if (values[index] == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    forget_times();
    if (values[2] != (int)values[2] || values[6] != (int)values[6]) {
        return refuse_event();
    }
    return append(core, values[0], values[1], (int)values[2], values[3], values[4], values[5], (int)values[6]);
}

size_t
bytes_of_events(const Core *core)
{
    size_t bytes = 0;
    for (const Block *block = core->first; block != NULL; block = block->next) {
        bytes += FRAME_HEAD + (size_t)(block->cursor.place - block->bytes);
    }
    return bytes;
}

static uint8_t *
write_block(uint8_t *place, const Block *block)
{
    size_t size = (size_t)(block->cursor.place - block->bytes);
    place = write_frame_head(place, block->count, size);
    memcpy(place, block->bytes, size);
    return place + size;
}

static PyObject *
copy_block(const Block *block)
{
    size_t size = FRAME_HEAD + (size_t)(block->cursor.place - block->bytes);
    PyObject *packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (packed != NULL) {
        write_block((uint8_t *)PyBytes_AS_STRING(packed), block);
    }
    return packed;
}

PyObject *
copy_events(const Core *core)
{
    PyObject *packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes_of_events(core));
    if (packed != NULL) {
        uint8_t *end = (uint8_t *)PyBytes_AS_STRING(packed);
        for (const Block *block = core->first; block != NULL; block = block->next) {
            end = write_block(end, block);
        }
    }
    return packed;
}

static void
free_blocks(Block *block, const Block *end)
{
    while (block != end) {
        Block *next = block->next;
        PyMem_RawFree(block);
        block = next;
    }
}

void
free_events(Core *core)
{
    free_blocks(core->first, NULL);
    core->first = core->last = NULL;
    core->count = 0;
}

/* Take the events out: a list of packed ones, a piece for each block. */
PyObject *
take_events(Core *core)
{
    PyObject *pieces = PyList_New(0);
    for (const Block *block = core->first; pieces != NULL && block != NULL; block = block->next) {
        PyObject *piece = block->count > 0 ? copy_block(block) : NULL;
        if (block->count > 0 && (piece == NULL || PyList_Append(pieces, piece) < 0)) {
            Py_CLEAR(pieces);
        }
        Py_XDECREF(piece);
    }
    Block *last = core->last;
    if (pieces != NULL && last != NULL) {
        /* The last block stays, for what comes next: it need not be asked for again and again. */
        free_blocks(core->first, last);
        last->count = 0;
        last->cursor = (Cursor){last->bytes, 0, 0, 0};
        core->first = last;
        core->count = 0;
    }
    return pieces;
}
