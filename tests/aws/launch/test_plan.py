"""Cost of a launch plan."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from orchestrator.aws.capacity.pools import SPOT, Pool
from orchestrator.core.cost import Amount, exactly
from tests.support.aws.values import CLUSTER_ID, PLAN, SUBNET_B


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


def test_a_replacement_has_what_the_replaced_instance_left_of_its_share() -> None:
    plan = replace(PLAN, max_dollars=4.0)

    assert plan.for_replacement("ml-1", Amount(Decimal("0.4"), Decimal("0.5"))).max_dollars == 1.5
    assert plan.for_replacement("ml-1", exactly(Decimal(3))).max_dollars == 0.01  # 0 would be no cap
    assert replace(PLAN, max_dollars=0.0).for_replacement("ml-1", exactly(Decimal(3))).max_dollars == 0.0
    assert plan.for_replacement("ml-1", exactly(Decimal(1))).replaced == exactly(Decimal(1))
    assert plan.for_replacement("ml-1", Amount(Decimal("0.5"), None)).max_dollars == 1.5
    assert plan.for_replacement("ml-1", exactly(Decimal(1))).names == ("ml-1",)


def test_instances_that_are_still_missing_have_their_share_of_the_budget() -> None:
    plan = replace(PLAN, names=("ml-0", "ml-1", "ml-2", "ml-3"), max_dollars=4.0)

    assert (plan.remaining(3).names, plan.remaining(3).max_dollars) == (("ml-3",), 1.0)
    assert (plan.remaining(1).names, plan.remaining(1).max_dollars) == (("ml-1", "ml-2", "ml-3"), 3.0)


def test_a_cap_ends_the_instances_two_minutes_early_and_is_spent_with_their_boot() -> None:
    plan = replace(PLAN, max_dollars=2.0)
    assert PLAN.usd_per_hour is not None
    minutes = int(2 * 60 / PLAN.usd_per_hour)

    assert plan.hours == (minutes - 2) / 60
    assert plan.max_cost_usd is not None
    assert abs(plan.max_cost_usd - PLAN.usd_per_hour * minutes / 60) < Decimal("1e-9")


def test_a_launch_needs_one_instance_or_all() -> None:
    assert replace(PLAN, allow_partial=True).min_count == 1
    assert PLAN.min_count == 2


def test_another_pool_replaces_type_subnet_market_and_price() -> None:
    pool = Pool(replace(PLAN.type_info, name="c5.2xlarge"), SUBNET_B, SPOT, replace(PLAN.price, usd=Decimal(1)))  # type: ignore[type-var]
    plan = PLAN.with_pool(pool)

    assert Pool(plan.type_info, plan.subnet, plan.market, plan.price) == pool


def test_public_addresses_are_part_of_the_price() -> None:
    public = replace(PLAN, address_type="public")
    by_default = replace(PLAN, subnet=replace(PLAN.subnet, assigns_public_addresses=True))

    assert PLAN.usd_per_hour is not None
    assert public.usd_per_hour == by_default.usd_per_hour == PLAN.usd_per_hour + 2 * Decimal("0.005")
    assert replace(by_default, address_type="private").usd_per_hour == PLAN.usd_per_hour


def test_a_plan_names_cluster_owner_region_and_hardware() -> None:
    assert (PLAN.cluster, PLAN.owner, PLAN.region) == ("ml", CLUSTER_ID.owner, "us-west-2")
    assert (PLAN.instance_type, PLAN.vcpus, PLAN.memory_gib, PLAN.gpus) == ("c7i.2xlarge", 8, 16.0, 0)


def test_a_key_pair_opens_the_existing_instances_that_no_other_opens() -> None:
    plan = replace(PLAN, existing_names=("ml-0", "ml-1", "ml-2"), other_key_names=("ml-1",))

    assert plan.names_of_key == ("ml-0", "ml-2")


def test_a_plan_without_options_is_never_idle_uses_port_22_and_can_install_the_job() -> None:
    limits = PLAN.time_limits

    assert (limits.idle_minutes, limits.ssh_port, PLAN.is_job_ready) == (0, 22, True)
