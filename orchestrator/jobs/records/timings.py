"""Seconds per phase before a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Timings(Protocol):
    """Seconds per phase before a run."""

    def read(self, job: str) -> Mapping[str, float]:
        """Return seconds per phase, the installs of one job among them."""
        ...

    def by_host(self, job: str) -> Mapping[str, Mapping[str, float]]:
        """Return host -> seconds per phase of the last launch, and of the installs of one job."""
        ...

    def record_install(self, job: str, seconds: float, by_host: Mapping[str, float]) -> None:
        """Add the duration of an install of a job.

        :param by_host: seconds on each host.
        """
        ...
