"""Amounts of money as documents, and the comparison of buying with renting as text and document."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from orchestrator.aws.pricing.break_even import BreakEven, OwnComputer, Rental, Use
from orchestrator.core.cost import Amount, Bill
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines

BAR_WIDTH = 20


@document.register(Amount)
def _(amount: Amount) -> Document:
    return {
        "at_least": document(amount.at_least),
        "at_most": document(amount.at_most),
    }


@document.register(Bill)
def _(bill: Bill) -> Document:
    return {
        "seconds": bill.billed_seconds,
        "machines": document(bill.vms_usd),
        "disks": document(bill.disks_usd),
        "spot": bill.spot,
        "addresses": document(bill.addresses_usd),
    }


@lines.register(BreakEven)
def _(answer: BreakEven, _now: datetime) -> Lines:
    own, use = answer.own, answer.use
    highest = max(total for total in (own.total_usd(use), *_totals(answer)) if total is not None)
    own_per_year = units.usd(own.usd_per_hour * use.hours_per_year)
    table = [
        ["own", units.usd(own.usd), f"{own_per_year}/year", *_total(own.total_usd(use), highest)],
        *(_rental(rental, answer, highest) for rental in answer.rentals),
    ]
    return [
        f"  {_plain(use.hours_per_day)} h a day for {_years(use.years)}: a computer of {units.usd(own.usd)}, "
        f"or {answer.instance_type} in {answer.region}",
        *units.columns(table),
        *(line for rental in answer.rentals for line in _verdict(rental, answer)),
        "  Rented VMs are terminated after use; stopped ones cost "
        f"{units.usd(answer.stopped_disk_usd_per_year)} a year more, for their disk.",
        f"  {_plain(own.watts)} W at ${own.usd_per_kwh}/kWh. Not included: data transfer, repairs, resale, and other "
        "speed of the own computer.",
    ]


def _totals(answer: BreakEven) -> list[Decimal | None]:
    return [rental.total_usd(answer.use) for rental in answer.rentals]


def _rental(rental: Rental, answer: BreakEven, highest: Decimal) -> list[str]:
    per_year = rental.usd_per_year(answer.use)
    if per_year is None:
        return [rental.market, units.UNKNOWN]
    total = _total(rental.total_usd(answer.use), highest)
    return [rental.market, units.unit_price(rental.usd_per_hour), f"{units.usd(per_year)}/year", *total]


def _total(usd: Decimal | None, highest: Decimal) -> list[str]:
    if usd is None or not highest:
        return [units.usd(usd)]
    return [units.usd(usd), "#" * max(1, round(BAR_WIDTH * usd / highest))]


def _verdict(rental: Rental, answer: BreakEven) -> Lines:
    if rental.usd_per_hour is None:
        return []
    market = f"  {rental.market.capitalize()}: "
    years = rental.years_to_break_even(answer.own, answer.use)
    if years is None:
        return [market + "renting costs less, however long the computer is used."]
    hours = rental.hours_to_break_even(answer.own, answer.use)
    from_hours = f"from {hours:.1f} h a day on" if hours is not None else "not even if it is used all day"
    within = f"within {_years(answer.use.years)} {from_hours}"
    return [f"{market}buying costs less after {years:.1f} years of this use; {within}."]


def _years(years: Decimal) -> str:
    return "1 year" if years == 1 else f"{_plain(years)} years"


def _plain(number: Decimal) -> str:
    return f"{float(number):g}"


@document.register(BreakEven)
def _(answer: BreakEven) -> Document:
    return {
        "instance_type": answer.instance_type,
        "region": answer.region,
        "price_source": answer.price_source,
        "use": document(answer.use),
        "own": {**document(answer.own), "usd_total": document(answer.own.total_usd(answer.use))},
        "rentals": [{**document(rental), **_comparison(rental, answer)} for rental in answer.rentals],
        "usd_per_year_stopped": document(answer.stopped_disk_usd_per_year),
    }


@document.register(Use)
def _(use: Use) -> Document:
    return {"hours_per_day": float(use.hours_per_day), "years": float(use.years)}


@document.register(OwnComputer)
def _(own: OwnComputer) -> Document:
    return {"usd": document(own.usd), "watts": float(own.watts), "usd_per_kwh": document(own.usd_per_kwh)}


@document.register(Rental)
def _(rental: Rental) -> Document:
    return {"market": rental.market, "usd_per_hour": document(rental.usd_per_hour)}


def _comparison(rental: Rental, answer: BreakEven) -> Document:
    years = rental.years_to_break_even(answer.own, answer.use)
    hours = rental.hours_to_break_even(answer.own, answer.use)
    return {
        "usd_per_year": document(rental.usd_per_year(answer.use)),
        "usd_total": document(rental.total_usd(answer.use)),
        "years_to_break_even": None if years is None else float(years),
        "hours_per_day_to_break_even": None if hours is None else float(hours),
    }
