"""Arithmetic of money: amounts that are known as ranges, and amounts as text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.core.cost import NOTHING, UNKNOWN, Amount, Bill, billed_s, cost_for, decimals, exactly, to_record

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("usd", "text"),
    [("0.021349", "0.0213"), ("5.84", "5.84"), ("0.1", "0.10"), ("0", "0.00"), ("0.00001", "0.0001"), ("3", "3.00")],
)
def test_records_have_two_to_four_decimals(usd: str, text: str) -> None:
    assert decimals(Decimal(usd)) == text


def test_an_unknown_amount_has_no_text() -> None:
    assert decimals(None) is None
    bill = to_record(Bill(2.0, None, Decimal("0.123456"), addresses_usd=Decimal(0)))
    assert (bill["machines_usd"], bill["disks_usd"], bill["addresses_usd"]) == (None, "0.1235", "0.00")


def test_a_sum_is_known_as_exactly_as_its_parts() -> None:
    one = exactly(Decimal(1))

    assert sum([one, one], NOTHING).exact == Decimal(2)
    assert one + Amount(Decimal(1), Decimal(3)) == Amount(Decimal(2), Decimal(4))
    assert (one + UNKNOWN).exact is None
    assert one + UNKNOWN == Amount(Decimal(1), None)
    assert exactly(None) == UNKNOWN


def test_a_start_is_billed_for_a_minute_at_least() -> None:
    assert billed_s(NOW, NOW + timedelta(seconds=5)) == 60
    assert billed_s(NOW, NOW + timedelta(seconds=61)) == 61


def test_the_cost_of_a_time_is_its_share_of_an_hour() -> None:
    assert cost_for(Decimal("0.36"), 1800) == Decimal("0.18")
    assert cost_for(Decimal("0.36"), 0.1) == Decimal("0.00001")
    assert cost_for(None, 1800) is None


def test_a_bill_is_the_sum_of_vms_disks_and_addresses() -> None:
    bill = Bill(60, Decimal(1), Decimal(2), addresses_usd=Decimal(4))

    assert bill.total == 7
    assert Bill(60, Decimal(1), Decimal(2)).total == 3
    assert replace(bill, disks_usd=None).total is None
