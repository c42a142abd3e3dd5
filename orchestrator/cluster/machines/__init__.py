"""Machines of a launch beyond type and zone: their placement, and what helps where there is no capacity."""
