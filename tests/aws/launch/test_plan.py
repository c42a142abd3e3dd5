"""Cost of a launch plan."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from orchestrator.aws.capacity.pools import Pool
from tests.support.aws.values import PLAN


def test_the_cost_of_a_plan_includes_instances_and_disks_until_shutdown() -> None:
    per_machine = Decimal("0.357") + Decimal("0.08") * 75 / 730

    assert PLAN.usd_per_hour == 2 * per_machine
    assert PLAN.max_cost_usd == 16 * per_machine
    assert round(PLAN.max_cost_usd, 2) == Decimal("5.84")


def test_an_unknown_price_makes_the_cost_unknown() -> None:
    assert replace(PLAN, price=None).max_cost_usd is None
    assert replace(PLAN, disk_price=None).max_cost_usd is None


def test_the_maximum_cost_is_that_of_the_most_expensive_pool() -> None:
    assert PLAN.price is not None
    cheap = Pool(PLAN.type_info, PLAN.subnet, price=PLAN.price)
    dear = replace(cheap, price=replace(PLAN.price, usd=PLAN.price.usd * 2))
    unknown = replace(cheap, price=None)

    assert replace(PLAN, pools=(cheap,)).max_cost_usd == PLAN.max_cost_usd
    assert replace(PLAN, pools=(cheap, dear)).max_cost_usd == replace(PLAN, price=dear.price).max_cost_usd
    assert replace(PLAN, pools=(cheap, unknown)).max_cost_usd is None
