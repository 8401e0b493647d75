"""The clocks of a recording, in integer nanoseconds.

The monotonic clock is one for the whole machine (CLOCK_MONOTONIC), so that the parts of a recording which several
processes write merge without guessing.
"""

import time

now_ns = time.monotonic_ns
wall_ns = time.time_ns
thread_cpu_ns = time.thread_time_ns
