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


@dataclass(frozen=True)
class Amount:
    """An amount of money that may not be known exactly.

    :param at_least: USD.
    :param at_most: USD; None without an upper bound, or if a price is unknown.
    """

    at_least: Decimal = Decimal(0)
    at_most: Decimal | None = Decimal(0)

    @property
    def exact(self) -> Decimal | None:
        """The amount in USD; None if it is not known exactly."""
        return self.at_least if self.at_least == self.at_most else None

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.at_least + other.at_least, total([self.at_most, other.at_most]))


NOTHING = Amount()
UNKNOWN = Amount(Decimal(0), None)


def exactly(usd: Decimal | None) -> Amount:
    """Return an amount that is known; `UNKNOWN` for None."""
    return UNKNOWN if usd is None else Amount(usd, usd)


def billed_s(began: datetime, end: datetime) -> float:
    """Return the seconds that EC2 bills for a period in which an instance was running."""
    return max(MINIMUM_BILLED_S, (end - began).total_seconds())


@dataclass(frozen=True)
class Bill:
    """Cost of a run: its own time on its VMs.

    :param billed_seconds: over all VMs.
    :param vms_usd: for the VMs; None if a price is unknown.
    :param disks_usd: for their disks in that time; None if a price is unknown.
    :param spot: share of spot VMs: ``yes`` (all), ``partly``, ``no``.
    :param addresses_usd: for their public IPv4 addresses in that time.
    :param unit: what was billed instead of VMs, with its disks: ``instance`` or ``job`` of a managed service.
    :param count: how many of these; 0 for VMs.
    """

    billed_seconds: float
    vms_usd: Decimal | None
    disks_usd: Decimal | None
    spot: str = "no"
    addresses_usd: Decimal | None = Decimal(0)
    unit: str = "VM"
    count: int = 0

    @property
    def total(self) -> Decimal | None:
        """USD; None if any part is unknown."""
        return total([self.vms_usd, self.disks_usd, self.addresses_usd])


UNKNOWN_BILL = Bill(0.0, None, None, addresses_usd=None)
"""Cost of a run of unknown duration."""

_SMALLEST = Decimal("0.0001")


def decimals(usd: Decimal | None) -> str | None:
    """Return an amount as text with two to four decimals: ``0.0213``, ``5.84``, ``0.10``; None stays None."""
    if usd is None:
        return None
    # 0.00 would read as free of charge.
    text = f"{max(usd, _SMALLEST) if usd else usd:.4f}"
    return text[:-2] + text[-2:].rstrip("0")


def to_record(bill: Bill) -> dict[str, object]:
    """Return a bill as stored in the record of a run, with units in the keys."""
    return {
        "billed_seconds": bill.billed_seconds,
        "machines_usd": decimals(bill.vms_usd),
        "disks_usd": decimals(bill.disks_usd),
        "addresses_usd": decimals(bill.addresses_usd),
        "spot": bill.spot,
    }


def cost_for(per_hour: Decimal | None, seconds: float) -> Decimal | None:
    """Return the cost of a period, USD, without the minimum that EC2 bills per launch; None if unknown."""
    # By way of str: Decimal(float) would bring binary digits into an amount of money.
    return None if per_hour is None else per_hour * Decimal(str(seconds)) / 3600
