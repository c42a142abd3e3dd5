"""Meter: costs over stop, start, reboot and replacement, held against the embedded cloud's own meter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.ec2.past_use import PastUse
from orchestrator.cluster.meter import Span, usage
from orchestrator.core.cost import Amount
from orchestrator.session import Session
from tests.support.aws.values import NOW, instance
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]

CENT = Decimal("0.01")
HOUR = timedelta(hours=1)


def billed(project: SimulatedProject) -> Decimal:
    """Return what the cloud bills for the project's instances."""
    cost = project.cloud.meter.cost("stratus:cluster", "ml")
    assert cost is not None
    return cost


def reboot_one(project: SimulatedProject, _: Session) -> None:
    """Reboot a running instance outside Stratus."""
    running = [item.id for item in project.cloud.live_instances() if item.state == "running"]
    if running:
        project.cloud.session().client("ec2").reboot_instances(InstanceIds=running[:1])


def stop_twice(_: SimulatedProject, session: Session) -> None:
    """Stop the instances, and once more."""
    session.cluster.stop()
    session.cluster.stop()


STEPS: tuple[Callable[[SimulatedProject, Session], object], ...] = (
    lambda _, session: session.cluster.stop(),
    lambda _, session: session.cluster.start(),
    lambda _, session: session.cluster.launch(session.cluster.plan(1)),
    reboot_one,
    stop_twice,
)


