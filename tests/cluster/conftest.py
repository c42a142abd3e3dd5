"""Fixtures of the tests of one cluster, on a simulated cloud."""

from __future__ import annotations

from tests.support.simulated_project import simulate

__all__ = ["simulate"]
