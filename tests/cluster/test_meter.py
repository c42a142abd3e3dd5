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
from orchestrator.cluster.meter import Span, Usage, usage
from orchestrator.core.cost import NOTHING, UNKNOWN, Amount, exactly
from orchestrator.session import Session
from tests.support.aws.values import NOW, instance
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]

CENT = Decimal("0.01")
HOUR = timedelta(hours=1)

BARE = replace(instance(1), disk=Disk("gp3", 75), has_public_address=False)
BARE_USD = Decimal("0.357") + Decimal("0.08") * 75 / 730
ADDRESS_USD = Decimal("0.005")


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


SLOW = [pytest.param(range(first, first + 25), marks=pytest.mark.slow) for first in (0, 25)]


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

    seen_running = ended.launched_at + timedelta(seconds=20)

    assert usage(ended, NOW, seen_running).running == Span(60, 8 * 3600 + 300 - 20)
    assert (
        usage(replace(ended, reason="Server.InternalError: error on launch"), NOW, seen_running).running.shortest_s == 0
    )


def test_an_instance_that_may_have_ended_while_it_was_pending_may_not_be_billed() -> None:
    ended = replace(instance(1, age_s=14), state="shutting-down", ended_at=NOW)
    earlier = ended.launched_at - HOUR

    assert usage(ended, NOW).running == usage(ended, NOW, earlier).running == Span(0, 60)
    assert usage(replace(ended, stopped_at=NOW), NOW).running == Span.exactly(60)
    assert usage(ended, NOW, ended.launched_at).running == Span.exactly(60)


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


