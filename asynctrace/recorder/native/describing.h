/* What events mention: the type that module.c adds to the module. */

#ifndef ASYNCTRACE_DESCRIBING_H
#define ASYNCTRACE_DESCRIBING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Add the type Scanner to the module; return -1 on an error. */
int add_scanner(PyObject *module);

#endif
