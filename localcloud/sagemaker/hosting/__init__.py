"""Hosting: models, endpoints that serve them as processes, their invocations, and batch transforms."""
