"""Instance metadata service."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.support.localcloud.clients import boto, wait_for_state
from tests.support.localcloud.host_commands import output_on_host
from tests.support.localcloud.instances import Launch, ids
from tests.support.localcloud.metadata import ask_link_local, ask_metadata, metadata_token


def test_metadata_requires_a_token(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    (new,) = wait_for_state(ec2, ids(launch(UserData="#!/bin/sh\ntrue\n")), "running")
    own = new["InstanceId"]
    token = metadata_token(cloud, own)

    def read(path: str) -> tuple[int, str]:
        return ask_metadata(cloud, f"{own}/latest/{path}", token=token)

    assert ask_metadata(cloud, f"{own}/latest/meta-data/instance-id")[0] == 401
    assert ask_metadata(cloud, f"{own}/latest/meta-data/instance-id", token="made-up")[0] == 401
    assert read("meta-data/instance-id") == (200, own)
    assert read("meta-data/local-ipv4") == (200, new["PrivateIpAddress"])
    assert read("meta-data/public-ipv4") == (200, new["PublicIpAddress"])
    assert read("meta-data/placement/availability-zone") == (200, new["Placement"]["AvailabilityZone"])
    assert read("user-data") == (200, "#!/bin/sh\ntrue\n")
    assert read("meta-data/spot/instance-action")[0] == 404
    assert json.loads(read("dynamic/instance-identity/document")[1])["region"] == "us-west-2"


def test_metadata_has_what_cloud_init_reads(cloud: dict[str, str], ec2: Any, launch: Launch, key: Any) -> None:
    (new,) = wait_for_state(ec2, ids(launch(KeyName="login")), "running")
    token = metadata_token(cloud, new["InstanceId"])

    def read(path: str) -> tuple[int, str]:
        return ask_metadata(cloud, f"{new['InstanceId']}/{path}", token=token)

    assert "2021-03-23" in read("")[1].splitlines()
    assert read("2021-03-23/meta-data/instance-id") == (200, new["InstanceId"])
    assert read("2021-03-24/meta-data/instance-id")[0] == 404
    assert read("2021-03-23/meta-data/public-keys/") == (200, "0=login")
    assert read("2021-03-23/meta-data/public-keys/0/openssh-key")[1].startswith("ssh-")
    nic = new["NetworkInterfaces"][0]
    folder = f"2021-03-23/meta-data/network/interfaces/macs/{nic['MacAddress']}"
    assert read(f"{folder}/local-ipv4s") == (200, new["PrivateIpAddress"])
    assert read(f"{folder}/vpc-id") == (200, new["VpcId"])


def test_at_the_link_local_address_an_instance_is_known_by_its_own_address(
    cloud: dict[str, str], ec2: Any, launch: Launch
) -> None:
    instances = wait_for_state(ec2, ids(launch(2)), "running")

    assert [ask_link_local(cloud, instance["PrivateIpAddress"]) for instance in instances] == [
        (200, instance["InstanceId"]) for instance in instances
    ]
    assert ask_link_local(cloud, "127.0.0.1")[0] == 404


def test_a_token_is_invalid_for_other_instances(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    first, other = ids(wait_for_state(ec2, ids(launch(2)), "running"))

    status, _ = ask_metadata(cloud, f"{other}/latest/meta-data/instance-id", token=metadata_token(cloud, first))
    assert status == 401


def test_only_an_instance_with_a_profile_gets_credentials(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    launched = [*launch(), *launch(2, IamInstanceProfile={"Name": "rehearsal"})]
    plain, *with_role = ids(wait_for_state(ec2, ids(launched), "running"))

    def role(instance: str) -> tuple[int, str]:
        path = f"{instance}/latest/meta-data/iam/security-credentials/"
        return ask_metadata(cloud, path, token=metadata_token(cloud, instance))

    assert role(plain)[0] == 404
    assert [role(instance_id) for instance_id in with_role] == [(200, "rehearsal")] * 2


def test_a_hosts_environment_points_to_the_cloud_and_its_metadata(ec2: Any, launch: Launch, key: Any) -> None:
    (new,) = wait_for_state(ec2, ids(launch(KeyName="login", IamInstanceProfile={"Name": "rehearsal"})), "running")
    script = (
        "import os, urllib.request as u; base = os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT'] + 'latest/'\n"
        "ttl = {'X-aws-ec2-metadata-token-ttl-seconds': '60'}\n"
        "token = u.urlopen(u.Request(base + 'api/token', method='PUT', headers=ttl)).read().decode()\n"
        "ask = u.Request(base + 'meta-data/instance-id', headers={'X-aws-ec2-metadata-token': token})\n"
        "print(u.urlopen(ask).read().decode(), 'AWS_ACCESS_KEY_ID' in os.environ)\n"
    )

    assert output_on_host(new, key, f"python3 -c {shlex.quote(script)}") == f"{new['InstanceId']} False"


@pytest.mark.slow
def test_s3_and_sts_work_with_the_role_of_a_host(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    (new,) = wait_for_state(ec2, ids(launch(IamInstanceProfile={"Name": "rehearsal"})), "running")
    boto(cloud, "s3").create_bucket(
        Bucket="scenes", CreateBucketConfiguration={"LocationConstraint": cloud["AWS_DEFAULT_REGION"]}
    )
    script = (
        "import boto3; s3 = boto3.client('s3'); s3.put_object(Bucket='scenes', Key='a/b', Body=b'seen');"
        "print(s3.get_object(Bucket='scenes', Key='a/b')['Body'].read().decode(),"
        " boto3.client('sts').get_caller_identity()['Arn'])"
    )
    url = cloud["AWS_ENDPOINT_URL"]
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{url}/_imds/{new['InstanceId']}/",
        "AWS_REGION": "us-west-2",
        "AWS_DEFAULT_REGION": "us-west-2",
        "NO_PROXY": url[7:-5],
    }
    process = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)

    assert process.stderr == ""
    assert process.stdout.split() == [
        "seen",
        f"arn:aws:sts::123456789012:assumed-role/rehearsal/{new['InstanceId']}",
    ]
