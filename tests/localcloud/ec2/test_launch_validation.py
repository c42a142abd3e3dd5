"""Validation of launches: invalid parameters, and errors that scenarios inject into valid ones."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import error_code, error_of
from tests.support.localcloud.instances import Launch, Play


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "ubuntu"}, "InvalidAMIID.Malformed"),
        ({"InstanceType": "p2.xlarge"}, "InvalidInstanceType.NotFound"),
        ({"InstanceType": "c7g.large"}, "InvalidParameterValue"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroups": ["nobody"]}, "InvalidGroup.NotFound"),
        ({"Placement": {"AvailabilityZone": "us-west-2x"}}, "InvalidParameterValue"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
        ({"UserData": "x" * 16385}, "InvalidUserData.Malformed"),
        ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
        ({"MinCount": 300, "MaxCount": 300}, "InsufficientFreeAddressesInSubnet"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 1}}]}, "InvalidBlockDeviceMapping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_an_invalid_launch_is_refused_with_ec2s_error_code(
    ec2: Any, launch: Launch, order: dict[str, Any], code: str
) -> None:
    before = len(ec2.describe_instances()["Reservations"])

    assert error_code(launch, **order) == code
    assert len(ec2.describe_instances()["Reservations"]) == before


def test_a_subnet_outside_the_clouds_addresses_is_refused(ec2: Any, launch: Launch) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]

    assert error_code(launch, SubnetId=subnet) == "Unsupported"


def test_a_security_group_of_another_vpc_is_refused(ec2: Any, launch: Launch) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="elsewhere", Description="-", VpcId=vpc)["GroupId"]

    assert error_code(launch, SecurityGroupIds=[group]) == "InvalidParameter"


def test_scenarios_fail_launches_with_ec2s_messages(ec2: Any, launch: Launch, play: Play) -> None:
    profile = {"IamInstanceProfile": {"Name": "rehearsal"}}
    in_a = [{"Name": "availability-zone", "Values": ["us-west-2a"]}]
    subnet = ec2.describe_subnets(Filters=in_a)["Subnets"][0]["SubnetId"]
    play(make_fault("no-addresses", where="us-west-2a"))
    assert error_of(launch, SubnetId=subnet)[0] == "InsufficientFreeAddressesInSubnet"
    play(make_fault("image-unavailable"))
    assert error_of(launch)[0] == "InvalidAMIID.Unavailable"
    play(make_fault("image-unavailable", code="AuthFailure"))
    assert error_of(launch)[2].startswith("Not authorized for images: [ami-")
    play(make_fault("profile-late", times=1))
    assert error_of(launch, **profile)[2].endswith("Invalid IAM Instance Profile name")
    launch(**profile)
    play(make_fault("profile-late", words="roles"))
    assert error_of(launch, **profile)[2].endswith("has no associated IAM Roles")
