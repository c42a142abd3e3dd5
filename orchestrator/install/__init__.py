"""Bringing hosts to where a job can run."""
