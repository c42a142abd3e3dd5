"""Compare the cost of an own computer with that of VMs of the same hours of use."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

DAYS_PER_YEAR = Decimal("365.25")
HOURS_PER_DAY = Decimal(24)


@dataclass(frozen=True)
class Use:
    """Amount of use that the costs are compared for."""

    hours_per_day: Decimal
    years: Decimal

    @property
    def hours_per_year(self) -> Decimal:
        """Hours of use in a year."""
        return self.hours_per_day * DAYS_PER_YEAR


@dataclass(frozen=True)
class OwnComputer:
    """A computer that is bought.

    :param usd: purchase price.
    :param watts: power that it draws while it is used.
    :param usd_per_kwh: price of electricity.
    """

    usd: Decimal
    watts: Decimal
    usd_per_kwh: Decimal

    @property
    def usd_per_hour(self) -> Decimal:
        """Electricity of an hour of use."""
        return self.watts / 1000 * self.usd_per_kwh

    def total_usd(self, use: Use) -> Decimal:
        """Return the purchase price and the electricity of all years."""
        return self.usd + self.usd_per_hour * use.hours_per_year * use.years


@dataclass(frozen=True)
class Rental:
    """VMs that exist only while they are used, in one market.

    :param market: ``on demand`` or ``spot``.
    :param usd_per_hour: of a running VM with its disk and its address; None if a price is unknown.
    """

    market: str
    usd_per_hour: Decimal | None

    def usd_per_year(self, use: Use) -> Decimal | None:
        """Return the cost of a year of use; None if it is unknown."""
        return None if self.usd_per_hour is None else self.usd_per_hour * use.hours_per_year

    def total_usd(self, use: Use) -> Decimal | None:
        """Return the cost of all years; None if it is unknown."""
        per_year = self.usd_per_year(use)
        return None if per_year is None else per_year * use.years

    def years_to_break_even(self, own: OwnComputer, use: Use) -> Decimal | None:
        """Return the years after which an own computer has cost less.

        :return: None if it never does, or if the price is unknown.
        """
        saved_usd = self._saved_usd_per_hour(own) * use.hours_per_year
        return own.usd / saved_usd if saved_usd > 0 else None

    def hours_to_break_even(self, own: OwnComputer, use: Use) -> Decimal | None:
        """Return the hours of use per day from which on an own computer costs less over the years of ``use``.

        :return: None if it does not even if it is used all day, or if the price is unknown.
        """
        saved_usd = self._saved_usd_per_hour(own) * DAYS_PER_YEAR * use.years
        hours = own.usd / saved_usd if saved_usd > 0 else HOURS_PER_DAY + 1
        return hours if hours <= HOURS_PER_DAY else None

    def _saved_usd_per_hour(self, own: OwnComputer) -> Decimal:
        return Decimal(0) if self.usd_per_hour is None else self.usd_per_hour - own.usd_per_hour


@dataclass(frozen=True)
class BreakEven:
    """Cost of buying and of renting.

    :param instance_type: type of the VM that is rented.
    :param price_source: where the price of the VM is from; empty if it is unknown.
    :param rentals: on demand and spot.
    :param stopped_disk_usd_per_year: what the disk of a VM costs that is stopped between uses instead of terminated;
        None if unknown.
    """

    instance_type: str
    region: str
    price_source: str
    own: OwnComputer
    use: Use
    rentals: tuple[Rental, ...]
    stopped_disk_usd_per_year: Decimal | None
