"""The RunInstances request and the user data of a launch."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws.ec2 import instances
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.launch.run_instances import MAX_USER_DATA_BYTES, build_request, user_data
from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core.errors import UsageError
from orchestrator.crypto.ssh_keys import HostKey
from tests.support.aws.values import CLUSTER_ID, HOST_KEY, PLAN, RESOURCES


def test_a_request_is_all_or_none_with_imdsv2_encryption_and_terminate_on_shutdown() -> None:
    request = build_request(PLAN, RESOURCES, expires=datetime(2026, 11, 20, 22, 12, 7, tzinfo=UTC))

    assert (request["MinCount"], request["MaxCount"]) == (2, 2)
    assert request["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert request["BlockDeviceMappings"] == [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {"VolumeSize": 75, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": True},
        }
    ]
    assert (request["SubnetId"], request["SecurityGroupIds"]) == ("subnet-a", ["sg-1"])
    assert "IamInstanceProfile" not in request
    assert "ClientToken" not in request


def test_instances_disks_and_network_interfaces_are_tagged_at_creation() -> None:
    request = build_request(PLAN, RESOURCES, expires=datetime(2026, 11, 20, 22, 12, 7, tzinfo=UTC))
    kinds = {
        each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
        for each in request["TagSpecifications"]
    }

    assert set(kinds) == {"instance", "volume", "network-interface"}
    assert kinds["instance"] == {
        "stratus:cluster": "ml",
        "stratus:owner": CLUSTER_ID.owner,
        "stratus:run": PLAN.launch_id,
        "stratus:hosts": "ml-[0-1]",
        "stratus:expires": "2026-11-20T22:12:07+00:00",
        "stratus:hours": "8",
        "stratus:hostkey": "AAAAC3Nz",
        "stratus:bootkey": "AAAAC3Nz",
        "stratus:disk": "gp3:75:0:0",
        "stratus:user": "ubuntu",
        "stratus:address": "private",
        "Name": "ml-[0-1]",
    }


@pytest.mark.parametrize(("address", "wanted"), [("public", True), ("private", False)])
def test_a_public_or_private_address_is_requested_if_configured(address: str, wanted: bool) -> None:
    request = build_request(replace(PLAN, address_type=address), RESOURCES, expires=datetime.now(UTC))

    assert request["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is wanted
    assert "SubnetId" not in request


@pytest.mark.parametrize(("profile", "kind"), [("ml-role", "Name"), ("arn:aws:iam::1:instance-profile/ml", "Arn")])
def test_an_instance_profile_goes_by_name_or_arn(profile: str, kind: str) -> None:
    request = build_request(replace(PLAN, instance_profile=profile), RESOURCES, expires=datetime.now(UTC))

    assert request["IamInstanceProfile"] == {kind: profile}


def test_disk_performance_is_requested_only_if_configured() -> None:
    fast = replace(PLAN, disk=instances.Disk("gp3", 75, iops=4000, throughput=250, encrypted=False))
    ebs = build_request(fast, RESOURCES, expires=datetime.now(UTC))["BlockDeviceMappings"][0]["Ebs"]

    assert (ebs["Iops"], ebs["Throughput"], ebs["Encrypted"]) == (4000, 250, False)


def test_user_data_beyond_the_limit_of_ec2_is_refused_to_the_byte() -> None:
    """Before base64, as EC2 counts: what fits makes a launch, one byte more is said in one line."""
    limits = TimeLimits(480, budget_minutes=960, idle_minutes=30)
    room = MAX_USER_DATA_BYTES - len(user_data(HostKey("", HOST_KEY.public), limits).encode())
    assert len(user_data(HostKey("k" * room, HOST_KEY.public), limits).encode()) == 16384
    assert room > 7000, "the scripts that every machine boots with leave less than that"

    with pytest.raises(UsageError, match="the user data has 16,385 bytes; the limit of EC2 is 16,384") as caught:
        user_data(HostKey("k" * (room + 1), HOST_KEY.public), limits)
    assert caught.value.code == "InvalidUserData.Malformed"


def test_user_data_is_a_cloud_config_with_host_key_and_time_limits() -> None:
    text = user_data(HOST_KEY, TimeLimits(91, 400, 30, 22022))
    config = json.loads(text.removeprefix("#cloud-config\n"))

    assert text.startswith("#cloud-config\n")
    assert len(text) < 16 * 1024
    assert config["ssh_deletekeys"] is True
    assert config["ssh_keys"] == {"ed25519_private": HOST_KEY.private, "ed25519_public": HOST_KEY.public}
    files = {each["path"]: each for each in config["write_files"]}
    assert files["/var/lib/cloud/scripts/per-boot/stratus-expire"]["permissions"] == "0755"
    assert files["/var/lib/stratus/limits"]["content"] == "minutes=91 budget=400 idle=30 port=22022\n"
    # Later than the timer, whose script runs in the last stage of a boot.
    (backstop,) = config["bootcmd"]
    assert "--on-active=106min" in backstop


@given(st.text(st.characters(codec="ascii"), max_size=200))
def test_user_data_is_valid_yaml_for_any_key(private: str) -> None:
    yaml = pytest.importorskip("yaml")

    config = yaml.safe_load(user_data(HostKey(private, "ssh-ed25519 AAAA"), TimeLimits(480)))

    assert config["ssh_keys"]["ed25519_private"] == private


def test_further_volumes_of_the_image_are_deleted_with_the_instance_and_tagged_for_the_meter() -> None:
    image = replace(PLAN.image, further_disks={"/dev/sdf": Disk("gp2", 100), "/dev/sdg": Disk("gp3", 50)})
    request = build_request(replace(PLAN, image=image), RESOURCES, expires=datetime.now(UTC))
    (tags,) = [
        {tag["Key"]: tag["Value"] for tag in kind["Tags"]}
        for kind in request["TagSpecifications"]
        if kind["ResourceType"] == "instance"
    ]

    assert request["BlockDeviceMappings"][1:] == [
        {"DeviceName": device, "Ebs": {"DeleteOnTermination": True, "Encrypted": True}}
        for device in ("/dev/sdf", "/dev/sdg")
    ]
    assert tags["stratus:volumes"] == "gp2:100:0:0 gp3:50:0:0"
