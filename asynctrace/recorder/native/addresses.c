/* A hash map from addresses to numbers or references: of tasks to their entries, of frames to the coroutines' ids.
 *
 * Open addressing with linear probing. A frame's address is looked up at every event, and is used again as soon as its
 * coroutine is freed, so a removed key leaves a mark (1) that is cleaned up when the map grows.
 */

#include "native.h"

enum { FREE = 0, REMOVED = 1, SMALLEST = 64 };

static int
grow(Map *map)
{
    size_t size = SMALLEST;
    while (size < map->count * 4) {
        size *= 2;
    }
    Slot *slots = PyMem_RawCalloc(size, sizeof(Slot));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (map->slots != NULL) {
        for (size_t old = 0; old <= map->mask; old++) {
            if (map->slots[old].key > REMOVED) {
                size_t index = slot_of(map->slots[old].key, size - 1);
                while (slots[index].key != FREE) {
                    index = (index + 1) & (size - 1);
                }
                slots[index] = map->slots[old];
            }
        }
        PyMem_RawFree(map->slots);
    }
    map->slots = slots;
    map->mask = size - 1;
    map->used = map->count;
    return 0;
}

int
map_set(Map *map, const void *key, int64_t value)
{
    if (fault()) {
        return -1;
    }
    Slot *found = map_find(map, (uintptr_t)key);
    if (found != NULL) {
        found->value = value;
        return 0;
    }
    if ((map->slots == NULL || (map->used + 1) * 3 > (map->mask + 1) * 2) && grow(map) < 0) {
        return -1;
    }
    size_t index = slot_of((uintptr_t)key, map->mask);
    while (map->slots[index].key > REMOVED) {
        index = (index + 1) & map->mask;
    }
    map->used += map->slots[index].key == FREE;
    map->slots[index] = (Slot){(uintptr_t)key, value};
    map->count++;
    return 0;
}

bool
map_pop(Map *map, const void *key, int64_t *value)
{
    Slot *slot = map_find(map, (uintptr_t)key);
    if (slot == NULL) {
        return false;
    }
    *value = slot->value;
    /* Before a free slot no search goes on, so no mark is needed there: most keys come and go in a row. */
    size_t next = ((size_t)(slot - map->slots) + 1) & map->mask;
    if (map->slots[next].key == FREE) {
        slot->key = FREE;
        map->used--;
    }
    else {
        slot->key = REMOVED;
    }
    map->count--;
    return true;
}

void
map_clear(Map *map)
{
    PyMem_RawFree(map->slots);
    *map = (Map){NULL, 0, 0, 0};
}

/* What Python sees of it: as much of a dict as the slow roads use. */

static int
read_key(PyObject *object, uintptr_t *key)
{
    *key = (uintptr_t)PyLong_AsVoidPtr(object);
    return *key == 0 && PyErr_Occurred() ? -1 : 0;
}

static Slot *
find_key(Addresses *self, uintptr_t key)
{
    return key > REMOVED ? map_find(&self->map, key) : NULL;
}

static PyObject *
as_object(Addresses *self, int64_t value) /* new reference */
{
    return self->holds_objects ? Py_NewRef((PyObject *)(intptr_t)value) : PyLong_FromLongLong(value);
}

static PyObject *
get(Addresses *self, PyObject *const *args, Py_ssize_t count)
{
    uintptr_t key;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "get(address, missing=None)");
        return NULL;
    }
    if (read_key(args[0], &key) < 0) {
        return NULL;
    }
    Slot *slot = find_key(self, key);
    return slot != NULL ? as_object(self, slot->value) : Py_NewRef(count == 2 ? args[1] : Py_None);
}

static PyObject *
pop(Addresses *self, PyObject *const *args, Py_ssize_t count)
{
    uintptr_t key;
    int64_t value;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "pop(address, missing)");
        return NULL;
    }
    if (read_key(args[0], &key) < 0) {
        return NULL;
    }
    if (key <= REMOVED || !map_pop(&self->map, (void *)key, &value)) {
        return Py_NewRef(args[1]);
    }
    return self->holds_objects ? (PyObject *)(intptr_t)value : PyLong_FromLongLong(value);
}