def test_the_price_of_an_instance_is_that_of_its_vm_its_disk_and_its_address_in_its_region(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter

    assert meter.usd_per_hour(BARE) == BARE_USD
    assert meter.usd_per_hour(replace(BARE, has_public_address=True)) == BARE_USD + ADDRESS_USD
    assert meter.address_usd_per_hour(replace(BARE, has_public_address=True)) == ADDRESS_USD
    assert meter.address_usd_per_hour(BARE) == 0
    for state in ("pending", "running"):
        assert meter.billed_usd_per_hour(replace(BARE, state=state)) == BARE_USD
    for state in ("stopping", "stopped"):
        assert meter.billed_usd_per_hour(replace(BARE, state=state)) == meter.disk_usd_per_hour(BARE) != BARE_USD
    assert meter.usd_per_hour(replace(BARE, zone="us-east-1b")) == BARE_USD
    assert meter.usd_per_hour(replace(BARE, zone="")) == BARE_USD
    assert meter.usd_per_hour(replace(BARE, zone="eu-central-1a")) is None


def test_an_unknown_price_makes_the_cost_unknown(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter
    used = usage(BARE, NOW)

    for unpriced in (replace(BARE, type="x9.large"), replace(BARE, disk=None)):
        assert meter.cost_of(unpriced, used) == UNKNOWN
        assert meter.usd_per_hour(unpriced) is None


def test_an_address_that_may_exist_is_the_upper_bound_of_the_cost(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter
    used = usage(BARE, NOW)  # an hour

    assert meter.cost_of(BARE, used) == Amount(BARE_USD, BARE_USD)
    assert meter.cost_of(replace(BARE, has_public_address=True), used) == exactly(BARE_USD + ADDRESS_USD)
    unknown = replace(BARE, has_public_address=None, replaced=Amount(Decimal(1), Decimal(2)))
    assert meter.cost_of(unknown, used) == Amount(BARE_USD + 1, BARE_USD + ADDRESS_USD + 2)


def test_a_time_without_an_upper_bound_has_none_in_a_sum() -> None:
    assert Span(1, None) + Span(2, 3) == Span(2, 3) + Span(1, None) == Span(3, None)
    assert Span(1, 4) + Span(2, 3) == Span(3, 7)


@pytest.mark.parametrize("state", ["running", "pending"])
def test_the_cost_until_the_shutdown_counts_from_the_launch_and_has_no_bound_without_one(
    simulate: Simulate, state: str
) -> None:
    meter = simulate().session().inventory.meter
    young = replace(BARE, state=state)

    assert meter.until_expiry([young], NOW, {BARE.id: NOW + HOUR}) == {BARE.id: exactly(2 * BARE_USD)}
    # A tag with a time in the past: it runs until now at least.
    assert meter.until_expiry([young], NOW, {BARE.id: NOW - HOUR / 2}) == {BARE.id: exactly(BARE_USD)}
    assert meter.until_expiry([young], NOW, {BARE.id: None}) == {BARE.id: Amount(BARE_USD, None)}


GONE = replace(BARE, id="i-2", name="ml-2", state="terminated", ended_at=NOW - HOUR / 2)


def test_what_ended_counts_once_for_its_own_launch(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter
    other = replace(GONE, id="i-3", launch_id="other")
    spent = meter.costs([GONE], NOW)[GONE.id]

    assert spent.at_most is not None
    assert spent.at_most > 0
    assert meter.cost_of_ended([BARE], [GONE, other], NOW) == spent
    assert meter.cost_of_ended([replace(BARE, launch_id="third")], [GONE, other], NOW) == NOTHING
    meter.record_ended({GONE.id: exactly(Decimal(5))}, [GONE, other])
    assert meter.cost_of_ended([BARE], [GONE, other], NOW) == exactly(Decimal(5))
    assert meter.cost_of_ended([BARE], [], NOW) == exactly(Decimal(5))
    assert meter.cost_of_ended([replace(BARE, launch_id="other")], [], NOW) == NOTHING
    # EC2 may show an instance as running again that this computer has recorded.
    assert meter.cost_of_ended([replace(GONE, state="running")], [GONE], NOW) == NOTHING


def test_the_cost_of_a_replaced_instance_counts_with_the_one_that_replaced_it(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter
    spent = meter.costs([GONE], NOW)[GONE.id]
    heir = replace(BARE, name=GONE.name, replaced=exactly(Decimal(1)), launched_at=NOW)
    sibling = replace(BARE, id="i-9")

    assert meter.cost_of_ended([heir, sibling], [GONE], NOW) == NOTHING
    for stranger in (
        replace(heir, name="ml-7"),
        replace(heir, replaced=NOTHING),
        replace(heir, launched_at=GONE.launched_at),
    ):
        assert meter.cost_of_ended([stranger, sibling], [GONE], NOW) == spent


def test_the_past_use_of_a_stopped_instance_is_exact_if_ec2_shows_the_time_of_its_stop(simulate: Simulate) -> None:
    meter = simulate().session().inventory.meter
    stopped = replace(BARE, state="stopped", launched_at=NOW - 2 * HOUR, stopped_at=NOW - HOUR)

    assert meter.past_use(stopped, NOW) == PastUse(3600, NOW - 2 * HOUR, NOW - HOUR, NOW)
    unknown = meter.past_use(replace(stopped, stopped_at=None), NOW)
    assert unknown == PastUse(60, NOW - 2 * HOUR, NOW, NOW, is_exact=False)


@pytest.mark.parametrize("age_s", [0, -5])
def test_a_disk_is_not_billed_before_its_instance_exists_whatever_the_clocks_show(age_s: float) -> None:
    assert usage(instance(1, age_s=age_s), NOW).existing == Span.exactly(0)


def test_the_time_before_a_start_is_that_of_its_tag_or_a_range() -> None:
    started = replace(BARE, created_at=NOW - 5 * HOUR)  # running for an hour since
    exact = PastUse(60, NOW - 5 * HOUR, NOW - 3 * HOUR, NOW - HOUR)
    expected = {
        exact: Span.exactly(60 + 3600),
        replace(exact, is_exact=False): Span(60 + 3600, 7200 + 3600),
        replace(exact, seconds=9000, is_exact=False): Span.exactly(9000 + 3600),
        # The tag is that of another start.
        replace(exact, started_at=NOW - 2 * HOUR): Span(60 + 3600, 4 * 3600 + 3600),
        None: Span(60 + 3600, 4 * 3600 + 3600),
    }

    assert {past: usage(replace(started, past_use=past), NOW).running for past in expected} == expected
    # At a launch, the interface is attached within a minute of it.
    assert usage(replace(started, created_at=BARE.launched_at - HOUR / 60), NOW).running == Span.exactly(3600)
    earlier = BARE.launched_at - timedelta(seconds=61)
    assert usage(replace(started, created_at=earlier), NOW).running == Span(60 + 3600, 61 + 3600)


@pytest.mark.parametrize(("difference_s", "seconds"), [(0.5, 1000), (-0.5, 1000), (1, 3600), (-1, 3600)])
def test_a_tag_counts_the_present_stop_if_the_times_are_the_same_second(difference_s: float, seconds: int) -> None:
    stopped = replace(instance(1, age_s=7200), state="stopped", stopped_at=NOW - HOUR)
    past = PastUse(1000, NOW - 2 * HOUR, NOW - HOUR + timedelta(seconds=difference_s), NOW)

    assert usage(replace(stopped, past_use=past), NOW).running == Span.exactly(seconds)


def test_an_instance_that_ended_was_billed_until_then_at_most() -> None:
    gone = usage(GONE, NOW)

    assert gone == Usage(Span(0, 1800), Span.exactly(1800))
    assert usage(GONE, NOW - 3 * HOUR / 4).running == Span(0, 900)


def test_no_time_costs_nothing(simulate: Simulate) -> None:
    assert simulate().session().inventory.meter.cost_of(BARE, Usage(Span(), Span())) == NOTHING
