"""Lookups of a launch plan against the embedded cloud, and settings that the region cannot satisfy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.aws.ec2 import images, instance_types, network
from orchestrator.aws.launch import run_instances
from orchestrator.core.errors import UsageError
from tests.support.aws.ec2_user import Ec2User, user

__all__ = ["user"]


def test_an_unknown_type_gets_a_suggestion(user: Ec2User) -> None:
    with pytest.raises(UsageError, match=r"c7i\.2xlrage is not an EC2 instance type.*Did you mean c7i\.2xlarge\?"):
        instance_types.find(user.clients, "c7i.2xlrage")


def test_an_instance_type_has_its_hardware_and_zones(user: Ec2User) -> None:
    found = instance_types.find(user.clients, "g5.12xlarge")

    assert (found.vcpus, found.memory_gib, found.gpus, found.gpu) == (48, 192, 4, "NVIDIA A10G")
    assert "x86_64" in found.architectures
    assert "us-west-2a" in found.zones


def test_an_image_is_found_by_alias_parameter_id_and_name(user: Ec2User) -> None:
    image = images.find(user.clients, "ubuntu-24.04")

    assert (image.user, image.architecture) == ("ubuntu", "x86_64")
    assert image.root_device.startswith("/dev/")
    assert images.find(user.clients, image.id).id == image.id
    assert images.find(user.clients, images.ALIASES["ubuntu-24.04"].ssm_parameter.format(deb="amd64")).id == image.id
    assert images.find(user.clients, image.name.rpartition("-")[0] + "-*").id == image.id
    assert images.find(user.clients, "Ubuntu-24.04", architecture="arm64").architecture == "arm64"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ami-00000000000000001", "there is no image ami-00000000000000001 in us-west-2"),
        ("/aws/service/canonical/nope", "SSM parameter /aws/service/canonical/nope cannot be read"),
        ("ubuntu-42.04", r"there is no image 'ubuntu-42.04'.*Did you mean ubuntu-2"),
    ],
)
def test_an_unknown_image_is_reported_with_valid_values(user: Ec2User, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        images.find(user.clients, name)
    assert "[cluster] image" in str(caught.value)


def test_an_image_of_another_architecture_is_refused_before_the_launch(user: Ec2User) -> None:
    arm = images.find(user.clients, "ubuntu-24.04", architecture="arm64").id
    user.settings = replace(user.settings, cluster=replace(user.settings.cluster, image=arm))

    with pytest.raises(UsageError, match=r"is built for arm64, c7i\.2xlarge is x86_64"):
        user.plan(1)


def test_unknown_subnets_and_groups_are_reported_with_existing_ones(user: Ec2User) -> None:
    place = network.find(user.clients, user.settings.aws)
    with pytest.raises(UsageError, match=r"subnet-0000000000000dead.*InvalidSubnetID") as subnet:
        network.find(user.clients, replace(user.settings.aws, subnet_id="subnet-0000000000000dead"))
    with pytest.raises(UsageError, match="there is no security group sg-0000000000000dead") as group:
        network.find(user.clients, replace(user.settings.aws, security_group_id="sg-0000000000000dead"))
    with pytest.raises(UsageError, match="has no subnets, or is not in us-west-2"):
        network.find(user.clients, replace(user.settings.aws, vpc_id="vpc-0000000000000dead"))

    assert any(each.id in str(subnet.value) for each in place.subnets)
    assert place.vpc_id in str(group.value)


def test_a_subnet_determines_the_vpc_and_must_match_the_other_settings(user: Ec2User) -> None:
    place = network.find(user.clients, user.settings.aws)
    named = replace(user.settings.aws, subnet_id=place.subnets[1].id)
    vpc = user.clients.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = user.clients.ec2.create_security_group(GroupName=user.cluster_id.cluster, Description="d", VpcId=vpc)[
        "GroupId"
    ]

    found = network.find(user.clients, named)
    with pytest.raises(UsageError, match=f"is in {place.vpc_id}, not in {vpc}"):
        network.find(user.clients, replace(named, vpc_id=vpc))
    with pytest.raises(UsageError, match=f"security group {group} belongs to {vpc}, the subnets to {place.vpc_id}"):
        network.find(user.clients, replace(named, security_group_id=group))
    user.clients.ec2.delete_security_group(GroupId=group)
    user.clients.ec2.delete_vpc(VpcId=vpc)

    assert (found.vpc_id, found.subnets) == (place.vpc_id, (place.subnets[1],))


def test_a_plan_changes_nothing_and_has_a_maximum_cost(user: Ec2User) -> None:
    user.calls.clear()
    plan = user.plan(2)

    assert all(call.startswith(("Describe", "Get")) for call in user.calls)
    assert sum(user.calls.values()) <= 7
    assert (plan.count, plan.instance_type, plan.vcpus, plan.memory_gib) == (2, "c7i.2xlarge", 8, 16)
    assert plan.max_cost_usd is not None
    assert f"{plan.max_cost_usd:.2f}" == "5.92"  # public addresses included
    assert plan.subnet in plan.placement.subnets


def test_a_dry_run_launches_nothing(user: Ec2User) -> None:
    run_instances.check(user.clients, user.plan(1))

    assert user.calls["RunInstances"] == 1
    assert user.instances() == []


def test_more_instances_than_free_addresses_are_refused_before_the_launch(user: Ec2User) -> None:
    with pytest.raises(UsageError, match=r"no subnet has 100000 free IP addresses"):
        user.plan(100_000)
