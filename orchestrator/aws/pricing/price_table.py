"""What machines and disks cost: a dated table. What it does not hold is unknown, and unknown is never zero.

Source: AWS price list, on demand, Linux, us-east-1, July 2026. US West (Oregon, us-west-2) lists the same prices for
these types and disks; for every other region this module knows nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

SOURCE = "price list of 2026-07, us-east-1"
SAME_PRICE = {"us-east-1": SOURCE, "us-west-2": f"{SOURCE} (us-west-2 is the same)"}
HOURS_PER_MONTH = Decimal(730)  # AWS's own month on price pages

_USD_PER_HOUR = {
    name: Decimal(usd)
    for name, usd in {
        "c5.2xlarge": "0.34",
        "c7i.2xlarge": "0.357",
        "m7i.2xlarge": "0.4032",
        "g4dn.xlarge": "0.526",
        "g6.xlarge": "0.8048",
        "g5.xlarge": "1.006",
        "g6e.xlarge": "1.861",
        "g6.12xlarge": "4.602",
        "g5.12xlarge": "5.672",
        "p4d.24xlarge": "21.958",
        "p5.4xlarge": "6.88",
        "p5.48xlarge": "55.04",
    }.items()
}

_USD_PER_GB_MONTH = {"gp3": Decimal("0.08"), "gp2": Decimal("0.10"), "io2": Decimal("0.125")}
_USD_PER_IOPS_MONTH = {"io2": Decimal("0.065")}
_FIRST_TIER = 32_000  # IOPS beyond cost less, by figures not in this table
_GP3_INCLUDED_IOPS = 3000
_GP3_INCLUDED_MIB_S = 125


class DiskLike(Protocol):
    """What a disk's price depends on: ``size`` in GiB, ``iops`` and ``throughput`` (MiB/s; 0 is the type's default)."""

    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def iops(self) -> int: ...  # noqa: D102
    @property
    def throughput(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Price:
    """A price and where it comes from.

    :param usd: US dollars per hour.
    :param source: for instance ``price list of 2026-07, us-east-1``.
    """

    usd: Decimal
    source: str


def per_hour(instance_type: str, region: str) -> Price | None:
    """Return what one running machine costs per hour without its disk; None when unknown."""
    usd = _USD_PER_HOUR.get(instance_type)
    return Price(usd, SAME_PRICE[region]) if usd is not None and region in SAME_PRICE else None


def disk_per_hour(disk: DiskLike, region: str) -> Price | None:
    """Return what one disk costs per hour, used or not; None when unknown.

    GB-months spread over 730 hours. IOPS and throughput beyond what gp3 includes have no figure here, so such a
    disk's price is unknown.
    """
    per_gb = _USD_PER_GB_MONTH.get(disk.type)
    if per_gb is None or region not in SAME_PRICE:
        return None
    month = usd_per_month(disk, per_gb, _USD_PER_IOPS_MONTH.get(disk.type), None)
    return None if month is None else Price(month / HOURS_PER_MONTH, SAME_PRICE[region])


def usd_per_month(
    disk: DiskLike, per_gib: Decimal | None, per_iops: Decimal | None, per_mib_s: Decimal | None
) -> Decimal | None:
    """Return USD per month of a disk by the prices of its parts; None when it needs one that is unknown."""
    if disk.type in ("io1", "io2") and not 0 < disk.iops <= _FIRST_TIER:
        return None
    iops = disk.iops if disk.type in ("io1", "io2") else max(0, disk.iops - _GP3_INCLUDED_IOPS)
    parts = [(disk.size, per_gib), (iops, per_iops), (max(0, disk.throughput - _GP3_INCLUDED_MIB_S), per_mib_s)]
    if any(amount and price is None for amount, price in parts):
        return None
    return sum((amount * price for amount, price in parts if price is not None), Decimal(0))


class Prices:
    """Where prices are looked up: this one in the table alone."""

    def per_hour(self, instance_type: str, region: str) -> Price | None:
        """Return what one running machine costs per hour without its disk; None when unknown. Asks nobody."""
        return per_hour(instance_type, region)

    def disk_per_hour(self, disk: DiskLike, region: str) -> Price | None:
        """Return what one disk costs per hour, used or not; None when unknown. Asks nobody."""
        return disk_per_hour(disk, region)

    def spot_per_hour(self, instance_type: str, zone: str) -> Price | None:
        """Return what one spot machine costs per hour now, without its disk; None when unknown. Asks nobody."""

    def refresh_spot(self, instance_types: Collection[str]) -> None:
        """Bring spot prices up to date where that can be done within seconds."""

    def refresh(self, instance_types: Collection[str], disk_types: Collection[str] = ()) -> None:
        """Bring prices up to date where that can be done within seconds."""


TABLE = Prices()
