"""Managed resources: what is billed for a cluster besides running instances; found, priced and ended."""
