/* The clock of a recording: one for the whole machine, so that the parts of several processes merge. */

#include "native.h"

#include <time.h>

int64_t
now_ns(void)
{
#if defined(CLOCK_MONOTONIC) && !defined(__APPLE__)
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#elif PY_VERSION_HEX >= 0x030D0000
    PyTime_t now = 0; /* what time.monotonic_ns() tells on systems with other clocks */
    PyTime_MonotonicRaw(&now);
    return now;
#else
    return _PyTime_GetMonotonicClock();
#endif
}
