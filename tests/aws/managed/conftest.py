"""Fixtures of all tests of managed resources."""

from __future__ import annotations

from tests.support.simulated_project import simulate

__all__ = ["simulate"]
