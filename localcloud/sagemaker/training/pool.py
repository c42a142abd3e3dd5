"""State of a warm pool, as DescribeTrainingJob returns it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass
class WarmPool:
    """Instances of a job that has ended.

    :param keep_s: time for which they are kept after its end.
    """

    status: str
    keep_s: float
    since: datetime | None = None
    until: datetime | None = None
    reused_by: str = ""

    def describe(self) -> dict[str, Any]:
        """Return WarmPoolStatus; the billed time is known when the pool has ended."""
        seconds = math.ceil((self.until - self.since).total_seconds()) if self.since and self.until else None
        fields = {
            "Status": self.status,
            "ResourceRetainedBillableTimeInSeconds": seconds,
            "ReusedByJob": self.reused_by or None,
        }
        return {name: value for name, value in fields.items() if value is not None}
