"""Traces as OpenTelemetry spans."""
