"""TerminateAll: what is in its report, in the own region and in others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch import launch_log
from orchestrator.cluster.inventory import SameRoleOwner
from orchestrator.cluster.teardown import KEPT
from orchestrator.cluster.terminate import LOCK_TIMEOUT_S, TerminateReport, Terminator
from orchestrator.core.cost import UNKNOWN, Amount, exactly
from orchestrator.session import Session
from tests.support.simulated_project import CONFIG, SimulatedProject

Simulate = Callable[..., SimulatedProject]

TERMINATED = InstanceResult("ml-0", "i-0", "terminated")
RUNNING = InstanceResult("ml-1", "i-1", "running", "OperationNotPermitted")

COLLEAGUE = SameRoleOwner("o-1", "assumed-role/Lab/ada", ("ml-0",), None)


def launched(project: SimulatedProject) -> Session:
    """Launch two instances and return the session."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    return session


@pytest.mark.parametrize(
    ("report", "remaining"),
    [
        (TerminateReport((TERMINATED,), "gone", "gone", exactly(Decimal(1))), ()),
        (TerminateReport((), "none", "none", UNKNOWN, caveat="Nothing found."), ()),
        (TerminateReport((TERMINATED, RUNNING), "gone", "none", UNKNOWN), ("i-1 ml-1: OperationNotPermitted",)),
        (TerminateReport((), "in use", "gone", UNKNOWN), ("security group: in use",)),
        (TerminateReport((), "none", "denied", UNKNOWN), ("key pair: denied",)),
        (TerminateReport((), "none", "none", UNKNOWN, unconfirmed=("launch r",)), ("launch r",)),
        (TerminateReport((), "none", "none", UNKNOWN, same_role=(COLLEAGUE,)), ()),
    ],
)
def test_everything_that_is_not_gone_remains(report: TerminateReport, remaining: tuple[str, ...]) -> None:
    assert report.remaining == remaining
    assert report.terminated_ids == tuple(result.id for result in report.instances if result is TERMINATED)


