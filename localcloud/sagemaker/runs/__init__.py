"""Training jobs as they are executed."""
