"""Failover: the next pool, a replacement, the next session; and resources that are never touched."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from localcloud.simulation.cloud import ClientCrash
from orchestrator.aws import identity
from orchestrator.core import file_lock, interrupts
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError
from tests.support.simulated_project import LAG, OWNER, SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]
ALSO = "fallback_instance_types = c7a.2xlarge"


def up(project: SimulatedProject, count: int = 2, computer: str = "laptop") -> list[str]:
    """Launch; return the ready hosts with their zones."""
    session = project.session(computer)
    return [f"{one.name} {one.zone}" for one in session.cluster.launch(session.cluster.plan(count)).ready]


def zones(project: SimulatedProject) -> list[str]:
    """Return the zones of a plan, in the order of its requests."""
    return [pool.subnet.zone for pool in project.session().cluster.plan(2).pools]


# -- pools


def test_a_zone_without_capacity_is_tried_once_before_the_next(simulate: Simulate) -> None:
    first, second = zones(simulate())[:2]
    project = simulate(make_fault("no-capacity", where=first))

    assert up(project) == [f"ml-0 {second}", f"ml-1 {second}"]
    assert project.launch_requests == 2
    assert any(first in line and "InsufficientInstanceCapacity" in line and second in line for line in project.warnings)


@pytest.mark.slow
def test_the_next_session_skips_a_pool_that_had_no_capacity(simulate: Simulate) -> None:
    first = zones(simulate())[0]
    project = simulate(make_fault("no-capacity", where=first))
    up(project)
    project.session().cluster.terminate()
    before = project.launch_requests
    up(project)

    assert project.launch_requests == before + 1
    assert any("skipped" in line for line in project.warnings)
    project.cloud.clock.sleep(200)
    project.session().cluster.terminate()
    up(project)
    assert project.launch_requests == before + 3


def test_fallback_types_come_after_the_last_zone_and_only_if_configured(simulate: Simulate) -> None:
    nowhere = make_fault("no-capacity", where="c7i.2xlarge")
    project = simulate(nowhere, cluster=ALSO)
    up(project)

    assert {one.type for one in project.cloud.live_instances()} == {"c7a.2xlarge"}
    alone = simulate(nowhere)
    with pytest.raises(CloudRefused, match="no capacity in any of") as caught:
        up(alone)
    assert caught.value.exit_code == 3
    assert alone.launch_requests == len(zones(alone))
    assert alone.our_states == []
    assert alone.count_calls("DeleteSecurityGroup") == alone.count_calls("DeleteKeyPair") == 1


def test_with_allow_partial_the_next_zone_provides_the_rest(simulate: Simulate) -> None:
    """Never more VMs than requested, each with its share of the budget."""
    first, second = zones(simulate())[:2]
    project = simulate(
        make_fault("no-capacity", where=first, machines=1), cluster="allow_partial = yes\nmax_dollars = 3"
    )

    assert up(project, 3) == [f"ml-0 {first}", f"ml-1 {second}", f"ml-2 {second}"]
    assert project.launch_requests == 2
    ends = [machine.expires_at for machine in project.session().cluster.status().up if machine.expires_at]
    assert len(ends) == 3
    assert (max(ends) - min(ends)).total_seconds() < 120
    alone = simulate(make_fault("no-capacity", where=first, machines=1), cluster="max_dollars = 3")
    assert up(alone, 3) == [f"ml-{number} {second}" for number in range(3)]


def test_a_quota_error_tries_no_other_zone(simulate: Simulate) -> None:
    project = simulate(make_fault("error", code="VcpuLimitExceeded", action="RunInstances"))

    with pytest.raises(CloudRefused, match="VcpuLimitExceeded"):
        up(project)
    assert project.launch_requests == 1


def test_spot_falls_back_to_on_demand_only_if_configured(simulate: Simulate) -> None:
    with pytest.raises(CloudRefused):
        up(simulate(make_fault("no-capacity", where="spot"), cluster="market = spot"))
    project = simulate(make_fault("no-capacity", where="spot"), cluster="market = spot\nspot_fallback = yes")
    up(project)
    assert {one.market for one in project.cloud.live_instances()} == {"on-demand"}
    cheap = simulate(cluster="market = spot")
    up(cheap)
    assert {one.market for one in cheap.cloud.live_instances()} == {"spot"}


# -- doubt


@pytest.mark.slow
def test_an_error_after_the_launch_never_launches_twice(simulate: Simulate) -> None:
    for trouble in (
        make_fault("error", code="InternalError", action="RunInstances", applied="yes", times=1),
        make_fault("dropped", action="RunInstances", times=1),
        make_fault("slow", action="RunInstances", seconds=100, times=1),
    ):
        project = simulate(trouble, LAG)
        assert len(up(project)) == 2
        assert project.cloud.max_live_instances() == 2


def test_expired_credentials_leave_the_journal_open_until_new_ones_settle_it(simulate: Simulate) -> None:
    project = simulate(
        make_fault("dropped", action="RunInstances", times=1), make_fault("expired-keys", when="from call 17"), LAG
    )
    with pytest.raises(StratusError) as caught:
        up(project)
    project.cloud.play(Scenario())

    assert caught.value.exit_code in (3, 4)
    assert project.session().cluster.terminate().remaining == ()
    assert project.our_states == []


# -- hosts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dies-pending", "ssh-silent", "ssh-refused", "boot-hangs", "stuck-pending"])
def test_a_dead_or_unreachable_host_is_replaced_once_without_exceeding_the_count(simulate: Simulate, kind: str) -> None:
    project = simulate(make_fault(kind, where="host 1"))

    assert [host.split()[0] for host in up(project)] == ["ml-0", "ml-1"]
    assert project.cloud.max_live_instances(OWNER) == 2
    assert project.launch_requests == 2


def test_a_replacement_that_fails_too_is_the_last(simulate: Simulate) -> None:
    project = simulate(make_fault("ssh-silent", where="host 1-9"))
    session = project.session()
    report = session.cluster.launch(session.cluster.plan(2))

    assert (list(report.failed), project.launch_requests) == (["ml-1"], 2)
    assert project.cloud.max_live_instances(OWNER) == 2


def test_an_instance_that_was_terminated_on_purpose_is_not_replaced(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    plan = session.cluster.plan(2)

    def by_hand(when: str, action: str, _: int) -> None:
        if when == "after" and action == "RunInstances" and project.cloud.live_instances():
            project.cloud.on_call_boundary = lambda *_: None
            victim = project.cloud.live_instances()[0].id
            project.cloud.session().client("ec2", region_name="us-west-2").terminate_instances(InstanceIds=[victim])

    project.cloud.on_call_boundary = by_hand
    report = session.cluster.launch(plan)

    assert len(report.failed) == 1
    assert any("terminated on request" in line for line in project.warnings)


# -- ending


def test_terminate_all_covers_the_configured_regions(simulate: Simulate) -> None:
    project = simulate(aws="terminate_regions = us-east-1, eu-west-1")
    report = project.session().cluster.terminate()

    assert report.remaining == ()
    assert project.count_calls("DescribeInstances") == 4  # one for each region, and one for whose else there are


def test_a_protected_instance_is_listed_and_the_others_are_terminated(simulate: Simulate) -> None:
    project = simulate(make_fault("protected", where="host 1"))
    up(project)
    report = project.session().cluster.terminate()

    assert len(report.remaining) == 3
    assert "protected" in str(report.remaining[0])
    assert len(project.our_states) == 1


def test_foreign_instances_groups_and_keys_with_our_names_are_never_touched(simulate: Simulate) -> None:
    own = simulate().session().context.cluster_id
    theirs = "stratus:cluster=ml, stratus:owner=arn:aws:iam::123456789012:user/colleague"
    project = simulate(
        make_fault(
            "colleague",
            machines=2,
            tags=f"Name=ml-0, {theirs}",
            group=own.resource_name.replace("-ml-", "-other-"),
            key="k",
        )
    )
    others = [one.id for one in project.cloud.live_instances()]
    up(project)
    assert project.session("another").cluster.terminate().remaining == ()

    assert [one.id for one in project.cloud.live_instances()] == others
    assert not [one for one in project.cloud.live_instances() if one.tags.get(identity.TAG_OWNER) == OWNER]


def test_without_an_answer_from_aws_the_termination_is_reported_as_unconfirmed(simulate: Simulate) -> None:
    project = simulate(make_fault("error", code="InternalError", action="TerminateInstances"))
    up(project)
    report = project.session().cluster.terminate()

    assert report.remaining
    assert len(project.our_states) == 2


# -- after a crash


def test_the_next_session_finds_an_interrupted_launch_and_resumes_or_terminates_it(simulate: Simulate) -> None:
    for end in (True, False):
        project = simulate(LAG)
        project.cloud.on_call_boundary = dying(project)
        session = project.session()
        with pytest.raises(ClientCrash):
            session.cluster.launch(session.cluster.plan(2))
        project.cloud.on_call_boundary = lambda *_: None
        (found,) = project.session().cluster.interrupted_launches()
        assert (found.instances, found.unconfirmed_count) == ((), 2)
        project.cloud.clock.sleep(70)
        (found,) = project.session().cluster.interrupted_launches()
        assert len(found.instances) == 2
        assert found.spent_usd is not None
        report = project.session().cluster.recover(terminate=end)
        assert (report.remaining, len(report.ready), len(project.our_states)) == ((), 0 if end else 2, 0 if end else 2)
        assert project.session().cluster.interrupted_launches() == ()
        assert project.session().cluster.terminate().remaining == ()


def dying(project: SimulatedProject) -> Callable[[str, str, int], None]:
    """Crash after the instances were created, before the answer arrives."""

    def die(when: str, action: str, _: int) -> None:
        if when == "after" and action == "RunInstances" and project.cloud.live_instances():
            raise ClientCrash

    return die


def test_a_second_launch_right_after_the_first_takes_other_names(simulate: Simulate) -> None:
    project = simulate(LAG)
    session = project.session()
    cluster, plan = session.cluster, session.cluster.plan(2)
    cluster.launch(plan)

    assert project.session().cluster.plan(2).names == ("ml-2", "ml-3")


# -- one at a time


def test_two_shells_do_not_launch_into_one_cluster_at_the_same_time(tmp_path: Path) -> None:
    again = file_lock.hold(tmp_path / "a.lock", "launching into ml")
    late = pytest.raises(file_lock.AlreadyLocked, match=f"process {os.getpid()} on this computer is launching into ml")
    with file_lock.hold(tmp_path / "a.lock", "launching into ml"), late, again:
        pass
    with file_lock.hold(tmp_path / "a.lock", "launching into ml"):
        pass


def test_terminate_all_waits_for_a_launch_in_another_shell_and_reports_both(simulate: Simulate) -> None:
    project = simulate()
    up(project)
    session = project.session()
    with project.session().context.lock():
        report = session.cluster.terminate()

    assert project.our_states == []
    assert any("launching into ml" in str(line) for line in report.remaining)


def test_the_first_ctrl_c_waits_for_a_safe_point_and_the_second_does_not() -> None:
    told = threading.Event()
    with interrupts.defer_first_interrupt(told.set) as shield:
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(5)
        with pytest.raises(KeyboardInterrupt):
            shield.raise_if_pending()
        with pytest.raises(KeyboardInterrupt):
            _press()
        assert shield.repeated
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the signal comes between two steps of Python
        pass


def test_a_launch_that_cannot_be_rolled_back_lists_its_instances(simulate: Simulate) -> None:
    project = simulate(make_fault("error", code="InternalError", action="TerminateInstances"))

    def interrupt(when: str, action: str, _: int) -> None:
        if (when, action) == ("after", "RunInstances") and project.cloud.live_instances():
            project.cloud.on_call_boundary = lambda *_: None
            raise KeyboardInterrupt

    project.cloud.on_call_boundary = interrupt
    with pytest.raises(LeftRunning) as caught:
        up(project)
    assert caught.value.exit_code == 4
    assert caught.value.left
