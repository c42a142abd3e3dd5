"""Security groups decide which addresses of a host answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.localcloud.clients import wait_for_state, wait_until
from tests.support.localcloud.instances import SSH_RULE, Launch, allow_ssh, ids
from tests.support.localcloud.ssh_port import knock


@pytest.fixture
def group(ec2: Any) -> Iterator[str]:
    """Return a security group without rules."""
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group_id = ec2.create_security_group(GroupName="closed", Description="without rules", VpcId=vpc)["GroupId"]
    yield group_id
    wait_until(lambda: not _users(ec2, group_id))
    ec2.delete_security_group(GroupId=group_id)


def _users(ec2: Any, group_id: str) -> list[Any]:
    interfaces = ec2.describe_network_interfaces(Filters=[{"Name": "group-id", "Values": [group_id]}])
    users: list[Any] = interfaces["NetworkInterfaces"]
    for interface in users:
        ec2.terminate_instances(InstanceIds=[interface["Attachment"]["InstanceId"]])
    return users


@pytest.mark.slow
def test_a_host_is_silent_until_its_group_admits_this_computer_and_again_once_it_does_not(
    ec2: Any, launch: Launch, group: str
) -> None:
    launched = launch(SecurityGroupIds=[group])
    (instance,) = wait_for_state(ec2, ids(launched), "running")
    address = instance["PublicIpAddress"]

    wait_until(lambda: knock(address, seconds=0.3) == "dropped")
    assert knock(instance["PrivateIpAddress"], seconds=0.3) == "dropped"
    elsewhere = {**SSH_RULE, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[elsewhere])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{**SSH_RULE, "FromPort": 80, "ToPort": 80}])
    assert knock(address, seconds=0.3) == "dropped"

    allow_ssh(ec2, group)
    wait_until(lambda: knock(address) == "ssh")
    with socket.create_connection((address, 22022), timeout=10) as link:
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[SSH_RULE])
        wait_until(lambda: knock(address, seconds=0.3) == "dropped")
        # EC2, too, keeps connections that were allowed when they began.
        assert link.recv(4) == b"SSH-"


@pytest.mark.slow
def test_a_group_that_names_itself_admits_its_instances_to_private_addresses(
    ec2: Any, launch: Launch, group: str
) -> None:
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside])
    (instance,) = wait_for_state(ec2, ids(launch(SecurityGroupIds=[group])), "running")

    wait_until(lambda: knock(instance["PrivateIpAddress"]) == "ssh")
    assert knock(instance["PublicIpAddress"], seconds=0.3) == "dropped"


@pytest.mark.slow
def test_another_group_of_an_instance_takes_effect_at_once(ec2: Any, launch: Launch, group: str) -> None:
    (instance,) = wait_for_state(ec2, ids(launch()), "running")
    wait_until(lambda: knock(instance["PublicIpAddress"]) == "ssh")

    ec2.modify_instance_attribute(InstanceId=instance["InstanceId"], Groups=[group])

    wait_until(lambda: knock(instance["PublicIpAddress"], seconds=0.3) == "dropped")


@pytest.mark.slow
def test_a_reboot_and_a_start_leave_a_silent_host_silent(ec2: Any, launch: Launch, group: str) -> None:
    launched = launch(SecurityGroupIds=[group])
    (instance,) = wait_for_state(ec2, ids(launched), "running")
    ec2.reboot_instances(InstanceIds=ids(launched))
    wait_until(lambda: "Restarting system" in ec2.get_console_output(**_id(instance), Latest=True).get("Output", ""))
    wait_until(lambda: knock(instance["PublicIpAddress"], seconds=0.3) == "dropped")
    ec2.stop_instances(InstanceIds=ids(launched))
    wait_for_state(ec2, ids(launched), "stopped")
    ec2.start_instances(InstanceIds=ids(launched))

    (again,) = wait_for_state(ec2, ids(launched), "running")
    wait_until(lambda: knock(again["PublicIpAddress"], seconds=0.3) == "dropped")
    # As far as loopback permits: on EC2 an address that belongs to no instance is silent.
    assert knock(instance["PublicIpAddress"], seconds=0.3) == "refused"


def _id(instance: dict[str, Any]) -> dict[str, str]:
    return {"InstanceId": instance["InstanceId"]}
