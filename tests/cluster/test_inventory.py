"""Inventory: instances by their tags, as hosts, and their prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.cluster.inventory import Inventory, with_unique_names
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from tests.support.aws.values import instance
from tests.support.simulated_project import LAG, SimulatedProject

Simulate = Callable[..., SimulatedProject]

PUBLIC, PRIVATE = "203.0.113.5", "10.0.0.5"
KEY, NEW_KEY = "ssh-ed25519 AAAA", "ssh-ed25519 BBBB"


def launched(project: SimulatedProject, count: int = 2) -> Inventory:
    """Launch instances and return the inventory of their cluster."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(count))
    return session.inventory


def with_address(inventory: Inventory, setting: str) -> Inventory:
    """Return an inventory of the same cluster with another ``[ssh] address``."""
    settings = inventory.context.settings
    return Inventory(replace(inventory.context, settings=replace(settings, ssh=replace(settings.ssh, address=setting))))


@pytest.mark.parametrize(
    ("setting", "public", "expected"),
    [
        ("auto", PUBLIC, PUBLIC),
        ("auto", "", PRIVATE),
        ("public", PUBLIC, PUBLIC),
        ("private", PUBLIC, PRIVATE),
    ],
)
def test_the_address_setting_chooses_the_address_of_a_host(
    simulate: Simulate, setting: str, public: str, expected: str
) -> None:
    inventory = with_address(simulate().session().inventory, setting)
    host = inventory.host(replace(instance(1), public_address=public, private_address=PRIVATE))

    assert (host.address, host.private_address) == (expected, PRIVATE)


def test_a_host_key_seen_in_force_outweighs_the_tags(simulate: Simulate) -> None:
    inventory = simulate().session().inventory
    tagged = replace(instance(1), host_key=KEY, boot_key=KEY)
    before = inventory.host(tagged)
    inventory.context.known_hosts.add(tagged.id, NEW_KEY)
    after = inventory.host(tagged)

    assert (before.host_key, before.boot_key) == (KEY, KEY)
    assert (after.host_key, after.boot_key) == (NEW_KEY, "")


def test_hosts_come_in_the_requested_order_and_unknown_names_are_refused(simulate: Simulate) -> None:
    inventory = launched(simulate())

    assert [host.name for host in inventory.hosts()] == ["ml-0", "ml-1"]
    assert [host.name for host in inventory.hosts(["ml-1", "ml-0"])] == ["ml-1", "ml-0"]
    with pytest.raises(UsageError, match="ml-7: not up") as caught:
        inventory.hosts(["ml-7"])
    assert caught.value.fix == "up: ml-0, ml-1"


def test_without_a_running_instance_the_next_step_is_a_launch(simulate: Simulate) -> None:
    with pytest.raises(UsageError, match="no VM of cluster ml is running") as caught:
        simulate().session().inventory.hosts()
    assert caught.value.fix == NextStep("LaunchInstances")


def test_where_all_instances_are_stopped_the_next_step_is_a_start(simulate: Simulate) -> None:
    project = simulate()
    launched(project)
    session = project.session()
    session.cluster.stop()

    with pytest.raises(UsageError, match="no VM of cluster ml is running; stopped: ml-0 ml-1") as caught:
        session.inventory.hosts()
    assert str(caught.value.fix) == "StartAll()  starts them, which is billed by the hour again"
    session.cluster.launch(session.cluster.plan(1))
    with pytest.raises(UsageError, match="ml-0: not up") as caught:
        session.inventory.hosts(["ml-0"])
    assert str(caught.value.fix) == "up: ml-2; StartAll() starts those that are stopped"


def test_instances_of_other_owners_are_listed_apart(simulate: Simulate) -> None:
    tags = "Name=ml-0, stratus:cluster=ml, stratus:owner=arn:aws:iam::123456789012:user/colleague"
    inventory = launched(simulate(make_fault("colleague", machines=1, tags=tags)))
    survey = inventory.survey()

    assert [described.name for described in survey.own] == ["ml-0", "ml-1"]
    assert survey.ended == []
    (other,) = survey.other_owners
    assert "user/colleague" in other


def test_a_bill_makes_no_api_call_for_on_demand_instances(simulate: Simulate) -> None:
    project = simulate()
    inventory = launched(project)
    described = inventory.instances()
    calls = len(project.cloud.calls)
    project.clock.sleep(7200)
    bill = inventory.bill(["ml-0"], 1800.0)

    assert len(project.cloud.calls) == calls
    assert (bill.billed_seconds, bill.spot) == (1800.0, "no")
    assert bill.total == pytest.approx((inventory.usd_per_hour(described[0]) or Decimal(0)) / 2)


def test_a_bill_counts_no_more_time_than_an_instance_exists(simulate: Simulate) -> None:
    project = simulate()
    inventory = launched(project)
    began = min(instance.created_at or instance.launched_at for instance in inventory.instances())
    project.clock.sleep(3600)
    age_s = (project.clock.now() - began).total_seconds()
    bill = inventory.bill(["ml-0", "ml-1"], 699 * 24 * 3600.0)

    assert 2 * 3600 <= bill.billed_seconds <= 2 * age_s


def test_a_bill_with_an_unknown_price_is_unknown(simulate: Simulate) -> None:
    project = simulate()
    inventory = launched(project)
    unpriced = replace(inventory.instances()[0], type="x9.large")

    assert inventory.usd_per_hour(unpriced) is None
    assert inventory.disk_usd_per_hour(unpriced) is not None
    assert inventory.disk_usd_per_hour(replace(unpriced, disk=None)) is None


def test_a_second_computer_finds_the_same_instances_by_their_tags(simulate: Simulate, tmp_path: Path) -> None:
    project = simulate()
    own = [described.id for described in launched(project).instances()]

    assert not (tmp_path / "1" / "desktop" / "journal.jsonl").exists()
    assert [described.id for described in project.session("desktop").inventory.instances()] == own


def test_of_two_instances_of_one_name_both_can_be_named() -> None:
    # As two computers that launch at once name them.
    first, second, other = (
        replace(instance(0), name=name, id=key, launched_at=datetime(2026, 11, 20, 12, minute, tzinfo=UTC))
        for name, key, minute in (("ml-0", "i-b", 1), ("ml-0", "i-a", 2), ("ml-1", "i-c", 0))
    )

    unique = with_unique_names([second, first, other])

    assert [(item.name, item.id) for item in unique] == [("ml-0", "i-b"), ("ml-0.i-a", "i-a"), ("ml-1", "i-c")]


def test_a_second_computer_does_not_replace_the_key_pair_of_a_launch_in_progress(simulate: Simulate) -> None:
    project = simulate(LAG)
    first, second = project.session("laptop"), project.session("desktop")
    plan = second.cluster.plan(1)
    first.cluster.launch(first.cluster.plan(1))
    pairs = project.cloud.session().client("ec2").describe_key_pairs()["KeyPairs"]

    with pytest.raises(UsageError, match=r"was imported \d+ s ago from another computer"):
        second.cluster.launch(plan)

    assert project.cloud.session().client("ec2").describe_key_pairs()["KeyPairs"] == pairs
    assert [instance.name for instance in first.inventory.instances()] in (["ml-0"], [])
