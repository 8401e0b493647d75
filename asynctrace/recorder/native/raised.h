/* An exception put aside while a hook has its say, so that the hook never touches it. */

#ifndef ASYNCTRACE_RAISED_H
#define ASYNCTRACE_RAISED_H

#include "native.h"

typedef struct {
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *error;
#else
    PyObject *type, *value, *traceback;
#endif
} Raised;

static inline Raised
put_aside(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return (Raised){PyErr_GetRaisedException()};
#else
    Raised raised;
    PyErr_Fetch(&raised.type, &raised.value, &raised.traceback);
    return raised;
#endif
}

static inline void
take_back(Raised raised)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(raised.error);
#else
    PyErr_Restore(raised.type, raised.value, raised.traceback);
#endif
}

/* Let it go: another one comes in its place. */
static inline void
drop_raised(Raised raised)
{
#if PY_VERSION_HEX >= 0x030C0000
    Py_XDECREF(raised.error);
#else
    Py_XDECREF(raised.type);
    Py_XDECREF(raised.value);
    Py_XDECREF(raised.traceback);
#endif
}

/* Its type, borrowed; NULL if none was set. */
static inline PyTypeObject *
type_of_raised(const Raised *raised)
{
#if PY_VERSION_HEX >= 0x030C0000
    return raised->error != NULL ? Py_TYPE(raised->error) : NULL;
#else
    return (PyTypeObject *)raised->type;
#endif
}

/* The exception itself, borrowed; NULL if none was set. */
static inline PyObject *
value_of_raised(Raised *raised)
{
#if PY_VERSION_HEX >= 0x030C0000
    return raised->error;
#else
    if (raised->type != NULL) {
        PyErr_NormalizeException(&raised->type, &raised->value, &raised->traceback);
        if (raised->value != NULL && raised->traceback != NULL) {
            PyException_SetTraceback(raised->value, raised->traceback);
        }
    }
    return raised->value;
#endif
}

#endif
