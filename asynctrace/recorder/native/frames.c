/* Frames of coroutines by address, without making frame objects: those cost more than all that is recorded of a coroutine.
 *
 * CPython keeps a coroutine's frame inside the coroutine object, at one address as long as it lives. How to get there is
 * not part of its API, but was the same from 3.12 to 3.15; so it is tried when the module is imported, on coroutines that
 * await each other. Where it turns out otherwise, `frames_are_known` stays false, and the callbacks of sys.monitoring are
 * the reference's.
 */

#include "native.h"

#include <stddef.h>

bool frames_are_known;

static ptrdiff_t offset_in_coroutine;

#if PY_VERSION_HEX >= 0x030C0000

static int tries, right; /* of learn_frames */

Frame *
frame_before(Frame *frame)
{
    return ((Frame **)frame)[1];
}

Frame *
frame_of_object(PyObject *object)
{
    return ((Frame **)((char *)object + sizeof(PyObject)))[1];
}

Frame *
frame_of_coroutine(void *coroutine)
{
    return (Frame *)((char *)coroutine + offset_in_coroutine);
}

/* try_frames(coroutine, its frame object, that of its awaiter or None): called inside a coroutine. */
static PyObject *
try_frames(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *coroutine, *object, *awaiter;
    if (!PyArg_ParseTuple(args, "OOO", &coroutine, &object, &awaiter)) {
        return NULL;
    }
    Frame *frame = frame_of_thread(PyThreadState_Get());
    ptrdiff_t offset = (char *)frame - (char *)coroutine;
    if (tries++ == 0) {
        offset_in_coroutine = offset;
    }
    bool is_right = PyCoro_CheckExact(coroutine) && PyFrame_Check(object) && offset == offset_in_coroutine &&
                    offset > 0 && offset < 1024 && frame_of_object(object) == frame;
    if (is_right && awaiter != Py_None) {
        Frame *before = frame_before(frame);
        is_right = before == frame_of_object(awaiter) || frame_before(before) == frame_of_object(awaiter);
    }
    right += is_right;
    Py_RETURN_NONE;
}

static const char program[] = "import sys\n"
                              "async def inner(mine, outer):\n"
                              "    try_frames(mine[0], sys._getframe(), outer)\n"
                              "async def outer(mine):\n"
                              "    try_frames(mine[0], sys._getframe(), None)\n"
                              "    for _ in range(3):\n"
                              "        own = []\n"
                              "        own.append(inner(own, sys._getframe()))\n"
                              "        await own[0]\n"
                              "for _ in range(3):\n"
                              "    mine = []\n"
                              "    mine.append(outer(mine))\n"
                              "    try:\n"
                              "        mine[0].send(None)\n"
                              "    except StopIteration:\n"
                              "        pass\n";

int
learn_frames(void)
{
    static PyMethodDef method = {"try_frames", try_frames, METH_VARARGS, NULL};
    if (tries > 0) {
        return 0;
    }
    PyObject *function = PyCFunction_New(&method, NULL), *names = PyDict_New(), *ran = NULL;
    if (function != NULL && names != NULL && PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) == 0 &&
        PyDict_SetItemString(names, "try_frames", function) == 0) {
        ran = PyRun_String(program, Py_file_input, names, names);
    }
    frames_are_known = ran != NULL && right == tries && tries == 12;
    Py_XDECREF(ran);
    Py_XDECREF(names);
    Py_XDECREF(function);
    return ran == NULL ? -1 : 0;
}

#else /* CPython 3.11 has no sys.monitoring that would ask for frames */

int
learn_frames(void)
{
    (void)offset_in_coroutine;
    return 0;
}

Frame *
frame_of_object(PyObject *object)
{
    return (Frame *)object;
}

#endif

/* frame_key(frame): what stands for the coroutine of a frame object in the tables. */
PyObject *
frame_key(PyObject *Py_UNUSED(module), PyObject *frame)
{
    return PyFrame_Check(frame) ? PyLong_FromVoidPtr(frame_of_object(frame)) : PyLong_FromLong(0);
}
