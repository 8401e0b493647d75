/* What happens when a hook fails: the guard stops the recording, and the program goes on (probes/failure.py). */

#include "native.h"

/* Tell the guard of the error that is set. Afterwards none is set, and the result is 0; but an error of the program's (a
 * signal's handler can raise inside our Python code) is set again, and the result is -1. */
int
failed(PyObject *guard)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *error = PyErr_GetRaisedException();
#else
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
#endif
    if (error == NULL) {
        return 0;
    }
    /* Without a traceback no Python code was under way: it was raised in this core. But where the program has left no room
     * on the stack, not even the first frame of ours is entered. */
    PyObject *traces = PyException_GetTraceback(error);
    bool is_own = traces == NULL && !PyErr_GivenExceptionMatches(error, PyExc_RecursionError);
    PyObject *result = NULL;
    if (guard != NULL && guard != Py_None) {
        result = PyObject_CallMethod(guard, is_own ? "check_own" : "check", "O", error);
    }
    else {
        PyErr_Clear(); /* nobody to be told: the recording has ended */
        result = Py_NewRef(Py_None);
    }
    Py_XDECREF(traces);
    Py_DECREF(error);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
failed_in(LoopState *probe)
{
    PyObject *guard = Py_XNewRef(probe->guard); /* stopping takes it off the probe */
    int result = failed(guard);
    Py_XDECREF(guard);
    return result;
}
