"""Dated table of prices. A price that is not in the table is unknown; unknown is never zero.

Source: AWS price list, on demand, Linux, us-east-1, July 2026. The prices of these types and disks in us-west-2 are the
same; the table has no other regions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

SOURCE = "price list of 2026-07, us-east-1"
SAME_PRICE = {"us-east-1": SOURCE, "us-west-2": f"{SOURCE} (us-west-2 is the same)"}
HOURS_PER_MONTH = Decimal(730)  # the month of AWS's price pages

_USD_PER_HOUR = {
    name: Decimal(usd)
    for name, usd in {
        "t3.nano": "0.0052",
        "t3.micro": "0.0104",
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
PUBLIC_ADDRESS_USD_PER_HOUR = Decimal("0.005")
"""For each public IPv4 address, in every region: https://aws.amazon.com/vpc/pricing/"""

_SNAPSHOT_USD_PER_GIB_MONTH = Decimal("0.05")  # https://aws.amazon.com/ebs/pricing/, standard tier

_FIRST_TIER = 32_000  # IOPS; further tiers cost less, and are not in the table
_GP3_INCLUDED_IOPS = 3000
_GP3_INCLUDED_MIB_S = 125


class DiskLike(Protocol):
    """Properties of a disk that determine its price.

    Size in GiB, throughput in MiB/s; 0 IOPS or throughput is the default of the type.
    """

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
    """A price and its source.

    :param usd: US dollars per hour.
    :param source: such as ``price list of 2026-07, us-east-1``.
    """

    usd: Decimal
    source: str


def per_hour(instance_type: str, region: str) -> Price | None:
    """Return the price per hour of one running instance without its disk; None if unknown."""
    usd = _USD_PER_HOUR.get(instance_type)
    return Price(usd, SAME_PRICE[region]) if usd is not None and region in SAME_PRICE else None


def disk_per_hour(disk: DiskLike, region: str) -> Price | None:
    """Return the price per hour of one disk, in use or not; None if unknown.

    The price of a GB-month divided by 730 hours. The table has no price for IOPS and throughput beyond those included
    with gp3, so the price of such a disk is unknown.
    """
    per_gb = _USD_PER_GB_MONTH.get(disk.type)
    if per_gb is None or region not in SAME_PRICE:
        return None
    month = usd_per_month(disk, per_gb, _USD_PER_IOPS_MONTH.get(disk.type), None)
    return None if month is None else Price(month / HOURS_PER_MONTH, SAME_PRICE[region])


def snapshot_usd_per_gib_month(region: str) -> Decimal | None:
    """Return the price of a snapshot per GiB of data and month; None if unknown."""
    return _SNAPSHOT_USD_PER_GIB_MONTH if region in SAME_PRICE else None


_FILE_SYSTEM_USD_PER_GB_MONTH = {"efs": Decimal("0.30"), "lustre": Decimal("0.140")}
# EFS bills elastic throughput besides: https://aws.amazon.com/efs/pricing/; Lustre: scratch, SSD.
EFS_USD_PER_GB_READ, EFS_USD_PER_GB_WRITTEN = Decimal("0.03"), Decimal("0.06")
CROSS_ZONE_USD_PER_GB = Decimal("0.01")
"""In each direction, between instances or file systems in two zones: https://aws.amazon.com/ec2/pricing/on-demand/"""


def file_system_usd_per_month(kind: str, size_gib: float) -> Decimal:
    """Return USD per month of a shared file system of a size: ``efs`` (what it holds) or ``lustre`` (scratch)."""
    return _FILE_SYSTEM_USD_PER_GB_MONTH[kind] * Decimal(str(size_gib))


def usd_per_month(
    disk: DiskLike, per_gib: Decimal | None, per_iops: Decimal | None, per_mib_s: Decimal | None
) -> Decimal | None:
    """Return the price of a disk in USD per month.

    :param per_gib: USD per GiB and month; None if unknown, as the other prices.
    :param per_iops: USD per provisioned IOPS and month.
    :param per_mib_s: USD per MiB/s and month.
    :return: None if the disk has a part of unknown price.
    """
    if disk.type in ("io1", "io2") and not 0 < disk.iops <= _FIRST_TIER:
        return None
    # io1 and io2 bill every IOPS, gp3 only those beyond the included ones.
    iops = disk.iops if disk.type in ("io1", "io2") else max(0, disk.iops - _GP3_INCLUDED_IOPS)
    parts = [(disk.size, per_gib), (iops, per_iops), (max(0, disk.throughput - _GP3_INCLUDED_MIB_S), per_mib_s)]
    if any(amount and price is None for amount, price in parts):
        return None
    return sum((amount * price for amount, price in parts if price is not None), Decimal(0))


class Prices(Protocol):
    """Source of prices. Lookups make no API call; refreshing does, where the source has any."""

    def per_hour(self, instance_type: str, region: str) -> Price | None:
        """Return the price per hour of one running instance without its disk; None if unknown."""

    def disk_per_hour(self, disk: DiskLike, region: str) -> Price | None:
        """Return the price per hour of one disk; None if unknown."""

    def spot_per_hour(self, instance_type: str, zone: str) -> Price | None:
        """Return the current spot price per hour of one instance without its disk; None if unknown."""

    def refresh(self, instance_types: Collection[str], disk_types: Collection[str] = ()) -> None:
        """Update outdated prices, as far as that takes seconds."""

    def refresh_spot(self, instance_types: Collection[str]) -> None:
        """Update outdated spot prices, as far as that takes seconds."""


class PriceTable:
    """Prices of this module's table alone."""

    def per_hour(self, instance_type: str, region: str) -> Price | None:
        """Return the price per hour of one running instance without its disk; None if unknown."""
        return per_hour(instance_type, region)

    def disk_per_hour(self, disk: DiskLike, region: str) -> Price | None:
        """Return the price per hour of one disk; None if unknown."""
        return disk_per_hour(disk, region)

    def spot_per_hour(self, instance_type: str, zone: str) -> Price | None:
        """Return None: spot prices change by the hour."""

    def refresh(self, instance_types: Collection[str], disk_types: Collection[str] = ()) -> None:
        """Do nothing."""

    def refresh_spot(self, instance_types: Collection[str]) -> None:
        """Do nothing."""


TABLE: Prices = PriceTable()
