/* What a suspended coroutine or generator tells of itself, without the frame object that its attributes would make: one
 * such costs more than all that is recorded of a step.
 */

#include "standins.h"

/* Of one type: its attributes that tell. */
typedef struct {
    PyGetSetDef *suspended, *awaited, *frame;
} Told;

static Told of_coroutines, of_generators;

static const Told *
told_by(PyObject *coroutine)
{
    return PyCoro_CheckExact(coroutine) ? &of_coroutines : &of_generators;
}

int
learn_suspended(void)
{
    of_coroutines = (Told){
        getter_of(&PyCoro_Type, "cr_suspended"),
        getter_of(&PyCoro_Type, "cr_await"),
        getter_of(&PyCoro_Type, "cr_frame"),
    };
    of_generators = (Told){
        getter_of(&PyGen_Type, "gi_suspended"),
        getter_of(&PyGen_Type, "gi_yieldfrom"),
        getter_of(&PyGen_Type, "gi_frame"),
    };
    if (of_coroutines.suspended == NULL || of_coroutines.awaited == NULL || of_coroutines.frame == NULL ||
        of_generators.suspended == NULL || of_generators.awaited == NULL || of_generators.frame == NULL) {
        PyErr_SetString(PyExc_ImportError, "coroutines do not tell what they await");
        return -1;
    }
    return 0;
}

static PyObject *
get(PyObject *coroutine, const PyGetSetDef *attribute) /* new reference */
{
    return attribute->get(coroutine, attribute->closure);
}

bool
is_suspended(PyObject *coroutine)
{
    PyObject *told = get(coroutine, told_by(coroutine)->suspended);
    bool result = told == Py_True;
    if (told == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(told);
    return result;
}

PyObject *
awaited_by(PyObject *coroutine)
{
    return get(coroutine, told_by(coroutine)->awaited);
}

int
has_frame(PyObject *coroutine)
{
    PyObject *frame = get(coroutine, told_by(coroutine)->frame);
    int result = frame == NULL ? -1 : frame != Py_None;
    Py_XDECREF(frame);
    return result;
}

static int64_t
offset_in_frame_object(PyObject *coroutine)
{
    PyObject *frame = get(coroutine, told_by(coroutine)->frame);
    int64_t offset = -1;
    if (frame != NULL && PyFrame_Check(frame)) {
        offset = PyFrame_GetLasti((PyFrameObject *)frame);
    }
    else if (frame != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a coroutine that is suspended has no frame");
    }
    Py_XDECREF(frame);
    return offset;
}

#if PY_VERSION_HEX >= 0x030C0000

int64_t
offset_of(PyObject *coroutine)
{
    if (!frames_are_known) {
        return offset_in_frame_object(coroutine);
    }
    return PyUnstable_InterpreterFrame_GetLasti(frame_of_coroutine(coroutine));
}

#else

/* The beginning of CPython 3.11's frames, which no other version has: they lie inside the coroutine. Its API gives none of
 * it, so the first offsets are asked for both ways; should they differ, they are asked for the other way ever after. */
typedef struct {
    void *function, *globals, *builtins, *locals, *code, *object, *previous;
    char *last_instruction;
} Frame311;

enum { COMPARISONS = 16 };
static int compared;
static bool differ;

static int64_t
offset_in_frame(PyObject *coroutine)
{
    PyGenObject *generator = (PyGenObject *)coroutine;
    const Frame311 *frame = (const Frame311 *)generator->gi_iframe;
    return frame->last_instruction - generator->gi_code->co_code_adaptive;
}

int64_t
offset_of(PyObject *coroutine)
{
    if (!differ && compared >= COMPARISONS) {
        return offset_in_frame(coroutine);
    }
    int64_t offset = offset_in_frame_object(coroutine);
    if (offset >= 0) {
        compared++;
        differ = differ || offset_in_frame(coroutine) != offset;
    }
    return offset;
}

#endif
