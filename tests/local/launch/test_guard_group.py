"""A named security group: TerminateAll proves that no VM is left, by the guard group or by time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.ec2 import guard_groups, security_groups
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S
from orchestrator.core.errors import CloudRefused
from orchestrator.session import Session
from tests.support.localcloud.clients import boto
from tests.support.localcloud.instances import allow_ssh
from tests.support.project import Project
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]

HIDDEN = make_fault("invisible", seconds=300)
"""EC2 shows no VM, and none of its tags, for as long as AWS advises to wait."""

REFUSALS = [make_fault("denied", action=name) for name in ("CreateSecurityGroup", "RevokeSecurityGroupEgress")]


def with_named_group(project: SimulatedProject) -> SimulatedProject:
    """Return a project whose settings name a security group of the user."""
    ec2 = project.cloud.session().client("ec2")
    vpc_id = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    # Without a call of ours: the scenario may deny CreateSecurityGroup.
    named = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    named_id = next(group["GroupId"] for group in named if group["VpcId"] == vpc_id)
    rule: Any = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=named_id, IpPermissions=[rule])
    project.aws = f"security_group_id = {named_id}"
    return project


def request(project: SimulatedProject) -> Session:
    """Request two instances, and leave before EC2 shows them."""
    session = project.session()
    session.cluster.launcher.request(session.cluster.plan(2))
    return session


def groups(project: SimulatedProject) -> dict[str, Any]:
    """Return the security groups by name, without the default groups."""
    found = project.cloud.session().client("ec2").describe_security_groups()["SecurityGroups"]
    return {group["GroupName"]: group for group in found if group["GroupName"] != "default"}


def test_instances_have_the_named_group_and_one_without_rules(simulate: Simulate) -> None:
    project = with_named_group(simulate())
    session = request(project)
    ((name, guard),) = groups(project).items()

    assert name == f"{session.context.cluster_id.resource_name}-guard"
    assert (guard["IpPermissions"], guard["IpPermissionsEgress"]) == ([], [])
    named_id = session.context.settings.aws.security_group_id
    assert [set(instance.group_ids) for instance in session.cluster.inventory.instances()] == [
        {named_id, guard["GroupId"]}
    ] * 2
    # A second launch finds it, and changes nothing.
    calls = project.count_calls("CreateSecurityGroup"), project.count_calls("RevokeSecurityGroupEgress")
    request(project)
    assert (project.count_calls("CreateSecurityGroup") - 1, project.count_calls("RevokeSecurityGroupEgress")) == (
        calls[0] - 1,
        calls[1],
    )

    report = project.session().cluster.terminate()
    assert (len(report.terminated_ids), report.group_state, report.remaining) == (4, "gone", ())
    assert groups(project) == {}


@pytest.mark.slow
@pytest.mark.parametrize("faults", [(), *((refusal,) for refusal in REFUSALS)], ids=["guard", "no group", "rules stay"])
def test_another_computer_leaves_nothing_of_a_launch_that_ec2_does_not_show(
    simulate: Simulate, faults: tuple[Any, ...]
) -> None:
    project = with_named_group(simulate(HIDDEN, *faults))
    request(project)
    report = project.session("desktop").cluster.terminate()

    assert project.our_states == []
    assert (len(report.terminated_ids), report.remaining) == (2, ())
    assert groups(project) == {}


@pytest.mark.parametrize("refusal", REFUSALS, ids=["no group", "rules stay"])
def test_without_a_guard_group_a_launch_says_so_and_only_time_is_a_proof(simulate: Simulate, refusal: Any) -> None:
    project = with_named_group(simulate(refusal))
    session = request(project)
    assert any("proves later that no VM is left" in text for text in project.warnings)
    # Rules of the group that could not be emptied must not apply to the instances.
    assert [len(instance.group_ids) for instance in session.cluster.inventory.instances()] == [1, 1]
    began = project.clock.monotonic()
    report = session.cluster.terminate()

    assert report.remaining == ()
    assert project.clock.monotonic() - began >= VISIBILITY_LAG_S
    assert sum("looking for VMs until" in text for text in project.warnings) == 1


class Killed(BaseException):
    """End of the process at this moment."""


def ensure_guard(session: Session, check: Callable[[str], None]) -> str:
    """Create the guard group of a session's cluster."""
    context, vpc_id = session.context, session.cluster.plan(1).placement.vpc_id
    return guard_groups.ensure(context.clients, context.cluster_id, vpc_id, journal=context.journal, check=check)


