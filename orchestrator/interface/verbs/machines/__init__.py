"""Verbs on machines."""
