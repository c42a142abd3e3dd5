"""Automatic shutdown: extension, idle time, and the budget that limits both; timers as hosts report them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.ec2.instance_tags import EXPIRES
from orchestrator.aws.launch.time_limits import MIN_MINUTES
from orchestrator.cluster.lifetime import COMMAND_TIMEOUT_S, MAX_HOURS
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.session import Session
from tests.support.simulated_project import CONFIG, SimulatedProject

Simulate = Callable[..., SimulatedProject]

HOUR = timedelta(hours=1)
CENT = Decimal("0.01")


@dataclass
class Timers:
    """Timers of the hosts of a project, which answer as ``extend.sh`` does.

    :param silent: names of hosts that have no timer.
    :param early: how much earlier than asked for the hosts shut down.
    :param answer: printed in place of an answer.
    :param arguments: arguments of the last call per host.
    """

    project: SimulatedProject
    budget_minutes: int = 0
    silent: set[str] = field(default_factory=set)
    early: timedelta = timedelta()
    answer: str = ""
    arguments: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, host: Host, command: str) -> str:
        if "stratus-expire" not in command:
            return ""
        minutes, budget, idle = self.arguments[host.name] = command.split()[-3:]
        if host.name in self.silent:
            return self.answer or "@@none\n"
        limit = int(budget) if budget != "-" else self.budget_minutes
        left = min(int(minutes), limit) if limit else int(minutes if minutes != "-" else 60)
        expiry = self.project.clock.now() + timedelta(minutes=left) - self.early
        return f"motd\n@@until {expiry.timestamp():.0f} {limit} 2 {0 if idle == '-' else idle}\n"


def launched(project: SimulatedProject) -> tuple[Session, Timers]:
    """Launch two instances; return the session and their timers."""
    timers = project.stdout = Timers(project)
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    return session, timers


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


def test_a_start_begins_the_hours_anew_for_what_was_stopped_only(simulate: Simulate) -> None:
    session, timers = launched(project := simulate(cluster="max_hours = 8"))
    session.cluster.stop()
    project.cloud.clock.sleep(3600)
    session.cluster.launch(session.cluster.plan(1))
    session.cluster.start()

    assert timers.arguments == {name: ["480", "-", "-"] for name in ("ml-0", "ml-1")}
    expiries = [instance.expires_at for instance in session.cluster.status().up if instance.name != "ml-2"]
    assert all(expiry and abs(expiry - project.clock.now() - 8 * HOUR) < HOUR / 30 for expiry in expiries)


def test_a_start_keeps_what_an_extension_has_granted(simulate: Simulate) -> None:
    session, _ = launched(project := simulate(cluster="max_hours = 1"))
    session.cluster.extend(5)
    before = {instance.name: instance.expires_at for instance in session.cluster.status().up}
    session.cluster.stop()
    project.cloud.clock.sleep(3600)
    session.cluster.start()
    after = {instance.name: instance.expires_at for instance in session.cluster.status().up}

    assert before.keys() == after.keys()
    for name, end in before.items():
        assert end
        assert abs(end - (after[name] or end - HOUR)) <= timedelta(minutes=2)


def test_a_start_gives_no_more_than_the_cap_whatever_was_granted_before(simulate: Simulate) -> None:
    session, timers = launched(simulate(cluster="max_hours = 1"))
    rate = session.cluster.status().usd_per_hour
    session.cluster.extend(50)
    session.cluster.stop()
    spent_usd = session.cluster.status().spent_usd
    assert rate is not None
    assert spent_usd is not None
    capped = replace(timers.project, cluster=f"max_dollars = {(spent_usd + rate / 2).quantize(CENT, ROUND_CEILING)}")
    capped.session().cluster.start()

    assert all(25 <= int(arguments[0]) <= 31 for arguments in timers.arguments.values())


@pytest.mark.parametrize(("cents_less", "is_enough"), [(0, True), (1, False)])
def test_a_start_needs_as_much_of_the_cap_as_a_launch(simulate: Simulate, cents_less: int, is_enough: bool) -> None:
    session, _ = launched(project := simulate())
    rate = session.cluster.status().usd_per_hour
    session.cluster.stop()
    spent_usd = session.cluster.status().spent_usd
    assert rate is not None
    assert spent_usd is not None
    # A cent is less than a minute of both.
    cap_usd = (spent_usd + rate * MIN_MINUTES / 60).quantize(CENT, ROUND_CEILING) - cents_less * CENT
    capped = replace(project, cluster=f"max_dollars = {cap_usd}").session()

    if is_enough:
        assert [result.state for result in capped.cluster.start()] == ["running", "running"]
    else:
        with pytest.raises(UsageError, match="is spent for ml-0 ml-1"):
            capped.cluster.start()


def test_after_a_start_the_tags_have_the_time_that_the_timers_report(simulate: Simulate) -> None:
    session, timers = launched(project := simulate(cluster="max_hours = 8"))
    session.cluster.stop()
    timers.early = timedelta(minutes=30)
    results = session.cluster.start()

    expiries = {instance.id: instance.expires_at for instance in session.cluster.status().up}
    assert {result.id: result.expires_at for result in results} == expiries
    assert all(expiry and abs(expiry - project.clock.now() - 7.5 * HOUR) < HOUR / 30 for expiry in expiries.values())


def test_after_a_start_a_host_without_a_timer_keeps_its_tag_with_a_warning(simulate: Simulate) -> None:
    session, timers = launched(project := simulate(cluster="max_hours = 8"))
    session.cluster.stop()
    timers.silent, timers.early = {"ml-1"}, timedelta(minutes=30)
    session.cluster.start()

    left = {item.name: item.expires_at - project.clock.now() for item in session.cluster.status().up if item.expires_at}
    assert left["ml-0"] < 7.6 * HOUR < 7.9 * HOUR < left["ml-1"]
    assert sum("the tagged shutdown time may be too late: ml-1: " in text for text in project.warnings) == 1


def test_a_start_that_takes_longer_than_the_cap_allows_leaves_a_minute(simulate: Simulate) -> None:
    slow = simulate(make_fault("slow-boot", seconds=700))
    session, timers = launched(replace(slow, config=CONFIG.replace("ready_timeout = 300", "ready_timeout = 900")))
    rate = session.cluster.status().usd_per_hour
    session.cluster.stop()
    spent_usd = session.cluster.status().spent_usd
    assert rate is not None
    assert spent_usd is not None
    cap_usd = (spent_usd + rate * (MIN_MINUTES + 1) / 60).quantize(CENT, ROUND_CEILING)
    capped = replace(timers.project, cluster=f"max_dollars = {cap_usd}")
    capped.session().cluster.start()

    assert [arguments[0] for arguments in timers.arguments.values()] == ["1", "1"]


def test_times_of_shutdown_that_cannot_be_tagged_after_a_start_are_a_warning(simulate: Simulate) -> None:
    session, timers = launched(project := simulate(cluster="max_hours = 8"))
    session.cluster.stop()

    def answer(host: Host, command: str) -> str:
        if "stratus-expire" in command:
            project.cloud.play(Scenario(7, (make_fault("denied", action="CreateTags"),)))
        return timers(host, command)

    project.stdout = answer
    results = project.session().cluster.start()

    assert [result.state for result in results] == ["running", "running"]
    assert sum("the tagged shutdown time may be too late: " in text for text in project.warnings) == 1


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
