"""What it costs: arithmetic on prices and times. Unknown stays unknown; it is never counted as nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

# EC2 bills Linux by the second, with a minimum of 60 s: https://aws.amazon.com/ec2/pricing/on-demand/
MINIMUM_SECONDS = 60


def total(prices: Iterable[Decimal | None]) -> Decimal | None:
    """Add prices up; one unknown price makes the sum unknown."""
    found = list(prices)
    return None if None in found else sum((price for price in found if price is not None), Decimal(0))


def spent(per_hour: Decimal | None, since: datetime | None, now: datetime) -> Decimal | None:
    """Return the dollars that one machine has cost.

    :param per_hour: USD per hour, disks included.
    :param since: when it was launched.
    """
    if per_hour is None or since is None:
        return None
    seconds = max(MINIMUM_SECONDS, (now - since).total_seconds())
    return per_hour * Decimal(str(seconds)) / 3600


def of_seconds(per_hour: Decimal | None, seconds: float) -> Decimal | None:
    """Return the dollars for a stretch of time, without the minimum that a whole machine has."""
    return None if per_hour is None else per_hour * Decimal(str(seconds)) / 3600
