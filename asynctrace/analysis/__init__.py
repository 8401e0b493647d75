"""Pure functions from a Trace to numbers and findings."""
