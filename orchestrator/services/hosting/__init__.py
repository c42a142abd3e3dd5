"""Use cases on endpoints and batch transforms."""
