"""Time limits: the arithmetic from hours and dollars to whole minutes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws.launch.time_limits import BOOT_MINUTES, MIN_MINUTES, TimeLimits, budget_minutes, whole_minutes
from orchestrator.aws.pricing import price_table
from orchestrator.core.errors import UsageError
from tests.support.aws.values import PLAN

rates = st.decimals("0.001", "500", places=4)


@given(cents=st.integers(1, 10_000_000), per_hour=rates)
def test_budget_minutes_cost_at_most_the_budget_and_one_more_would_exceed_it(cents: int, per_hour: Decimal) -> None:
    dollars = cents / 100
    try:
        minutes = budget_minutes(dollars, per_hour, description="2 x big")
    except UsageError:
        assert Decimal(str(dollars)) * 60 / per_hour < BOOT_MINUTES + MIN_MINUTES
        return

    assert per_hour * minutes / 60 <= Decimal(str(dollars)) < per_hour * (minutes + 1) / 60


def test_without_a_cap_there_is_no_limit_even_at_an_unknown_price() -> None:
    assert budget_minutes(0, None, description="2 x big") == 0


def test_a_cap_at_an_unknown_price_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the price of 2 x x9\.large is unknown"):
        budget_minutes(5, None, description="2 x x9.large")


def test_a_cap_that_is_too_small_names_the_smallest_that_is_not() -> None:
    with pytest.raises(UsageError, match=r"buys 4 min of 2 x big \(\$60.00/h\)") as caught:
        budget_minutes(4, Decimal(60), description="2 x big")
    assert "set max_dollars to 12.00 or more" in str(caught.value.fix)
    assert budget_minutes(12, Decimal(60), description="2 x big") == 12


@given(st.floats(1 / 60, 720))
def test_hours_are_rounded_up_to_whole_minutes(hours: float) -> None:
    assert hours * 60 - 1e-6 <= whole_minutes(hours) < hours * 60 + 1


@given(count=st.integers(1, 60), cents=st.integers(1, 100_000))
def test_a_plan_never_costs_more_than_its_cap_until_the_automatic_shutdown(count: int, cents: int) -> None:
    plan = replace(PLAN, names=tuple(f"ml-{number}" for number in range(count)), max_dollars=cents / 100)
    try:
        hours = plan.hours
    except UsageError:
        return

    assert hours <= plan.max_hours
    assert plan.max_cost_usd is not None
    if plan.is_budget_limited:
        assert plan.max_cost_usd <= Decimal(str(plan.max_dollars)) + Decimal("1e-9")
    else:
        assert plan.max_cost_usd == plan.usd_per_hour * Decimal(8)  # type: ignore[operator]


def test_a_higher_price_shortens_the_time_limit() -> None:
    """A fallback type at twice the price runs half as long on the same budget."""
    cheap = replace(PLAN, max_dollars=2.0)
    dear = replace(cheap, price=price_table.Price(Decimal("0.714") + cheap.disk_usd_per_hour, "x"))  # type: ignore[operator]

    assert cheap.is_budget_limited
    assert dear.is_budget_limited
    assert dear.hours == pytest.approx(cheap.hours / 2, abs=0.1)


def test_the_limits_of_an_instance_are_those_of_the_plan_and_unset_ones_do_not_apply() -> None:
    plan = replace(PLAN, max_dollars=2.0, idle_minutes=30, ssh_port=2222)
    budget = budget_minutes(2.0, PLAN.usd_per_hour, description="")

    assert plan.time_limits == TimeLimits(480, budget, 30, 2222)
    assert PLAN.time_limits == TimeLimits(480)
    assert TimeLimits(480).cloud_init_files[0]["content"] == "minutes=480 budget=0 idle=0 port=22\n"


@pytest.mark.parametrize(("budget", "minutes"), [(0, 495), (100, 115), (1000, 495)])
def test_a_boot_that_never_arms_the_timer_ends_a_quarter_of_an_hour_after_the_limit(budget: int, minutes: int) -> None:
    (command,) = TimeLimits(480, budget).boot_commands

    assert f" --on-active={minutes}min " in command


def test_hours_that_are_whole_minutes_are_not_rounded_up() -> None:
    assert [whole_minutes(hours) for hours in (1.35, 8, 1 / 3, 0.999)] == [81, 480, 20, 60]
