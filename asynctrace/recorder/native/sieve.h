/* The type Sieve: see sieve.c. */

#ifndef ASYNCTRACE_SIEVE_H
#define ASYNCTRACE_SIEVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

extern PyTypeObject Sieve_Type;

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
