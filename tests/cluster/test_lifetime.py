"""Automatic shutdown: extension, idle time, and the budget that limits both; timers as hosts report them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.ec2.instance_tags import EXPIRES
from orchestrator.cluster.lifetime import COMMAND_TIMEOUT_S, MAX_HOURS
from orchestrator.core.errors import UsageError
from tests.support.simulated_project import SimulatedProject
from tests.support.timers import launched

Simulate = Callable[..., SimulatedProject]

HOUR = timedelta(hours=1)
CENT = Decimal("0.01")


def test_an_extension_adds_to_the_time_left_and_the_tags_follow(simulate: Simulate) -> None:
    session, timers = launched(simulate())
    before = {instance.name: instance.expires_at for instance in session.cluster.status().up}
    report = session.cluster.extend(2)
    after = {instance.name: instance.expires_at for instance in session.cluster.status().up}

    assert timers.arguments == {name: ["600", "-", "-"] for name in ("ml-0", "ml-1")}
    for host in report.hosts:
        previous = before[host.name]
        assert previous is not None
        assert host.previous_expiry == previous
        assert not host.is_budget_limited
        assert abs(host.expires_at - previous - timedelta(hours=2)) < timedelta(minutes=2)
        tagged = after[host.name]
        assert tagged is not None
        assert timedelta(0) <= tagged - host.expires_at <= timedelta(minutes=1)
    assert report.failed == {}
    assert report.max_cost_usd is not None


def test_max_dollars_limits_an_extension(simulate: Simulate) -> None:
    session, timers = launched(simulate(cluster="max_dollars = 4"))
    report = session.cluster.extend(100)
    budget_minutes = int(timers.arguments["ml-0"][1])

    # Two instances at the price of the list: 4 USD buy them this many minutes together.
    rate = session.cluster.status().usd_per_hour
    assert rate is not None
    assert float(rate) * budget_minutes / 60 <= 4 < float(rate) * (budget_minutes + 1) / 60
    assert [host.is_budget_limited for host in report.hosts] == [True, True]
    assert report.max_dollars == 4


def test_an_extension_of_instances_that_have_spent_the_cap_leaves_a_minute(simulate: Simulate) -> None:
    session, timers = launched(simulate(cluster="max_dollars = 4"))
    timers.project.cloud.clock.sleep(3600 * 7)
    session.cluster.extend(1)

    assert [arguments[0] for arguments in timers.arguments.values()] == ["1", "1"]


def test_an_instance_that_is_gone_has_spent_its_share_of_the_cap(simulate: Simulate) -> None:
    session, timers = launched(simulate(cluster="max_dollars = 4"))
    session.cluster.extend(100)
    arguments = timers.arguments["ml-0"]
    gone = next(instance.id for instance in session.cluster.status().up if instance.name == "ml-1")
    timers.project.cloud.session().client("ec2").terminate_instances(InstanceIds=[gone])
    session.cluster.extend(100)

    assert int(timers.arguments["ml-0"][0]) <= int(arguments[0])
    assert timers.arguments["ml-0"][1] == arguments[1]


def test_the_most_expensive_instance_of_a_launch_decides_its_budget(simulate: Simulate) -> None:
    session, timers = launched(project := simulate(cluster="max_dollars = 4"))
    session.cluster.extend(100)
    budget = timers.arguments["ml-0"][1]
    smaller = next(instance.id for instance in session.cluster.status().up if instance.name == "ml-1")
    session.cluster.stop()
    ec2 = project.cloud.session().client("ec2")
    ec2.modify_instance_attribute(InstanceId=smaller, InstanceType={"Value": "c5.2xlarge"})
    session.cluster.start()
    session.cluster.extend(100)

    assert timers.arguments["ml-0"][1] == budget


def test_an_extension_of_instances_without_the_tag_begins_now(simulate: Simulate) -> None:
    session, timers = launched(project := simulate())
    ids = [instance.id for instance in session.cluster.status().up]
    project.cloud.session().client("ec2").delete_tags(Resources=ids, Tags=[{"Key": EXPIRES}])
    session.cluster.extend(2)

    assert timers.arguments["ml-0"][0] == "120"


def test_max_dollars_limits_spot_instances_by_the_price_on_demand(simulate: Simulate) -> None:
    """A spot price can rise to it."""
    budgets, minutes = [], []
    for market in ("spot", "on-demand"):
        session, timers = launched(simulate(cluster=f"max_dollars = 4\nmarket = {market}"))
        session.cluster.extend(100)
        budgets.append(timers.arguments["ml-0"][1])
        minutes.append(int(timers.arguments["ml-0"][0]))

    assert budgets[0] == budgets[1]
    # The boot cost less on the spot market.
    assert abs(minutes[0] - minutes[1]) <= 3


def test_an_extension_reports_the_times_that_the_status_shows(simulate: Simulate) -> None:
    session, _ = launched(simulate())
    report = session.cluster.extend(2.01)
    expiries = {instance.name: instance.expires_at for instance in session.cluster.status().up}

    assert {host.name: host.expires_at for host in report.hosts} == expiries
    assert session.account.cost().max_cost_usd == pytest.approx(report.max_cost_usd, abs=Decimal("0.01"))


def test_right_after_a_launch_the_maximum_cost_is_that_of_the_plan(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    plan = session.cluster.plan(2)
    session.cluster.launch(plan)
    max_cost_usd = session.account.cost().max_cost_usd

    # The tag has whole minutes, rounded up.
    assert plan.usd_per_hour is not None
    assert plan.max_cost_usd is not None
    assert max_cost_usd is not None
    assert abs(max_cost_usd - plan.max_cost_usd) <= plan.usd_per_hour / 60


def test_disks_of_stopped_instances_count_against_the_cap(simulate: Simulate) -> None:
    session, timers = launched(simulate(cluster="max_dollars = 4"))
    clock = timers.project.cloud.clock
    session.cluster.stop()
    clock.sleep(3600 * 24 * 5)
    spent_usd = session.cluster.status().spent_usd
    session.cluster.start()
    rate = session.cluster.status().usd_per_hour

    # Five days of two disks at $0.0082 an hour: about half of the cap.
    assert rate is not None
    assert spent_usd is not None
    assert Decimal("1.9") < spent_usd < Decimal("2.1")
    assert (
        float((4 - spent_usd) / rate * 60) - 2 < int(timers.arguments["ml-0"][0]) <= float((4 - spent_usd) / rate * 60)
    )
    session.cluster.extend(100)
    assert int(timers.arguments["ml-0"][0]) <= float((4 - spent_usd) / rate * 60)
    session.cluster.stop()
    clock.sleep(3600 * 24 * 7)
    with pytest.raises(UsageError, match="max_dollars = 4 is spent for ml-0 ml-1, disks included"):
        session.cluster.start()
    assert {machine.state for machine in session.cluster.status().instances} == {"stopped"}


def test_a_host_without_a_timer_fails_and_the_others_are_extended(simulate: Simulate) -> None:
    session, timers = launched(simulate())
    timers.silent.add("ml-1")
    report = session.cluster.extend(1)

    assert [host.name for host in report.hosts] == ["ml-0"]
    assert "no shutdown timer of Stratus" in str(report.failed["ml-1"])


@pytest.mark.parametrize("hours", [0, -1, MAX_HOURS])
def test_an_extension_has_bounds(simulate: Simulate, hours: float) -> None:
    session, timers = launched(simulate())

    with pytest.raises(UsageError, match="up to 720 h left"):
        session.cluster.extend(hours)
    assert timers.arguments == {}


def test_the_idle_time_is_set_alone(simulate: Simulate) -> None:
    session, timers = launched(simulate())
    report = session.cluster.set_idle_shutdown(30)

    assert (report.minutes, report.hosts, report.failed) == (30, ("ml-0", "ml-1"), {})
    assert timers.arguments["ml-0"] == ["-", "-", "30"]
    assert session.cluster.status().idle_minutes == session.account.cost().idle_minutes == 30
    session.cluster.set_idle_shutdown(0)
    assert session.cluster.status().idle_minutes == 0
    for minutes in (-1, int(MAX_HOURS * 60) + 1):
        with pytest.raises(UsageError, match="minutes"):
            session.cluster.set_idle_shutdown(minutes)


def test_the_bound_holds_for_the_instance_that_shuts_down_last(simulate: Simulate) -> None:
    session, timers = launched(project := simulate(cluster="max_hours = 8"))
    later = replace(project, cluster="max_hours = 100").session()
    later.cluster.launch(later.cluster.plan(1))

    with pytest.raises(UsageError, match="up to 720 h left"):
        session.cluster.extend(MAX_HOURS - 50)
    assert timers.arguments == {}
    assert len(session.cluster.extend(MAX_HOURS - 110).hosts) == 3


def test_the_longest_idle_time_is_that_of_the_longest_life(simulate: Simulate) -> None:
    session, timers = launched(simulate())
    session.cluster.set_idle_shutdown(int(MAX_HOURS * 60))

    assert timers.arguments["ml-0"][2] == str(int(MAX_HOURS * 60))


def test_an_idle_time_that_cannot_be_tagged_is_set_anyway(simulate: Simulate) -> None:
    session, timers = launched(project := simulate())
    project.cloud.play(Scenario(7, (make_fault("denied", action="CreateTags"),)))
    report = session.cluster.set_idle_shutdown(30)

    assert (report.hosts, timers.arguments["ml-1"]) == (("ml-0", "ml-1"), ["-", "-", "30"])
    assert sum("the status will not show the idle shutdown" in text for text in project.warnings) == 1


@pytest.mark.parametrize(
    "answer", ["", "@@until", "1 0 0 0", "@@until 1 0 0", "@@until 1 0 0 0 0", "@@until x 0 0 0", "@@until 1 0 0 x"]
)
def test_a_timer_of_another_form_is_none(simulate: Simulate, answer: str) -> None:
    session, timers = launched(simulate())
    timers.silent, timers.answer = {"ml-1"}, f"motd\n{answer}\n"
    report = session.cluster.extend(1)

    assert [host.name for host in report.hosts] == ["ml-0"]
    assert "no shutdown timer of Stratus" in str(report.failed["ml-1"])


@pytest.mark.parametrize(
    ("max_dollars", "early_minutes", "is_limited"),
    [(0, 60, False), (1000, 0, False), (1000, 1, False), (1000, 4, True), (1000, 60, True)],
)
def test_a_shutdown_is_limited_by_the_budget_if_there_is_one_and_it_is_early(
    simulate: Simulate, max_dollars: int, early_minutes: int, is_limited: bool
) -> None:
    session, timers = launched(simulate(cluster=f"max_dollars = {max_dollars}"))
    timers.early = timedelta(minutes=early_minutes)

    assert {host.is_budget_limited for host in session.cluster.extend(2).hosts} == {is_limited}


def test_a_host_has_the_time_that_extend_sh_may_take(simulate: Simulate) -> None:
    session, _ = launched(simulate())
    session.cluster.extend(1)

    links: Any = session.context.ssh
    assert links.timeouts_s == {"ml-0": COMMAND_TIMEOUT_S, "ml-1": COMMAND_TIMEOUT_S}


def test_what_was_spent_at_an_unknown_spot_price_limits_no_extension(simulate: Simulate) -> None:
    _, timers = launched(project := simulate(cluster="max_dollars = 4\nmarket = spot"))
    project.cloud.play(Scenario(7, (make_fault("denied", action="DescribeSpotPriceHistory"),)))
    session = project.session("desktop")  # the first computer has kept the price
    (status, *_) = session.cluster.status().up
    assert session.inventory.meter.vm_usd_per_hour(session.inventory.running()[0]) is None
    assert status.expires_at is not None
    left = status.expires_at - project.clock.now()
    session.cluster.extend(1)

    minutes = int(timers.arguments["ml-0"][0])
    assert abs(minutes * 60 - (left + HOUR).total_seconds()) < 120
