"""Events become a Trace: tasks with their states, coroutines, calls, jobs, loops, threads and processes."""
