/* What the native core asks of the interpreter: the GIL, and to be the main one. */

#ifndef ASYNCTRACE_INTERPRETER_H
#define ASYNCTRACE_INTERPRETER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef Py_GIL_DISABLED
#error "the native core relies on the GIL: on a free-threaded build asynctrace uses its Python core"
#endif

/* To be called when a module is executed; -1 and an ImportError in any interpreter but the main one. */
static inline int
require_main_interpreter(void)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the native core works in the main interpreter only");
        return -1;
    }
    return 0;
}

#endif