def live(project: SimulatedProject, chance: random.Random) -> Session:
    """Launch instances, and do something random with them some times; return the last session."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(chance.randint(1, 3)))
    for _ in range(chance.randint(0, 6)):
        project.cloud.clock.sleep(chance.choice((5, 30, 61, 900, 7200, 90_000)))
        # A new process knows no more than EC2 and the files of this computer.
        session = project.session() if chance.random() < 0.5 else session
        chance.choice(STEPS)(project, session)
    project.cloud.clock.sleep(chance.choice((1, 600, 20_000)))
    return session


def faults(chance: random.Random) -> list[Fault]:
    """Return a fault that makes a launch replace an instance, in every third life."""
    kind = chance.choice(("dies", "dies-pending", "", "", "", ""))
    return (
        [make_fault(kind, where="host 0", **({"when": "19 s after launch"} if kind == "dies" else {}))] if kind else []
    )


SLOW = [pytest.param(range(first, first + 25), marks=pytest.mark.slow) for first in range(0, 100, 25)]


@pytest.mark.parametrize("seeds", [range(3), *SLOW], ids=str)
def test_receipts_equal_the_meter_of_the_cloud_to_the_cent(simulate: Simulate, seeds: range) -> None:
    for seed in seeds:
        chance = random.Random(f"meter/{seed}")
        market = chance.choice(("market = spot\n", "", ""))
        deaths = faults(chance)
        project = simulate(*deaths, cluster=f"{market}max_hours = 700")
        session = live(project, chance)
        check(session.cluster.status().spent, billed(project), is_exact=not deaths)
        check(session.account.cost().spent, billed(project), is_exact=not deaths)
        spent = session.cluster.terminate().spent
        check(spent, billed(project), is_exact=not deaths)
        # Nothing is left that could be billed: the journal has the cost of what was.
        last = session.account.cost().last_spent
        assert last == spent


def check(spent: Amount, billed_usd: Decimal, *, is_exact: bool) -> None:
    """Check an amount to the cent; it is a range if an instance died, as EC2 does not show when it did."""
    assert spent.at_most is not None
    assert spent.at_least - CENT < billed_usd < spent.at_most + CENT
    assert spent.at_most - spent.at_least < 2 * CENT
    assert (spent.exact is not None) or not is_exact


def test_another_computer_knows_the_time_before_a_start_from_the_tags(simulate: Simulate) -> None:
    project = simulate(cluster="max_hours = 700")
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    for pause_s in (3600, 7200):
        project.cloud.clock.sleep(pause_s)
        session.cluster.stop()
        project.cloud.clock.sleep(90_000)
        session.cluster.start()
    receipt = project.session("desktop").cluster.terminate().spent_usd

    assert receipt is not None
    assert abs(receipt - billed(project)) < CENT


def test_another_computer_counts_a_replaced_instance(simulate: Simulate) -> None:
    """After an hour EC2 shows nothing of it any more: its cost is in a tag of the one that replaced it."""
    project = simulate(make_fault("dies", where="host 0", when="19 s after launch"), cluster="max_hours = 700")
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    assert any(item.tags.get("stratus:replaced") for item in project.cloud.live_instances())
    project.cloud.clock.sleep(2 * 3600)

    spent = project.session("desktop").cluster.terminate().spent
    assert spent.at_most is not None
    assert spent.at_least - CENT < billed(project) < spent.at_most + CENT
    assert spent.at_most - spent.at_least < 2 * CENT


def test_a_start_outside_stratus_makes_the_cost_a_range_that_holds_the_truth(simulate: Simulate) -> None:
    project = simulate(cluster="max_hours = 700")
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    project.cloud.clock.sleep(3600)
    ec2, ids = project.cloud.session().client("ec2"), [item.id for item in project.cloud.live_instances()]
    ec2.stop_instances(InstanceIds=ids)
    project.cloud.clock.sleep(3600)
    ec2.start_instances(InstanceIds=ids)
    project.cloud.clock.sleep(3600)
    spent = session.cluster.status().spent

    assert spent.exact is None
    assert spent.at_most is not None
    assert spent.at_least < billed(project) < spent.at_most


def test_a_start_without_the_permission_to_tag_makes_the_cost_a_range(simulate: Simulate) -> None:
    """As with an IAM policy of an earlier version."""
    project = simulate(cluster="max_hours = 700")
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    session.cluster.stop()
    project.cloud.play(Scenario(7, (make_fault("denied", action="CreateTags", times=1),)))
    project.cloud.clock.sleep(3600)

    assert [result.state for result in session.cluster.start()] == ["running"]
    assert any("known as a range only" in text for text in project.warnings)
    assert session.cluster.status().spent_usd is None


def test_a_journal_that_cannot_be_read_costs_seconds_only(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    project.cloud.clock.sleep(3600)
    journal = session.context.journal.path
    journal.unlink()
    journal.mkdir()
    spent = project.session().cluster.status().spent_usd

    # The seconds that the instance was pending count as well then.
    assert spent is not None
    assert Decimal(0) <= spent - billed(project) < CENT


def test_the_time_of_one_start_is_a_minute_at_least_and_a_pending_instance_is_not_billed() -> None:
    young = replace(instance(1, age_s=10), created_at=NOW - timedelta(seconds=10))

    assert usage(young, NOW).running == Span.exactly(60)
    assert usage(young, NOW).existing == Span.exactly(10)
    assert usage(replace(young, state="pending"), NOW).running == Span()


def test_an_instance_that_ended_at_an_unknown_time_was_billed_until_its_automatic_shutdown_at_most() -> None:
    ended = replace(instance(1, age_s=36_000), state="terminated", expires_at=NOW - 2 * HOUR)

    assert usage(ended, NOW).running == Span(60, 8 * 3600 + 300)
    assert usage(replace(ended, reason="Server.InternalError: error on launch"), NOW).running.shortest_s == 0


def test_a_refused_start_does_not_count_the_same_period_twice() -> None:
    stopped = replace(
        instance(1, age_s=7200), state="stopped", created_at=NOW - 2 * HOUR, stopped_at=NOW - HOUR, past_use=None
    )
    tagged = replace(stopped, past_use=PastUse(3600, NOW - 2 * HOUR, NOW - HOUR, NOW))

    assert usage(stopped, NOW).running == usage(tagged, NOW).running == Span.exactly(3600)


@pytest.mark.parametrize("value", ["", "x", "1 2 3", "1 2 3 x", "1 2 3 9999999999999999999", "> 1 2 3"])
def test_a_tag_of_another_form_is_ignored(value: str) -> None:
    assert PastUse.from_tag(value) is None


def test_further_volumes_of_the_image_cost_as_long_as_the_instance_exists(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter
    one = replace(instance(1), disk=Disk("gp3", 75))
    more = replace(one, further_disks=(Disk("gp2", 73),))
    unpriced = replace(one, further_disks=(Disk("sc1", 100),))

    assert meter.disk_usd_per_hour(more) == (meter.disk_usd_per_hour(one) or 0) + Decimal("0.01")
    assert meter.disk_usd_per_hour(unpriced) is None


def test_a_tag_is_read_as_it_was_written() -> None:
    for past in (PastUse(90, NOW - HOUR, NOW, NOW), PastUse(90, NOW - HOUR, NOW, NOW, is_exact=False)):
        assert PastUse.from_tag(past.tag_value) == past
