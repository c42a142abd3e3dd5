"""The embedded cloud within one process, in virtual time."""
