"""Placement groups and Elastic Fabric Adapters: checked before a launch, made with it, and never left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def coupled(simulate: Simulate, settings: str = "placement = cluster", **options: str) -> SimulatedProject:
    """Return a project whose config file has further lines under ``[vms]``."""
    project = simulate(**options)
    project.config += f"[vms]\n{settings}\n"
    return project


def placement_groups(project: SimulatedProject) -> list[str]:
    """Return the placement groups of the account."""
    answer = project.cloud.session().client("ec2").describe_placement_groups()
    return [group["GroupName"] for group in answer["PlacementGroups"]]


def only_group(project: SimulatedProject) -> dict[str, Any]:
    """Return the only placement group of the account."""
    (group,) = project.cloud.session().client("ec2").describe_placement_groups()["PlacementGroups"]
    return dict(group)


def test_vms_are_launched_into_a_tagged_group_that_terminate_all_deletes(simulate: Simulate) -> None:
    project = coupled(simulate)
    session = project.session()
    session.cluster.launch(session.cluster.plan(3))
    group, tags = only_group(project), {}
    for tag in group["Tags"]:
        tags[tag["Key"]] = tag["Value"]

    assert (group["Strategy"], tags["stratus:cluster"]) == ("cluster", "ml")
    assert len({instance.zone for instance in session.inventory.instances()}) == 1
    assert "placement-group" in [entry.kind for entry in session.context.journal.entries()]
    assert session.cluster.status().managed.resources == ()
    report = session.cluster.terminate()
    assert report.remaining == ()
    assert [end.resource.kind for end in report.managed.ends] == ["placement group"]
    assert placement_groups(project) == []


def test_another_computer_with_the_same_settings_deletes_the_group(simulate: Simulate) -> None:
    project = coupled(simulate)
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))

    assert project.session("desktop").cluster.terminate().remaining == ()
    assert placement_groups(project) == []


def test_a_group_is_kept_while_a_vm_of_it_is_left(simulate: Simulate) -> None:
    project = coupled(simulate)
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    first, _ = session.inventory.instances()
    ec2 = project.cloud.session().client("ec2")
    ec2.modify_instance_attribute(InstanceId=first.id, DisableApiTermination={"Value": True})
    began = project.clock.monotonic()

    (left, *_) = session.cluster.terminate().remaining
    assert "is protected" in str(left)
    # Not waited for: what keeps it is reported already.
    assert project.clock.monotonic() - began < 400
    ec2.modify_instance_attribute(InstanceId=first.id, DisableApiTermination={"Value": False})
    assert session.cluster.terminate().remaining == ()
    assert placement_groups(project) == []


def test_a_group_is_deleted_although_the_setting_was_removed_since(simulate: Simulate) -> None:
    project = coupled(simulate)
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    project.clock.sleep(600)
    session.cluster.status()
    project.config = project.config.replace("placement = cluster", "")

    assert project.session().cluster.terminate().remaining == ()
    assert placement_groups(project) == []


def test_more_vms_go_to_the_zone_of_the_first(simulate: Simulate) -> None:
    project = coupled(simulate)
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    plan = session.cluster.plan(2)

    assert {pool.subnet.zone for pool in plan.pools} == {session.inventory.instances()[0].zone}
    session.cluster.launch(plan)
    assert project.our_states == ["running"] * 3


def test_vms_in_several_zones_are_refused(simulate: Simulate) -> None:
    project = simulate()
    project.cloud.play(Scenario(1, (make_fault("no-capacity", where="us-west-2a", machines=1),)))
    session = project.session()
    for _ in range(2):
        session.cluster.launch(session.cluster.plan(1))
    project.config += "[vms]\nplacement = cluster\n"

    with pytest.raises(UsageError, match="needs all VMs in one zone: ml-0 ml-1 are in us-west-2a, us-west-2b"):
        project.session().cluster.plan(1)


@pytest.mark.parametrize("cluster", ["instance_type = t3.large", "fallback_instance_types = t3.2xlarge"])
def test_types_that_cannot_be_placed_together_are_refused(simulate: Simulate, cluster: str) -> None:
    project = coupled(simulate, cluster=cluster)

    with pytest.raises(UsageError, match=r"t3\.\w+ cannot be in a cluster placement group"):
        project.session().cluster.plan(2)
    assert placement_groups(project) == []


def test_a_group_of_somebody_else_is_refused_before_the_launch(simulate: Simulate) -> None:
    project = coupled(simulate)
    session = project.session()
    name = session.context.cluster_id.resource_name
    project.cloud.session().client("ec2").create_placement_group(GroupName=name, Strategy="cluster")

    with pytest.raises(CloudRefused, match="exists, and it is not tagged as this cluster's"):
        session.cluster.plan(1)


def test_without_room_next_to_each_other_the_error_says_what_helps_and_nothing_is_left(simulate: Simulate) -> None:
    project = coupled(simulate)
    project.cloud.play(Scenario(1, (make_fault("no-capacity", machines=1),)))
    session = project.session()

    with pytest.raises(CloudRefused) as refused:
        session.cluster.launch(session.cluster.plan(2))
    assert "without [vms] placement = cluster" in str(refused.value.fix)
    assert placement_groups(project) == []


def test_a_full_zone_is_left_for_another_as_long_as_no_vm_is_there(simulate: Simulate) -> None:
    project = coupled(simulate, cluster="allow_partial = yes")
    project.cloud.play(Scenario(1, (make_fault("no-capacity", where="us-west-2a", machines=1),)))
    session = project.session()
    session.cluster.launch(session.cluster.plan(3))

    # One fits into the first zone, and the others must not be elsewhere: EC2 refuses that.
    assert project.our_states == ["running"]


def test_a_group_that_is_not_known_everywhere_yet_is_waited_for(simulate: Simulate) -> None:
    project = coupled(simulate)
    late = make_fault(
        "error", when="at calls 1 to 2", action="RunInstances", code="InvalidPlacementGroup.Unknown", message="unknown"
    )
    session = project.session()
    plan = session.cluster.plan(1)
    project.cloud.play(Scenario(1, (late,)))
    session.cluster.launch(plan)

    assert project.our_states == ["running"]


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_answer_leaves_no_group(simulate: Simulate, applied: bool) -> None:
    project = coupled(simulate)
    session = project.session()
    plan = session.cluster.plan(1)
    lost = make_fault("dropped", action="CreatePlacementGroup", applied=applied)
    project.cloud.play(Scenario(1, (lost,)))
    with pytest.raises(StratusError):
        session.cluster.launch(plan)
    project.cloud.play(Scenario(1, ()))

    assert project.session().cluster.terminate().remaining == ()
    assert placement_groups(project) == []


def test_efa_is_on_every_network_card_of_vms_without_public_addresses(simulate: Simulate) -> None:
    project = coupled(simulate, "placement = cluster\nefa = yes", cluster="instance_type = p4d.24xlarge")
    project.config = project.config.replace("ready_timeout", "address = private\nready_timeout")
    session = project.session()
    plan = session.cluster.plan(1)
    assert plan.efa_interfaces == 4
    session.cluster.launch(plan)

    ec2 = project.cloud.session().client("ec2")
    (interfaces,) = (
        item["NetworkInterfaces"]
        for reservation in ec2.describe_instances()["Reservations"]
        for item in reservation["Instances"]
    )
    assert len(interfaces) == 4
    (own,) = [group for group in ec2.describe_security_groups()["SecurityGroups"] if "-ml-" in group["GroupName"]]
    for rules in (own["IpPermissions"], own["IpPermissionsEgress"]):
        pairs = [pair["GroupId"] for rule in rules if rule["IpProtocol"] == "-1" for pair in rule["UserIdGroupPairs"]]
        assert pairs == [own["GroupId"]]
    assert session.cluster.terminate().remaining == ()
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_beside_a_public_address_there_is_one_efa(simulate: Simulate) -> None:
    project = coupled(simulate, "efa = yes", cluster="instance_type = p4d.24xlarge")
    session = project.session()
    plan = session.cluster.plan(1)
    session.cluster.launch(plan)

    assert plan.efa_interfaces == 1
    assert all(instance.public_address for instance in session.inventory.instances())


def test_a_type_without_efa_is_refused_and_types_that_have_it_are_named(simulate: Simulate) -> None:
    project = coupled(simulate, "efa = yes", cluster="instance_type = g5.xlarge")

    with pytest.raises(UsageError, match=r"g5\.xlarge has no Elastic Fabric Adapter") as refused:
        project.session().cluster.plan(1)
    assert "such as g5.8xlarge" in str(refused.value.fix)


def test_a_group_of_the_user_must_allow_what_efa_needs(simulate: Simulate) -> None:
    project = coupled(simulate, "efa = yes", cluster="instance_type = c7i.metal-48xl")
    ec2 = project.cloud.session().client("ec2")
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    group_id = ec2.create_security_group(GroupName="lab", Description="lab", VpcId=vpc["VpcId"])["GroupId"]
    ssh: Any = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[ssh])
    project.aws = f"security_group_id = {group_id}"

    with pytest.raises(UsageError, match="needs all traffic from itself and to itself allowed") as refused:
        project.session().cluster.plan(1)
    assert str(refused.value.fix).count("aws ec2 authorize-security-group-") == 2
    itself: Any = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}]
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=itself)
    ec2.authorize_security_group_egress(GroupId=group_id, IpPermissions=itself)
    assert project.session().cluster.plan(1).efa_interfaces == 1
