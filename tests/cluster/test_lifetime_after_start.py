"""Automatic shutdown of instances that were stopped and are started again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.launch.time_limits import MIN_MINUTES
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from tests.support.simulated_project import CONFIG, SimulatedProject
from tests.support.timers import launched

Simulate = Callable[..., SimulatedProject]

HOUR = timedelta(hours=1)
CENT = Decimal("0.01")


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
