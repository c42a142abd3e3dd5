"""What it costs: arithmetic on prices and times. Unknown stays unknown; it is never counted as nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

# EC2 bills Linux by the second, with a minimum of 60 s: https://aws.amazon.com/ec2/pricing/on-demand/
MINIMUM_SECONDS = 60


def total(prices: Iterable[Decimal | None]) -> Decimal | None:
    """Add prices up; one unknown price makes the sum unknown."""
    found = list(prices)
    return None if None in found else sum((price for price in found if price is not None), Decimal(0))


def cost_since(per_hour: Decimal | None, since: datetime | None, now: datetime) -> Decimal | None:
    """Return the dollars that one machine has cost.

    :param per_hour: USD per hour, disks included.
    :param since: when it was launched.
    """
    if per_hour is None or since is None:
        return None
    seconds = max(MINIMUM_SECONDS, (now - since).total_seconds())
    return per_hour * Decimal(str(seconds)) / 3600


@dataclass(frozen=True)
class Bill:
    """What a run cost: its own time on its machines.

    :param seconds: billed, over all machines.
    :param machines: USD; None when a price is unknown.
    :param disks: USD for their disks in that time; None when a price is unknown.
    :param spot: whether all, some or none of the machines were spot: ``yes``, ``partly``, ``no``.
    """

    billed_seconds: float
    vms_usd: Decimal | None
    disks_usd: Decimal | None
    spot: str = "no"

    @property
    def total(self) -> Decimal | None:
        """USD; None when any part is unknown."""
        return total([self.vms_usd, self.disks_usd])


def to_record(bill: Bill) -> dict[str, object]:
    """Return a bill as a record keeps it: seconds and dollars, each under a name that says which."""
    return {
        "billed_seconds": bill.billed_seconds,
        "machines_usd": bill.vms_usd,
        "disks_usd": bill.disks_usd,
        "spot": bill.spot,
    }


def cost_for(per_hour: Decimal | None, seconds: float) -> Decimal | None:
    """Return the dollars for a stretch of time, without the minimum that a whole machine has."""
    return None if per_hour is None else per_hour * Decimal(str(seconds)) / 3600
