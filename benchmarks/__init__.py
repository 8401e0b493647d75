"""What tracing costs, as ratios to the same program untraced: `python -m benchmarks`."""
