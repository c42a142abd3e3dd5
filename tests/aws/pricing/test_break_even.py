"""Buying against renting, by figures that were worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.aws.pricing.break_even import BreakEven, OwnComputer, Rental, Use
from tests.support.interface.rendered import rendered

# 500 W at 0.20 USD/kWh are 0.10 USD an hour; 2 h a day are 730.5 h a year.
OWN = OwnComputer(Decimal(2000), Decimal(500), Decimal("0.20"))
USE = Use(Decimal(2), Decimal(4))
ON_DEMAND, SPOT = Rental("on demand", Decimal("1.10")), Rental("spot", Decimal("0.35"))


def test_an_own_computer_costs_its_price_and_the_electricity_of_its_hours() -> None:
    assert OWN.total_usd(USE) == Decimal("2292.20")


def test_a_vm_costs_its_hours() -> None:
    assert ON_DEMAND.usd_per_year(USE) == Decimal("803.55")
    assert ON_DEMAND.total_usd(USE) == Decimal("3214.20")


def test_buying_pays_when_what_it_saves_has_reached_the_price() -> None:
    years = ON_DEMAND.years_to_break_even(OWN, USE)
    hours = ON_DEMAND.hours_to_break_even(OWN, USE)

    assert years is not None
    assert hours is not None
    assert years == pytest.approx(Decimal(2000) / Decimal("730.5"))
    assert OWN.total_usd(Use(USE.hours_per_day, years)) == pytest.approx(
        ON_DEMAND.total_usd(Use(USE.hours_per_day, years))
    )
    assert OWN.total_usd(Use(hours, USE.years)) == pytest.approx(ON_DEMAND.total_usd(Use(hours, USE.years)))


@pytest.mark.parametrize("usd_per_hour", ["0.10", "0.05", None])
def test_renting_for_less_than_the_electricity_or_at_an_unknown_price_never_breaks_even(
    usd_per_hour: str | None,
) -> None:
    rental = Rental("spot", None if usd_per_hour is None else Decimal(usd_per_hour))

    assert rental.years_to_break_even(OWN, USE) is None
    assert rental.hours_to_break_even(OWN, USE) is None


def test_no_day_has_more_than_24_hours() -> None:
    assert Rental("spot", Decimal("0.11")).hours_to_break_even(OWN, USE) is None


def test_the_answer_is_a_table_with_bars_and_a_line_per_market() -> None:
    answer = BreakEven("g5.xlarge", "us-west-2", "table", OWN, USE, (ON_DEMAND, SPOT), Decimal("64.29"))

    assert rendered(answer) == [
        "  2 h a day for 4 years: a computer of $2,000.00, or g5.xlarge in us-west-2",
        "  own        $2,000.00  $73.05/year   $2,292.20  ##############",
        "  on demand  $1.100/h   $803.55/year  $3,214.20  ####################",
        "  spot       $0.350/h   $255.68/year  $1,022.70  ######",
        "  On demand: buying costs less after 2.7 years of this use; within 4 years from 1.4 h a day on.",
        "  Spot: buying costs less after 11.0 years of this use; within 4 years from 5.5 h a day on.",
        "  Rented VMs are terminated after use; stopped ones cost $64.29 a year more, for their disk.",
        "  500 W at $0.20/kWh. Not included: data transfer, repairs, resale, and other speed of the own computer.",
    ]


def test_an_unknown_price_is_unknown_and_a_cheap_one_never_loses() -> None:
    rentals = (Rental("on demand", None), Rental("spot", Decimal("0.08")))
    lines = rendered(BreakEven("g5.xlarge", "us-west-2", "", OWN, USE, rentals, None))

    assert "  on demand  price unknown" in lines
    assert "  Spot: renting costs less, however long the computer is used." in lines
    assert (
        "  Rented VMs are terminated after use; stopped ones cost price unknown a year more, for their disk." in lines
    )
