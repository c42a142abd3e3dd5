"""Seconds per phase before a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Timings(Protocol):
    """Seconds per phase before a run."""

    def read(self, job: str) -> Mapping[str, float]:
        """Return seconds per phase, the installs of one job among them."""
        ...

    def record_install(self, job: str, seconds: float) -> None:
        """Add the duration of an install of a job."""
        ...