def test_instances_group_and_key_are_gone_and_the_cost_is_known(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    project.cloud.clock.sleep(3600)
    usd_per_hour = session.cluster.status().usd_per_hour
    report = session.cluster.terminate()

    assert [(result.name, result.state) for result in report.instances] == [
        ("ml-0", "terminated"),
        ("ml-1", "terminated"),
    ]
    assert (report.group_state, report.key_state, report.remaining, report.caveat) == ("gone", "gone", (), "")
    assert usd_per_hour is not None
    assert report.spent_usd is not None
    assert usd_per_hour <= report.spent_usd < 2 * usd_per_hour
    recorded = session.context.launch_log.ended()
    assert recorded.keys() == set(report.terminated_ids)
    assert sum((ended.cost for ended in recorded.values()), Amount()) == report.spent


def test_spot_vms_that_another_computer_launched_cost_the_present_price(simulate: Simulate) -> None:
    project = simulate(cluster="market = spot")
    launched(project)
    (project.folder / "laptop/prices.json").unlink()
    report = project.session("desktop").cluster.terminate()

    assert len(report.terminated_ids) == 2
    assert report.spent_usd


def test_a_new_computer_that_finds_nothing_names_the_caveat(simulate: Simulate) -> None:
    project = simulate()
    report = project.session("desktop").cluster.terminate()

    assert "in the last 300 s may not be visible yet" in report.caveat
    launched(project).cluster.terminate()
    assert project.session().cluster.terminate().caveat == ""


def test_a_launch_that_keeps_the_lock_is_waited_for_and_then_reported(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    began = project.clock.monotonic()
    with project.session().context.lock():
        report = session.cluster.terminate()

    assert project.our_states == []
    assert project.clock.monotonic() - began >= LOCK_TIMEOUT_S
    assert any("what it launches from now on remains" in str(line) for line in report.remaining)
    assert sum("waiting for it to stop" in text for text in project.warnings) == 1


@pytest.mark.slow
def test_other_regions_come_from_the_settings(simulate: Simulate) -> None:
    project = simulate(aws="terminate_regions = eu-west-1, us-west-2")
    launched(project).cluster.terminate()
    everywhere = simulate(aws="terminate_regions = all")
    everywhere.session().cluster.terminate()

    assert project.count_calls("DescribeRegions") == 0
    assert everywhere.count_calls("DescribeRegions") == 1


def test_beside_a_protected_instance_those_that_ec2_does_not_show_yet_are_named(simulate: Simulate) -> None:
    """Their launch was made on another computer: its tags tell how many there are."""
    faults = make_fault("protected", where="host 0", times=1), make_fault("invisible", where="host 1", seconds=200)
    project = simulate(*faults)
    session = project.session("desktop")
    plan = session.cluster.plan(3)
    session.cluster.launcher.request(plan)
    report = project.session().cluster.terminate()

    assert [result.state for result in report.instances] == ["pending", "terminated"]
    line = f"launch {plan.launch_id} requested 3 VMs and EC2 shows 2: the others may still appear"
    assert line in report.remaining
    project.cloud.clock.sleep(200)
    report = project.session().cluster.terminate()
    assert [result.id for result in report.instances if result.state == "terminated"]
    assert not any("may still appear" in str(line) for line in report.remaining)


def test_regions_that_cannot_be_listed_are_unconfirmed(simulate: Simulate) -> None:
    project = simulate(
        make_fault("error", code="UnauthorizedOperation", action="DescribeRegions"), aws="terminate_regions = all"
    )
    report = launched(project).cluster.terminate()

    assert project.our_states == []
    (line,) = report.remaining
    assert str(line).startswith("other regions: ")


def test_a_failed_lookup_of_other_owners_is_only_a_warning(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    session.cluster.terminate()
    project.cloud.play(Scenario(7, (make_fault("denied", action="DescribeInstances"),)))
    report = session.cluster.terminate()

    assert report.other_owners == ()
    assert any("VMs of other owners were not looked up" in text for text in project.warnings)
    assert any("cluster ml in us-west-2" in str(line) for line in report.remaining)


def test_one_launch_is_terminated_alone_and_what_others_need_is_kept_for_them(simulate: Simulate) -> None:
    project = simulate()
    session, other = launched(project), project.session("desktop")
    shutil.copytree(project.folder / "laptop/keys", project.folder / "desktop/keys")
    second = other.cluster.plan(1)
    other.cluster.launch(second)

    report = Terminator(other.inventory).terminate_launch(second.launch_id)

    assert [(result.name, result.state) for result in report.instances] == [("ml-2", "terminated")]
    assert (report.untouched, report.group_state, report.key_state) == (("ml-0", "ml-1"), KEPT, KEPT)
    assert report.remaining == ()
    assert len(project.our_states) == 2
    last = Terminator(session.inventory).terminate_launch(session.inventory.instances()[0].launch_id)
    assert (last.untouched, last.group_state, last.key_state, last.remaining) == ((), "gone", "gone", ())


def test_the_group_is_kept_while_another_process_launches(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    launch_id = session.inventory.instances()[0].launch_id
    with project.session().context.lock():
        report = Terminator(session.inventory).terminate_launch(launch_id)

    assert project.our_states == []
    (reason,) = report.untouched
    assert "is launching into ml" in reason
    assert (report.group_state, report.key_state) == (KEPT, KEPT)


def test_instances_that_cannot_be_terminated_keep_the_group(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    launch_id = session.inventory.instances()[0].launch_id
    project.cloud.play(Scenario(7, (make_fault("denied", action="TerminateInstances"),)))

    report = Terminator(session.inventory).terminate_launch(launch_id)

    assert (report.untouched, report.group_state, report.key_state) == ((), KEPT, KEPT)
    assert len(report.remaining) == 4


def test_a_launch_that_cannot_be_looked_up_may_be_left(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    launch_id = session.inventory.instances()[0].launch_id
    project.cloud.play(Scenario(7, (make_fault("denied", action="DescribeInstances"),)))

    report = Terminator(session.inventory).terminate_launch(launch_id)

    assert (report.group_state, report.key_state) == (KEPT, KEPT)
    assert sum(str(line).startswith(f"launch {launch_id}: ") for line in report.remaining) == 1


def test_the_group_is_kept_for_a_request_whose_outcome_is_unknown(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    context, launch_id = session.context, session.inventory.instances()[0].launch_id
    facts = {"run": "r", "token": "t", "zone": "us-west-2a", "count": 2, "type": "c7i.2xlarge", "hosts": "ml-[9-10]"}
    context.journal.record_intent(launch_log.LAUNCH, **facts, **context.cluster_id.journal_fields)

    report = Terminator(session.inventory).terminate_launch(launch_id)

    assert (report.untouched, report.group_state, report.remaining) == (("ml-9", "ml-10"), KEPT, ())


def test_instances_in_another_region_of_the_settings_are_terminated(simulate: Simulate) -> None:
    project = simulate()
    launched(replace(project, config=CONFIG.replace("us-west-2", "eu-west-1")))
    report = replace(project, aws="terminate_regions = eu-west-1").session().cluster.terminate()

    assert [result.state for result in report.instances] == ["terminated"] * 2
    assert (report.remaining, project.cloud.live_instances()) == ((), [])


def test_another_cluster_into_which_a_process_launches_is_terminated_and_may_get_more(simulate: Simulate) -> None:
    project = simulate()
    earlier = launched(project)
    later = replace(project, config=CONFIG.replace("name = ml", "name = other")).session()
    with earlier.context.lock():
        report = later.cluster.terminate(everywhere=True)

    assert [result.state for result in report.instances] == ["terminated"] * 2
    assert sum("what it launches from now on remains" in str(line) for line in report.remaining) == 1


def test_another_cluster_is_terminated_without_its_lock(simulate: Simulate) -> None:
    project = simulate()
    launched(project)
    (lock,) = (project.folder / "laptop/locks").iterdir()
    lock.unlink()
    lock.mkdir()
    later = replace(project, config=CONFIG.replace("name = ml", "name = other")).session()
    report = later.cluster.terminate(everywhere=True)

    assert [result.state for result in report.instances] == ["terminated"] * 2
    assert report.remaining == ()


@pytest.mark.parametrize("count", [0, 1])
def test_a_journal_that_cannot_be_read_leaves_doubt_unless_a_group_could_be_deleted(
    simulate: Simulate, count: int
) -> None:
    project = simulate()
    session = project.session()
    if count:
        session.cluster.launch(session.cluster.plan(count))
    session.context.journal.path.unlink(missing_ok=True)
    session.context.journal.path.mkdir(parents=True)
    report = project.session().cluster.terminate()

    minutes = (launch_log.REQUEST_LIFETIME_S + VISIBILITY_LAG_S) / 60
    doubts = [line for line in report.remaining if f"in the last {minutes:.0f} min may not be visible yet" in str(line)]
    assert (len(doubts), len(report.remaining)) == (1 - count, 1 - count)
    assert project.our_states == []
    assert sum("journal.jsonl" in text for text in project.warnings) >= 1


def test_a_private_key_that_stays_on_this_computer_is_a_warning(simulate: Simulate) -> None:
    project = simulate()
    key_file = launched(project).inventory.hosts()[0].key_file
    key_file.unlink()
    key_file.mkdir()
    report = project.session().cluster.terminate()

    assert (report.key_state, report.remaining) == ("gone", ())
    assert sum(f"{key_file}: cannot be deleted: " in text for text in project.warnings) == 1


def test_a_home_without_a_lock_is_told_once_and_everything_is_terminated(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    home = project.folder / "laptop"
    home.rename(project.folder / "moved")
    home.write_text("no folder")

    report = session.cluster.terminate()

    assert project.our_states == []
    assert [result.state for result in report.instances] == ["terminated"] * 2
    assert sum("lock" in text for text in project.warnings) == 1


def test_the_group_of_the_settings_proves_nothing_without_a_guard_group(simulate: Simulate) -> None:
    project = simulate()
    groups = project.cloud.session().client("ec2").describe_security_groups()["SecurityGroups"]
    project.cloud.play(Scenario(7, (make_fault("denied", action="CreateSecurityGroup"),)))
    project.aws = f"security_group_id = {groups[0]['GroupId']}"
    began = project.clock.monotonic()
    until = (project.clock.now() + timedelta(seconds=VISIBILITY_LAG_S)).astimezone()

    project.session().cluster.terminate()

    (warning,) = (text for text in project.warnings if "no security group proves that no VM is left" in text)
    assert warning.endswith(tuple(f"looking for VMs until {until + timedelta(seconds=s):%H:%M:%S}" for s in range(30)))
    assert project.clock.monotonic() - began >= VISIBILITY_LAG_S
