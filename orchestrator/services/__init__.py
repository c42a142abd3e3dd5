"""Use cases, each independent of the others."""
