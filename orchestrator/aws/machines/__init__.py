"""Machines beyond type and zone: baked images, reserved capacity, placement."""