static PyObject *
values(Addresses *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (size_t index = 0; list != NULL && self->map.slots != NULL && index <= self->map.mask; index++) {
        if (self->map.slots[index].key > REMOVED) {
            PyObject *value = as_object(self, self->map.slots[index].value);
            if (value == NULL || PyList_Append(list, value) < 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(value);
        }
    }
    return list;
}

static PyObject *
subscript(Addresses *self, PyObject *object)
{
    uintptr_t key;
    if (read_key(object, &key) < 0) {
        return NULL;
    }
    Slot *slot = find_key(self, key);
    if (slot == NULL) {
        PyErr_SetObject(PyExc_KeyError, object);
        return NULL;
    }
    return as_object(self, slot->value);
}

static int
drop(Addresses *self, PyObject *object, uintptr_t key)
{
    int64_t value;
    if (key <= REMOVED || !map_pop(&self->map, (void *)key, &value)) {
        PyErr_SetObject(PyExc_KeyError, object);
        return -1;
    }
    if (self->holds_objects) {
        Py_DECREF((PyObject *)(intptr_t)value);
    }
    return 0;
}

static int
assign(Addresses *self, PyObject *object, PyObject *value)
{
    uintptr_t key;
    int64_t number;
    if (read_key(object, &key) < 0) {
        return -1;
    }
    if (value == NULL) {
        return drop(self, object, key);
    }
    if (key <= REMOVED) {
        PyErr_Format(PyExc_ValueError, "%R is no address", object);
        return -1;
    }
    if (!self->holds_objects) {
        number = PyLong_AsLongLong(value);
        return number == -1 && PyErr_Occurred() ? -1 : map_set(&self->map, (void *)key, number);
    }
    int64_t earlier = map_get(&self->map, (void *)key, 0);
    if (map_set(&self->map, (void *)key, (int64_t)(intptr_t)value) < 0) {
        return -1;
    }
    Py_INCREF(value);
    Py_XDECREF((PyObject *)(intptr_t)earlier);
    return 0;
}

static int
contains(Addresses *self, PyObject *object)
{
    uintptr_t key;
    return read_key(object, &key) < 0 ? -1 : find_key(self, key) != NULL;
}

static Py_ssize_t
length(Addresses *self)
{
    return (Py_ssize_t)self->map.count;
}

static int
traverse(Addresses *self, visitproc visit, void *arg)
{
    for (size_t index = 0; self->holds_objects && self->map.slots != NULL && index <= self->map.mask; index++) {
        if (self->map.slots[index].key > REMOVED) {
            Py_VISIT((PyObject *)(intptr_t)self->map.slots[index].value);
        }
    }
    return 0;
}

static int
clear(Addresses *self)
{
    Map map = self->map; /* what a reference that goes sets off finds the map empty */
    self->map = (Map){NULL, 0, 0, 0};
    for (size_t index = 0; self->holds_objects && map.slots != NULL && index <= map.mask; index++) {
        if (map.slots[index].key > REMOVED) {
            Py_DECREF((PyObject *)(intptr_t)map.slots[index].value);
        }
    }
    map_clear(&map);
    return 0;
}

static void
dealloc(Addresses *self)
{
    PyObject_GC_UnTrack(self);
    clear(self);
    PyObject_GC_Del(self);
}

Addresses *
addresses_new(bool holds_objects)
{
    Addresses *self = PyObject_GC_New(Addresses, &Addresses_Type);
    if (self != NULL) {
        self->map = (Map){NULL, 0, 0, 0};
        self->holds_objects = holds_objects;
        PyObject_GC_Track(self);
    }
    return self;
}

static PyObject *
make(PyTypeObject *Py_UNUSED(type), PyObject *args, PyObject *Py_UNUSED(keywords))
{
    int holds_objects = 0;
    return PyArg_ParseTuple(args, "|p", &holds_objects) ? (PyObject *)addresses_new(holds_objects) : NULL;
}

static PyMethodDef methods[] = {
    {"get", (PyCFunction)(void (*)(void))get, METH_FASTCALL, "get(address, missing=None)"},
    {"pop", (PyCFunction)(void (*)(void))pop, METH_FASTCALL, "pop(address, missing)"},
    {"values", (PyCFunction)values, METH_NOARGS, "values(): a list"},
    {NULL, NULL, 0, NULL},
};

static PyMappingMethods mapping = {(lenfunc)length, (binaryfunc)subscript, (objobjargproc)assign};
static PySequenceMethods sequence = {.sq_contains = (objobjproc)contains};

PyTypeObject Addresses_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "asynctrace.recorder._native.Addresses",
    .tp_doc = "A dict from addresses to ids, or with Addresses(True) to objects.",
    .tp_basicsize = sizeof(Addresses),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = make,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_methods = methods,
    .tp_as_mapping = &mapping,
    .tp_as_sequence = &sequence,
};
