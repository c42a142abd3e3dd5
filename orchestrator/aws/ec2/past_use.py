"""Billed time of an instance before its last start, kept in a tag: EC2 shows the last start and the last stop only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START_SLACK = timedelta(seconds=300)
"""How long after its tag a start may take place: the request may be repeated, and clocks differ."""

_INEXACT = ">"


@dataclass(frozen=True)
class PastUse:
    """Time that an instance was running before its last start.

    :param seconds: as billed, the minimum per start included.
    :param created_at: time of its launch.
    :param stopped_at: time of the stop up to which it is counted.
    :param started_at: time of the start that followed.
    :param is_exact: False if it may have been running for longer.
    """

    seconds: int
    created_at: datetime
    stopped_at: datetime
    started_at: datetime
    is_exact: bool = True

    @property
    def tag_value(self) -> str:
        """Value of the tag."""
        times = [f"{time.timestamp():.0f}" for time in (self.created_at, self.stopped_at, self.started_at)]
        return f"{'' if self.is_exact else _INEXACT}{self.seconds} {' '.join(times)}"

    @classmethod
    def from_tag(cls, value: str) -> PastUse | None:
        """Return the record of a `tag_value`; None for any other text."""
        try:
            seconds, *times = map(int, value.removeprefix(_INEXACT).split())
            created_at, stopped_at, started_at = (datetime.fromtimestamp(time, UTC) for time in times)
        except (ValueError, OverflowError, OSError):
            return None
        return cls(seconds, created_at, stopped_at, started_at, not value.startswith(_INEXACT))

    def precedes(self, launched_at: datetime) -> bool:
        """Return True if it is the time before this start; False if another start followed that no tag counts."""
        return -START_SLACK <= launched_at - self.started_at <= START_SLACK
