"""Turn execution into events: shims on the loop, callbacks of sys.monitoring, wrappers where there is nothing else."""
