"""Backend of one region: addresses, subnets, disks, groups."""

from __future__ import annotations

from typing import Any

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import error_code, instances, wait_for_state
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries
from tests.support.localcloud.instances import Launch, ids


def test_a_public_address_comes_with_running_and_is_not_the_private_one(ec2: Any, launch: Launch) -> None:
    new = launch(3)
    running = wait_for_state(ec2, ids(new), "running")

    assert not any("PublicIpAddress" in instance for instance in new)
    assert len({instance["PrivateIpAddress"] for instance in running}) == 3
    assert len({instance["PublicIpAddress"] for instance in running}) == 3
    assert all(instance["PrivateIpAddress"].startswith("127.77.") for instance in running)
    assert all(instance["PublicIpAddress"].startswith("127.78.") for instance in running)


def test_default_subnets_are_one_slash_24_for_each_of_three_zones(ec2: Any) -> None:
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]

    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == ["us-west-2a", "us-west-2b", "us-west-2c"]
    assert all(subnet["CidrBlock"].endswith(".0/24") for subnet in subnets)


def test_an_instance_is_launched_in_the_requested_zone(launch: Launch) -> None:
    (new,) = launch(Placement={"AvailabilityZone": "us-west-2c"})

    assert new["Placement"]["AvailabilityZone"] == "us-west-2c"


def test_the_root_disk_is_as_requested(ec2: Any, launch: Launch) -> None:
    disk = {"VolumeSize": 75, "VolumeType": "io2", "Iops": 5000, "Encrypted": True}
    (new,) = launch(BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}])

    (volume,) = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": ids([new])}])["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Iops"], volume["Encrypted"]) == (75, "io2", 5000, True)
    assert new["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True


def test_a_group_in_use_can_only_be_deleted_once_its_instances_are_terminated(ec2: Any, launch: Launch) -> None:
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="used", Description="-", VpcId=vpc)["GroupId"]
    new = launch(SecurityGroupIds=[group])
    assert error_code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=ids(new))
    assert error_code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"

    wait_for_state(ec2, ids(new), "terminated")

    ec2.delete_security_group(GroupId=group)
    assert error_code(ec2.describe_security_groups, GroupIds=[group]) == "InvalidGroup.NotFound"


def test_one_unknown_id_fails_the_whole_termination(ec2: Any, launch: Launch) -> None:
    (new,) = launch()

    both = [*ids([new]), "i-0123456789abcdef0"]
    assert error_code(ec2.terminate_instances, InstanceIds=both) == "InvalidInstanceID.NotFound"
    assert instances(ec2, ids([new]))[0]["State"]["Name"] in ("pending", "running")


def test_a_group_can_be_reported_as_in_use_for_a_while(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(make_fault("group-in-use", seconds=30))
    ec2 = client_without_retries(cloud)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="lingering", Description="-", VpcId=vpc)["GroupId"]

    assert error_code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    cloud.clock.sleep(30)
    ec2.delete_security_group(GroupId=group)
