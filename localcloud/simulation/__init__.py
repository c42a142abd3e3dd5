"""The embedded cloud in one process, in virtual time."""