def test_a_guard_group_of_a_launch_that_was_killed_before_it_used_the_group_is_deleted_at_once(
    simulate: Simulate,
) -> None:
    project = with_named_group(simulate())

    def kill(_: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        ensure_guard(project.session(), kill)
    assert len(groups(project)) == 1
    began = project.clock.monotonic()
    report = project.session("desktop").cluster.terminate()

    assert (report.group_state, report.remaining) == ("gone", ())
    assert project.clock.monotonic() - began < 10
    assert groups(project) == {}


@pytest.mark.slow
def test_a_guard_group_that_ec2_refuses_to_launch_with_leaves_a_mark(simulate: Simulate) -> None:
    """Also after AWS permits it: what was launched before has no guard group."""
    project = with_named_group(simulate())
    session = project.session()
    context = session.context
    named_id = context.settings.aws.security_group_id

    def refuse(_: str) -> None:
        raise CloudRefused("no", code="UnauthorizedOperation")

    with pytest.raises(CloudRefused):
        ensure_guard(session, refuse)
    vpc_id = session.cluster.plan(1).placement.vpc_id
    for _ in range(2):
        guard_groups.mark_unguarded(context.clients, context.cluster_id, vpc_id, journal=context.journal)

    assert len(groups(project)) == 2
    assert guard_groups.is_missing(context.clients, context.cluster_id, named_id)
    assert guard_groups.is_missing(context.clients, context.cluster_id, "")
    ensure_guard(session, lambda _: None)
    assert guard_groups.is_missing(context.clients, context.cluster_id, named_id)
    assert project.session().cluster.terminate().remaining == ()
    assert groups(project) == {}


def test_where_the_group_is_permitted_and_there_is_none_nothing_is_waited_for(simulate: Simulate) -> None:
    project = with_named_group(simulate())
    began = project.clock.monotonic()
    report = project.session("desktop").cluster.terminate()

    assert (report.group_state, report.remaining) == ("none", ())
    assert project.clock.monotonic() - began < VISIBILITY_LAG_S


@pytest.mark.slow
def test_on_the_embedded_cloud_another_computer_terminates_what_is_not_shown_yet(
    cloud: dict[str, str], tmp_path: Path
) -> None:
    lab = Project(tmp_path, "guarded", cloud)
    lab.job("single = true\n")
    ec2 = boto(cloud, "ec2")
    default = [{"Name": "group-name", "Values": ["default"]}]
    named_id = ec2.describe_security_groups(Filters=default)["SecurityGroups"][0]["GroupId"]
    allow_ssh(ec2, named_id, network="0.0.0.0/0")
    text = lab.config.read_text().replace("instance_profile = rehearsal", f"security_group_id = {named_id}")
    lab.config.write_text(text)
    localcloud.scenario(Scenario(1, (make_fault("invisible", seconds=20),)), cloud["LOCALCLOUD_HOME"])
    try:
        with lab.session() as session:
            session.cluster.launcher.request(session.cluster.plan(1))
        with lab.session("desktop") as session:
            report = session.cluster.terminate()
            left = security_groups.own_groups(session.context.clients, session.context.cluster_id)
    finally:
        localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])

    assert [result.state for result in report.instances] == ["terminated"]
    assert (report.group_state, report.remaining, left) == ("gone", (), [])
