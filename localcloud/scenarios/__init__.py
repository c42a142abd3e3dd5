"""Fault scenarios as values: their files, the kinds of faults, and when and where each fault applies."""
