"""Use cases on machines: baked images."""
