"""The embedded cloud's API, asked by boto3 over real HTTP."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from botocore.exceptions import ClientError

from tests.support.embedded_cloud import TYPE, boto, image, instances, wait_for_state, wait_until

Launch = Callable[..., list[dict[str, Any]]]

PARAMETERS = {
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": ("099720109477", "x86_64"),
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": ("099720109477", "arm64"),
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": ("099720109477", "x86_64"),
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64": ("137112412989", "x86_64"),
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": (
        "898082745236",
        "x86_64",
    ),
}


@pytest.fixture(scope="module")
def ec2(cloud: dict[str, str]) -> Any:
    return boto(cloud, "ec2")


@pytest.fixture(scope="module")
def ubuntu(cloud: dict[str, str]) -> str:
    return image(cloud)


@pytest.fixture
def launch(ec2: Any, ubuntu: str) -> Iterator[Launch]:
    """Launches instances, and terminates them when the test is over."""
    made: list[str] = []

    def launch(count: int = 1, **order: Any) -> list[dict[str, Any]]:
        order = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": count, "MaxCount": count, **order}
        new: list[dict[str, Any]] = ec2.run_instances(**order)["Instances"]
        made.extend(one["InstanceId"] for one in new)
        return new

    yield launch
    if made:
        ec2.terminate_instances(InstanceIds=made)


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [one["InstanceId"] for one in found]


def error_code(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_the_same_client_token_launches_once(launch: Launch) -> None:
    first, second = launch(2, ClientToken="once"), launch(2, ClientToken="once")

    assert ids(first) == ids(second)


def test_a_client_token_with_other_parameters_is_a_mismatch(launch: Launch) -> None:
    launch(ClientToken="mine")

    assert error_code(launch, ClientToken="mine", InstanceType="c7i.xlarge") == "IdempotentParameterMismatch"


def test_a_token_sent_by_many_at_once_still_launches_once(cloud: dict[str, str], ubuntu: str) -> None:
    ec2 = boto(cloud, "ec2")

    def send(_: int) -> str:
        order = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "ClientToken": "crowd"}
        return str(ec2.run_instances(**order)["Instances"][0]["InstanceId"])

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(send, range(8)))

    ec2.terminate_instances(InstanceIds=list(answers))
    assert len(answers) == 1


def test_a_dry_run_makes_nothing_and_uses_up_no_token(launch: Launch) -> None:
    assert error_code(launch, ClientToken="dry", DryRun=True) == "DryRunOperation"
    assert len(launch(ClientToken="dry")) == 1


def test_an_instance_is_pending_before_it_runs(ec2: Any, launch: Launch) -> None:
    (new,) = launch()

    assert new["State"]["Name"] == "pending"
    assert instances(ec2, ids([new]))[0]["State"]["Name"] == "pending"
    assert wait_for_state(ec2, ids([new]), "running")[0]["StateTransitionReason"] == ""


def test_addresses_are_unique_and_the_same_inside_and_outside(launch: Launch) -> None:
    new = launch(3)

    assert len({one["PrivateIpAddress"] for one in new}) == 3
    for one in new:
        assert one["PublicIpAddress"] == one["PrivateIpAddress"]
        assert one["PrivateIpAddress"].startswith("127.77.")


def test_default_subnets_are_one_slash_24_for_each_of_three_zones(ec2: Any) -> None:
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]

    assert sorted(one["AvailabilityZone"] for one in subnets) == ["us-west-2a", "us-west-2b", "us-west-2c"]
    assert all(one["CidrBlock"].endswith(".0/24") for one in subnets)


def test_an_instance_goes_to_the_zone_that_is_asked_for(launch: Launch) -> None:
    (new,) = launch(Placement={"AvailabilityZone": "us-west-2c"})

    assert new["Placement"]["AvailabilityZone"] == "us-west-2c"


def test_max_count_is_launched_when_there_is_room(launch: Launch) -> None:
    assert len(launch(MinCount=1, MaxCount=3)) == 3


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
def test_an_impossible_launch_is_refused_with_ec2s_own_code(
    ec2: Any, launch: Launch, order: dict[str, Any], code: str
) -> None:
    before = len(ec2.describe_instances()["Reservations"])

    assert error_code(launch, **order) == code
    assert len(ec2.describe_instances()["Reservations"]) == before


def test_a_subnet_where_no_machine_can_listen_is_refused(ec2: Any, launch: Launch) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]

    assert error_code(launch, SubnetId=subnet) == "Unsupported"


def test_a_group_of_another_network_is_refused(ec2: Any, launch: Launch) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="elsewhere", Description="-", VpcId=vpc)["GroupId"]

    assert error_code(launch, SecurityGroupIds=[group]) == "InvalidParameter"


def test_the_root_disk_is_as_ordered(ec2: Any, launch: Launch) -> None:
    disk = {"VolumeSize": 75, "VolumeType": "io2", "Iops": 5000, "Encrypted": True}
    (new,) = launch(BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}])

    (volume,) = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": ids([new])}])["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Iops"], volume["Encrypted"]) == (75, "io2", 5000, True)
    assert new["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True


def test_stop_and_start_keep_the_address_and_say_why(ec2: Any, launch: Launch) -> None:
    (new,) = launch()
    wait_for_state(ec2, ids([new]), "running")
    changed = ec2.stop_instances(InstanceIds=ids([new]))["StoppingInstances"][0]
    (stopped,) = wait_for_state(ec2, ids([new]), "stopped")
    ec2.start_instances(InstanceIds=ids([new]))
    (again,) = wait_for_state(ec2, ids([new]), "running")

    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "stopping")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    assert "PublicIpAddress" not in stopped
    assert again["PublicIpAddress"] == again["PrivateIpAddress"] == new["PrivateIpAddress"]


def test_a_pending_instance_cannot_be_stopped(ec2: Any, launch: Launch) -> None:
    assert error_code(ec2.stop_instances, InstanceIds=ids(launch())) == "IncorrectInstanceState"


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


def test_terminating_passes_through_shutting_down_and_gives_disk_and_address_back(ec2: Any, launch: Launch) -> None:
    (new,) = launch()
    change = ec2.terminate_instances(InstanceIds=ids([new]))["TerminatingInstances"][0]
    (gone,) = wait_for_state(ec2, ids([new]), "terminated")
    again = ec2.terminate_instances(InstanceIds=ids([new]))["TerminatingInstances"][0]

    assert change["CurrentState"]["Name"] == "shutting-down"
    assert again["CurrentState"]["Name"] == "terminated"
    assert "PrivateIpAddress" not in gone
    assert gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    volume = new["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert error_code(ec2.describe_volumes, VolumeIds=[volume]) == "InvalidVolume.NotFound"


def test_one_bad_id_fails_a_whole_termination(ec2: Any, launch: Launch) -> None:
    (new,) = launch()

    both = [*ids([new]), "i-0123456789abcdef0"]
    assert error_code(ec2.terminate_instances, InstanceIds=both) == "InvalidInstanceID.NotFound"
    assert instances(ec2, ids([new]))[0]["State"]["Name"] in ("pending", "running")


@pytest.mark.parametrize(("parameter", "facts"), PARAMETERS.items(), ids=[name[13:60] for name in PARAMETERS])
def test_an_image_parameter_names_an_image_with_the_owner_and_architecture_of_aws(
    cloud: dict[str, str], ec2: Any, parameter: str, facts: tuple[str, str]
) -> None:
    (found,) = ec2.describe_images(ImageIds=[image(cloud, parameter)])["Images"]

    assert (found["OwnerId"], found["Architecture"]) == facts
    assert found["RootDeviceName"] == ("/dev/xvda" if "amazon-linux" in parameter else "/dev/sda1")
    assert found["BlockDeviceMappings"][0]["DeviceName"] == found["RootDeviceName"]


def test_images_are_found_by_owner_and_name_pattern(ec2: Any) -> None:
    pattern = {"Name": "name", "Values": ["ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-*"]}
    found = ec2.describe_images(Owners=["099720109477"], Filters=[pattern])["Images"]

    assert [one["Architecture"] for one in found] == ["x86_64"]
    assert len(ec2.describe_images(Owners=["amazon"])["Images"]) > 5


def test_instances_are_found_by_tag_and_by_client_token(ec2: Any, launch: Launch) -> None:
    tags = {"ResourceType": "instance", "Tags": [{"Key": "stratus:cluster", "Value": "tagged"}]}
    new = launch(2, TagSpecifications=[tags], ClientToken="found")

    def found(name: str, value: str) -> list[str]:
        pages = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        return [one for page in pages for one in ids(page["Instances"])]

    assert found("tag:stratus:cluster", "tagged") == ids(new)
    assert found("client-token", "found") == ids(new)
    assert found("tag:stratus:cluster", "other") == []


def test_offerings_and_types_are_those_of_the_region(ec2: Any) -> None:
    only = [{"Name": "instance-type", "Values": ["g6.xlarge"]}]
    offers = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=only)
    (kind,) = ec2.describe_instance_types(InstanceTypes=["g6.xlarge"])["InstanceTypes"]

    assert {one["Location"] for one in offers["InstanceTypeOfferings"]} <= {f"us-west-2{zone}" for zone in "abcd"}
    assert kind["VCpuInfo"]["DefaultVCpus"] == 4


def test_the_caller_is_a_user_of_the_account(cloud: dict[str, str]) -> None:
    assert boto(cloud, "sts").get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/researcher"


def ask_metadata(cloud: Mapping[str, str], path: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    named = {f"X-aws-ec2-metadata-{name.replace('_', '-')}": value for name, value in headers.items()}
    request = urllib.request.Request(f"{cloud['AWS_ENDPOINT_URL']}/_imds/{path}", method=method, headers=named)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metadata_token(cloud: Mapping[str, str], instance: str) -> str:
    status, token = ask_metadata(cloud, f"{instance}/latest/api/token", method="PUT", token_ttl_seconds="60")
    assert status == 200
    return token


def test_metadata_is_given_for_a_token_only(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    (new,) = wait_for_state(ec2, ids(launch(UserData="#!/bin/sh\ntrue\n")), "running")
    own = new["InstanceId"]
    token = metadata_token(cloud, own)

    def read(path: str) -> tuple[int, str]:
        return ask_metadata(cloud, f"{own}/latest/{path}", token=token)

    assert ask_metadata(cloud, f"{own}/latest/meta-data/instance-id")[0] == 401
    assert ask_metadata(cloud, f"{own}/latest/meta-data/instance-id", token="made-up")[0] == 401
    assert read("meta-data/instance-id") == (200, own)
    assert read("meta-data/local-ipv4") == read("meta-data/public-ipv4") == (200, new["PrivateIpAddress"])
    assert read("meta-data/placement/availability-zone") == (200, new["Placement"]["AvailabilityZone"])
    assert read("user-data") == (200, "#!/bin/sh\ntrue\n")
    assert read("meta-data/spot/instance-action")[0] == 404
    assert json.loads(read("dynamic/instance-identity/document")[1])["region"] == "us-west-2"


def test_a_token_opens_no_other_instances_metadata(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    one, other = ids(wait_for_state(ec2, ids(launch(2)), "running"))

    status, _ = ask_metadata(cloud, f"{other}/latest/meta-data/instance-id", token=metadata_token(cloud, one))
    assert status == 401


def test_only_an_instance_with_a_profile_gets_credentials(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
    made = [*launch(), *launch(2, IamInstanceProfile={"Name": "rehearsal"})]
    plain, *with_role = ids(wait_for_state(ec2, ids(made), "running"))

    def role(instance: str) -> tuple[int, str]:
        path = f"{instance}/latest/meta-data/iam/security-credentials/"
        return ask_metadata(cloud, path, token=metadata_token(cloud, instance))

    assert role(plain)[0] == 404
    assert [role(one) for one in with_role] == [(200, "rehearsal")] * 2


def test_s3_and_sts_work_on_a_host_with_nothing_but_its_role(cloud: dict[str, str], ec2: Any, launch: Launch) -> None:
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
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert done.stdout.split() == [
        "seen",
        f"arn:aws:sts::123456789012:assumed-role/rehearsal/{new['InstanceId']}",
    ]


def test_large_objects_arrive_whole(cloud: dict[str, str]) -> None:
    s3 = boto(cloud, "s3")
    s3.create_bucket(Bucket="large", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="large", Key="blob", Body=bytes(9_000_000))

    assert s3.head_object(Bucket="large", Key="blob")["ContentLength"] == 9_000_000


def test_a_call_that_is_not_there_is_said_to_be_not_there(ec2: Any) -> None:
    assert error_code(ec2.describe_instances, Filters=[{"Name": "hypervisor", "Values": ["xen"]}]) == "NotImplemented"


def test_many_callers_at_once_are_all_answered(cloud: dict[str, str]) -> None:
    ec2 = boto(cloud, "ec2", max_pool_connections=24)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: len(ec2.describe_subnets()["Subnets"]), range(72)))

    assert len(answers) == 72
    assert len(set(answers)) == 1


@pytest.fixture(scope="module")
def key(ec2: Any) -> Iterator[Any]:
    """A login key whose public half is imported as the key pair ``login``."""
    private = asyncssh.generate_private_key("ssh-ed25519")
    ec2.import_key_pair(KeyName="login", PublicKeyMaterial=private.export_public_key())
    yield private
    ec2.delete_key_pair(KeyName="login")


def on_host(instance: Mapping[str, Any], key: Any, command: str, *, user: str = "ubuntu", port: int = 22022) -> str:
    """What ``command`` prints on a host, once it lets us in."""

    async def ask() -> str:
        address = instance["PublicIpAddress"]
        async with asyncssh.connect(address, port, username=user, client_keys=[key], known_hosts=None) as link:
            return str((await link.run(command, timeout=20)).stdout)

    def try_once() -> str | None:
        try:
            return asyncio.run(ask()) + " "
        except (OSError, asyncssh.DisconnectError):
            # Not up yet, or going down.
            return None

    return str(wait_until(try_once)).strip()


def test_the_imported_key_opens_the_host_for_the_images_user(
    cloud: dict[str, str], ec2: Any, launch: Launch, key: Any
) -> None:
    amazon = image(cloud, "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")
    made = [*launch(KeyName="login"), *launch(KeyName="login", ImageId=amazon)]
    first, second = wait_for_state(ec2, ids(made), "running")

    assert on_host(first, key, "whoami") == "ubuntu"
    assert on_host(second, key, "whoami", user="ec2-user") == "ec2-user"


def test_a_host_finds_the_cloud_and_its_own_metadata_in_its_environment(ec2: Any, launch: Launch, key: Any) -> None:
    (new,) = wait_for_state(ec2, ids(launch(KeyName="login", IamInstanceProfile={"Name": "rehearsal"})), "running")
    script = (
        "import os, urllib.request as u; base = os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT'] + 'latest/'\n"
        "ttl = {'X-aws-ec2-metadata-token-ttl-seconds': '60'}\n"
        "token = u.urlopen(u.Request(base + 'api/token', method='PUT', headers=ttl)).read().decode()\n"
        "ask = u.Request(base + 'meta-data/instance-id', headers={'X-aws-ec2-metadata-token': token})\n"
        "print(u.urlopen(ask).read().decode(), 'AWS_ACCESS_KEY_ID' in os.environ)\n"
    )

    assert on_host(new, key, f"python3 -c {shlex.quote(script)}") == f"{new['InstanceId']} False"


@pytest.mark.parametrize(("behavior", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_shutdown_on_a_host_does_to_the_instance_what_it_was_told_at_launch(
    ec2: Any, launch: Launch, key: Any, behavior: str, state: str
) -> None:
    made = launch(KeyName="login", InstanceInitiatedShutdownBehavior=behavior)
    (new,) = wait_for_state(ec2, ids(made), "running")

    on_host(new, key, "sudo shutdown -h now || shutdown -h now")

    (ended,) = wait_for_state(ec2, ids(made), state)
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_files_survive_a_stop(ec2: Any, launch: Launch, key: Any) -> None:
    made = launch(KeyName="login")
    on_host(wait_for_state(ec2, ids(made), "running")[0], key, "echo kept > mine")
    ec2.stop_instances(InstanceIds=ids(made))
    wait_for_state(ec2, ids(made), "stopped")
    ec2.start_instances(InstanceIds=ids(made))

    assert on_host(wait_for_state(ec2, ids(made), "running")[0], key, "cat mine") == "kept"


def test_a_reboot_ends_what_runs_and_the_host_comes_back(ec2: Any, launch: Launch, key: Any) -> None:
    made = launch(KeyName="login")
    (new,) = wait_for_state(ec2, ids(made), "running")
    process = on_host(new, key, "nohup sleep 977 >/dev/null 2>&1 & echo $!")
    assert on_host(new, key, f"kill -0 {process} && echo alive") == "alive"

    ec2.reboot_instances(InstanceIds=ids(made))

    wait_until(lambda: not Path("/proc", process).exists())
    assert on_host(new, key, "echo back") == "back"


def test_the_console_shows_how_the_host_booted(ec2: Any, launch: Launch) -> None:
    (new,) = ids(wait_for_state(ec2, ids(launch()), "running"))

    assert wait_until(lambda: ec2.get_console_output(InstanceId=new).get("Output"))
