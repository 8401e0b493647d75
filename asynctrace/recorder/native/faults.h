/* Whether a place that can fail is to fail now, for a test; MemoryError is set then. See faults.c. */

#ifndef ASYNCTRACE_FAULTS_H
#define ASYNCTRACE_FAULTS_H

#include <stdbool.h>

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

extern bool faults_are_on;
bool fails_here(void);

static inline bool
fault(void)
{
    return faults_are_on && fails_here();
}

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
