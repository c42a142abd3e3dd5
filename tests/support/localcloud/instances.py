"""Fixtures for instances of the embedded cloud: an EC2 client, launches, a key pair, and scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import asyncssh
import pytest
from botocore.exceptions import ClientError

import localcloud
from localcloud.scenarios.scenario import Fault, Scenario
from tests.support.localcloud.clients import TYPE, boto, image

SSH_RULE = {"IpProtocol": "tcp", "FromPort": 22022, "ToPort": 22022, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}

Launch = Callable[..., list[dict[str, Any]]]
Play = Callable[..., None]


@pytest.fixture(scope="module")
def ec2(cloud: dict[str, str]) -> Any:
    """Return an EC2 client that makes one attempt per call; launches that name no group admit this computer."""
    client = boto(cloud, "ec2", retries={"total_max_attempts": 1})
    allow_ssh(client)
    return client


@pytest.fixture(scope="module")
def ubuntu(cloud: dict[str, str]) -> str:
    """Return the id of the Ubuntu image."""
    return image(cloud)


@pytest.fixture
def play(cloud: dict[str, str]) -> Iterator[Play]:
    """Inject faults into the cloud; they end with the test."""
    home = cloud["LOCALCLOUD_HOME"]

    def play_faults(*faults: Fault, seed: int = 1) -> None:
        localcloud.scenario(Scenario(seed, faults), home)

    yield play_faults
    localcloud.scenario(None, home)


@pytest.fixture
def launch(cloud: dict[str, str], ec2: Any, ubuntu: str) -> Iterator[Launch]:
    """Launch instances; they are terminated after the test."""
    launched: list[str] = []

    def launch_instances(count: int = 1, **arguments: Any) -> list[dict[str, Any]]:
        defaults = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": count, "MaxCount": count}
        new: list[dict[str, Any]] = ec2.run_instances(**{**defaults, **arguments})["Instances"]
        launched.extend(ids(new))
        return new

    yield launch_instances
    # Without the scenario's faults, which may affect these calls.
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    for instance_id in launched:
        ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    if launched:
        ec2.terminate_instances(InstanceIds=launched)


@pytest.fixture(scope="module")
def key(ec2: Any) -> Iterator[asyncssh.SSHKey]:
    """Return a private key whose public key is imported as the key pair ``login``."""
    private = asyncssh.generate_private_key("ssh-ed25519")
    ec2.import_key_pair(KeyName="login", PublicKeyMaterial=private.export_public_key())
    yield private
    ec2.delete_key_pair(KeyName="login")


def allow_ssh(ec2: Any, group_id: str = "", *, network: str = "127.0.0.1/32", port: int = 22022) -> None:
    """Let a group admit SSH from a network; by default the group of launches that name none, this computer."""
    if not group_id:
        groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])
        group_id = groups["SecurityGroups"][0]["GroupId"]
    try:
        rule = {**SSH_RULE, "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": network}]}
        ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[rule])
    except ClientError as error:
        # Another client of this cloud was here before.
        if error.response["Error"]["Code"] != "InvalidPermission.Duplicate":
            raise


def ids(instances: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the ids of instances."""
    return [str(instance["InstanceId"]) for instance in instances]
