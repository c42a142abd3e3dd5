"""Cost arithmetic on prices and times; an unknown price makes the result unknown, never zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

# EC2 bills Linux by the second, with a minimum of 60 s: https://aws.amazon.com/ec2/pricing/on-demand/
MINIMUM_BILLED_S = 60


def total(prices: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of prices; None if any of them is unknown."""
    amounts = list(prices)
    # The known part alone would understate the sum.
    return None if None in amounts else sum((amount for amount in amounts if amount is not None), Decimal(0))


def cost_since(per_hour: Decimal | None, since: datetime | None, now: datetime) -> Decimal | None:
    """Return the cost of one VM so far, USD; None if unknown.

    :param per_hour: USD per hour, disks included.
    :param since: its launch time.
    """
    if per_hour is None or since is None:
        return None
    seconds = max(MINIMUM_BILLED_S, (now - since).total_seconds())
    # By way of str: Decimal(float) would bring binary digits into an amount of money.
    return per_hour * Decimal(str(seconds)) / 3600


@dataclass(frozen=True)
class Bill:
    """Cost of a run: its own time on its VMs.

    :param billed_seconds: over all VMs.
    :param vms_usd: for the VMs; None if a price is unknown.
    :param disks_usd: for their disks in that time; None if a price is unknown.
    :param spot: share of spot VMs: ``yes`` (all), ``partly``, ``no``.
    """

    billed_seconds: float
    vms_usd: Decimal | None
    disks_usd: Decimal | None
    spot: str = "no"

    @property
    def total(self) -> Decimal | None:
        """USD; None if any part is unknown."""
        return total([self.vms_usd, self.disks_usd])


def to_record(bill: Bill) -> dict[str, object]:
    """Return a bill as stored in the record of a run, with units in the keys."""
    return {
        "billed_seconds": bill.billed_seconds,
        "machines_usd": bill.vms_usd,
        "disks_usd": bill.disks_usd,
        "spot": bill.spot,
    }


def cost_for(per_hour: Decimal | None, seconds: float) -> Decimal | None:
    """Return the cost of a period, USD, without the minimum that EC2 bills per launch; None if unknown."""
    return None if per_hour is None else per_hour * Decimal(str(seconds)) / 3600
