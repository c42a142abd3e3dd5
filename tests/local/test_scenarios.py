"""Bad days, played by the embedded cloud over the wire and on real hosts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

import localcloud
from localcloud.scenarios import fault_kinds
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.localcloud.server.test_endpoint import ask_metadata, metadata_token
from tests.support.embedded_cloud import TYPE, boto, image, instances, wait_for_state, wait_until
from tests.support.paths import ROOT

Play = Callable[..., None]
Launch = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def play(cloud: dict[str, str]) -> Iterator[Play]:
    """Plays faults on the cloud; fair weather afterwards."""
    home = cloud["LOCALCLOUD_HOME"]
    yield lambda *made, seed=1: localcloud.scenario(Scenario(seed, made), home)
    localcloud.scenario(None, home)


@pytest.fixture(scope="module")
def ec2(cloud: dict[str, str]) -> Any:
    """A client that never tries again."""
    return boto(cloud, "ec2", retries={"total_max_attempts": 1})


@pytest.fixture
def launch(cloud: dict[str, str], ec2: Any) -> Iterator[Launch]:
    """Launches machines, and ends them when the test is over."""
    made: list[str] = []
    ubuntu = image(cloud)

    def launch(count: int = 1, **order: Any) -> list[dict[str, Any]]:
        order = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": count, "MaxCount": count, **order}
        new: list[dict[str, Any]] = ec2.run_instances(**order)["Instances"]
        made.extend(one["InstanceId"] for one in new)
        return new

    yield launch
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    for one in made:
        ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": False})
    if made:
        ec2.terminate_instances(InstanceIds=made)


def refused(call: Callable[..., Any], *counts: int, **arguments: Any) -> tuple[str, int, str]:
    """Code, HTTP status and words of the error that a call gets."""
    with pytest.raises(ClientError) as caught:
        call(*counts, **arguments)
    answer: Any = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_an_error_comes_before_a_call_is_done_or_after_it(ec2: Any, play: Play) -> None:
    play(
        make_fault("error", code="InternalError", action="CreateKeyPair", when="at call 1"),
        make_fault("error", code="ServiceUnavailable", action="CreateKeyPair", when="at call 2", applied=True),
    )
    codes = [refused(ec2.create_key_pair, KeyName=name)[:2] for name in ("before", "after")]

    assert codes == [("InternalError", 500), ("ServiceUnavailable", 503)]
    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == ["after"]
    ec2.delete_key_pair(KeyName="after")


def test_a_dropped_answer_is_a_closed_connection_and_the_call_is_done(
    cloud: dict[str, str], ec2: Any, play: Play
) -> None:
    play(make_fault("dropped", action="CreateKeyPair", times=1))
    with pytest.raises(ConnectionClosedError):
        ec2.create_key_pair(KeyName="unheard")

    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == ["unheard"]
    assert [one[1:] for one in localcloud.calls(cloud["LOCALCLOUD_HOME"])][-2:] == [
        ("CreateKeyPair", "dropped"),
        ("DescribeKeyPairs", "ok"),
    ]
    ec2.delete_key_pair(KeyName="unheard")


def test_calls_beyond_a_rate_are_throttled(ec2: Any, play: Play) -> None:
    play(make_fault("throttled", action="Describe*", burst=2, rate=0.5))
    ec2.describe_vpcs()
    ec2.describe_subnets()

    assert refused(ec2.describe_vpcs)[:2] == ("RequestLimitExceeded", 503)


def test_each_service_refuses_unknown_expired_and_skewed_keys_in_its_own_words(
    cloud: dict[str, str], play: Play
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "ec2": boto(cloud, "ec2").describe_vpcs,
        "sts": boto(cloud, "sts").get_caller_identity,
        "ssm": lambda: boto(cloud, "ssm").get_parameter(Name="x"),
        "s3": boto(cloud, "s3").list_buckets,
    }

    def codes() -> list[tuple[str, int]]:
        return [refused(call)[:2] for call in calls.values()]

    play(make_fault("bad-keys"))
    assert codes() == [
        ("AuthFailure", 401),
        ("InvalidClientTokenId", 403),
        ("UnrecognizedClientException", 400),
        ("InvalidAccessKeyId", 403),
    ]
    play(make_fault("expired-keys"))
    assert codes() == [
        ("RequestExpired", 400),
        ("ExpiredToken", 403),
        ("ExpiredTokenException", 400),
        ("ExpiredToken", 400),
    ]
    play(make_fault("clock-skew", seconds=900))
    assert codes() == [
        ("RequestExpired", 400),
        ("SignatureDoesNotMatch", 403),
        ("InvalidSignatureException", 400),
        ("RequestTimeTooSkewed", 403),
    ]


def test_a_small_clock_skew_shows_in_the_date_only(ec2: Any, play: Play) -> None:
    play(make_fault("clock-skew", seconds=-200))
    date = ec2.describe_vpcs()["ResponseMetadata"]["HTTPHeaders"]["date"]

    assert -203 < parsedate_to_datetime(date).timestamp() - time.time() < -198


def test_a_permission_is_missing_for_a_dry_run_too(cloud: dict[str, str], ec2: Any, play: Play) -> None:
    order = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "DryRun": True}
    play(make_fault("denied", action="RunInstances"), make_fault("denied", action="ssm:*", by="scp"))
    code, status, words = refused(ec2.run_instances, **order)

    assert (code, status) == ("UnauthorizedOperation", 403)
    assert "researcher is not authorized to perform: ec2:RunInstances on resource" in words
    assert "no identity-based policy allows the ec2:RunInstances action" in words
    code, _, words = refused(boto(cloud, "ssm").get_parameter, Name="x")
    assert (code, "with an explicit deny in a service control policy" in words) == ("AccessDeniedException", True)
    play()
    assert refused(ec2.run_instances, **order)[:2] == ("DryRunOperation", 412)


def test_tagging_what_a_call_makes_wants_a_permission_of_its_own(cloud: dict[str, str], ec2: Any, play: Play) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
    order = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags}
    play(make_fault("denied", action="CreateTags"))
    for dry in (True, False):
        code, _, words = refused(ec2.run_instances, **order, DryRun=dry)
        assert (code, "perform: ec2:CreateTags on" in words) == ("UnauthorizedOperation", True)

    del order["TagSpecifications"]
    assert refused(ec2.run_instances, **order, DryRun=True)[:2] == ("DryRunOperation", 412)


def test_an_empty_pool_names_zones_that_are_not_and_a_launch_anywhere_finds_one(launch: Launch, play: Play) -> None:
    play(make_fault("no-capacity", where=f"us-west-2a / {TYPE} / on-demand"))
    code, status, words = refused(launch, Placement={"AvailabilityZone": "us-west-2a"})

    assert (code, status) == ("InsufficientInstanceCapacity", 500)
    assert "or choosing us-west-2b, us-west-2c" in words
    assert launch()[0]["Placement"]["AvailabilityZone"] == "us-west-2b"
    spot = launch(InstanceMarketOptions={"MarketType": "spot"}, Placement={"AvailabilityZone": "us-west-2a"})
    assert spot[0]["InstanceLifecycle"] == "spot"
    assert spot[0]["SpotInstanceRequestId"].startswith("sir-")


def test_a_pool_with_room_for_two_takes_what_fits(launch: Launch, play: Play) -> None:
    play(make_fault("no-capacity", machines=2, where="us-west-2c"))
    there = {"Placement": {"AvailabilityZone": "us-west-2c"}}

    assert refused(launch, 3, **there)[0] == "InsufficientInstanceCapacity"
    assert len(launch(3, **there, MinCount=1)) == 2
    assert refused(launch, 1, **there)[0] == "InsufficientInstanceCapacity"


def test_a_quota_counts_the_vcpus_of_machines_that_hold_them(
    cloud: dict[str, str], ec2: Any, launch: Launch, play: Play
) -> None:
    quotas = boto(cloud, "service-quotas")
    held = sum(
        8
        for page in ec2.describe_instances()["Reservations"]
        for one in page["Instances"]
        if one["State"]["Name"] in ("pending", "running", "stopping")
    )
    play(make_fault("quota", quota="L-1216C47A", vcpus=held + 16), make_fault("quota", quota="L-34B43A08", vcpus=7))
    launch(2)
    code, status, words = refused(launch)

    assert (code, status) == ("VcpuLimitExceeded", 400)
    assert f"current vCPU limit of {held + 16} allows" in words
    assert refused(launch, InstanceMarketOptions={"MarketType": "spot"})[0] == "MaxSpotInstanceCountExceeded"
    told = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    assert (told["Value"], told["Adjustable"]) == (held + 16, True)
    asked = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A", "DesiredValue": 256}
    assert quotas.request_service_quota_increase(**asked)["RequestedQuota"]["Status"] == "PENDING"
    assert refused(quotas.request_service_quota_increase, **asked)[0] == "ResourceAlreadyExistsException"
    history = quotas.list_requested_service_quota_change_history(ServiceCode="ec2")["RequestedQuotas"]
    assert [one["DesiredValue"] for one in history][-1] == 256.0


def test_other_launches_that_fail_fail_in_ec2s_words(ec2: Any, launch: Launch, play: Play) -> None:
    profile = {"IamInstanceProfile": {"Name": "rehearsal"}}
    in_a = [{"Name": "availability-zone", "Values": ["us-west-2a"]}]
    subnet = ec2.describe_subnets(Filters=in_a)["Subnets"][0]["SubnetId"]
    play(make_fault("no-addresses", where="us-west-2a"))
    assert refused(launch, SubnetId=subnet)[0] == "InsufficientFreeAddressesInSubnet"
    play(make_fault("image-unavailable"))
    assert refused(launch)[0] == "InvalidAMIID.Unavailable"
    play(make_fault("image-unavailable", code="AuthFailure"))
    assert refused(launch)[2].startswith("Not authorized for images: [ami-")
    play(make_fault("profile-late", times=1))
    assert refused(launch, **profile)[2].endswith("Invalid IAM Instance Profile name")
    launch(**profile)
    play(make_fault("profile-late", words="roles"))
    assert refused(launch, **profile)[2].endswith("has no associated IAM Roles")


def test_spot_machines_have_a_price_and_a_bid_below_it_is_refused(ec2: Any, launch: Launch, play: Play) -> None:
    play(make_fault("spot-price", price=0.25, where="us-west-2b"))
    told = ec2.describe_spot_price_history(InstanceTypes=[TYPE], ProductDescriptions=["Linux/UNIX"])["SpotPriceHistory"]
    prices = {one["AvailabilityZone"]: float(one["SpotPrice"]) for one in told}
    bid = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.2"}}

    assert prices["us-west-2b"] == 0.25
    assert 0.05 < prices["us-west-2a"] < 0.357
    code, _, words = refused(launch, InstanceMarketOptions=bid, Placement={"AvailabilityZone": "us-west-2b"})
    assert (code, words.endswith("minimum required Spot request fulfillment price of 0.25.")) == (
        "SpotMaxPriceTooLow",
        True,
    )


def test_the_price_list_tells_on_demand_prices_and_the_traps_beside_them(cloud: dict[str, str]) -> None:
    def prices(**wanted: str) -> list[float]:
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
        answer = boto(cloud, "pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)
        terms = [term for one in answer["PriceList"] for term in json.loads(one)["terms"]["OnDemand"].values()]
        rates = [rate for term in terms for rate in term["priceDimensions"].values()]
        return [float(rate["pricePerUnit"]["USD"]) for rate in rates]

    machine = {"instanceType": TYPE, "regionCode": "us-west-2", "operatingSystem": "Linux"}
    assert prices(**machine, capacitystatus="Used", tenancy="Shared", preInstalledSw="NA") == [0.357]
    assert 0.0 in prices(**machine)
    assert prices(**{**machine, "instanceType": "x9.huge"}) == []
    assert prices(volumeApiName="gp3", location="US West (Oregon)") == [0.08]


def test_a_protected_machine_cannot_be_terminated_until_the_protection_is_off(
    ec2: Any, launch: Launch, play: Play
) -> None:
    play(make_fault("protected", times=1))
    one, other = (each["InstanceId"] for each in launch(2))

    assert refused(ec2.terminate_instances, InstanceIds=[one, other])[0] == "OperationNotPermitted"
    attribute = ec2.describe_instance_attribute(InstanceId=one, Attribute="disableApiTermination")
    assert attribute["DisableApiTermination"] == {"Value": True}
    ec2.terminate_instances(InstanceIds=[other])


def test_a_spot_machine_gets_its_notice_and_then_ends(
    cloud: dict[str, str], ec2: Any, launch: Launch, play: Play
) -> None:
    play(make_fault("spot-interruption", when="0.3 s after running", rebalance=0.2, notice=1))
    spot = launch(InstanceMarketOptions={"MarketType": "spot"})[0]["InstanceId"]
    plain = launch()[0]["InstanceId"]
    wait_for_state(ec2, [spot, plain], "running")
    token = metadata_token(cloud, spot)

    def read(path: str) -> str:
        status, text = ask_metadata(cloud, f"{spot}/latest/meta-data/{path}", token=token)
        return text if status == 200 else ""

    notice = json.loads(wait_until(lambda: read("spot/instance-action")))
    assert notice["action"] == "terminate"
    assert read("spot/termination-time") == notice["time"]
    assert "noticeTime" in json.loads(read("events/recommendations/rebalance"))
    (gone,) = wait_for_state(ec2, [spot], "terminated")
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert instances(ec2, [plain])[0]["State"]["Name"] == "running"


def test_a_colleague_is_there_from_the_start_and_gone_with_the_scenario(ec2: Any, play: Play) -> None:
    theirs = {"Name": "ml-0", "stratus:cluster": "ml", "stratus:owner": "eve"}
    play(make_fault("colleague", machines=2, tags=theirs, group="stratus-ml", key="stratus-ml"))
    pages = ec2.describe_instances(Filters=[{"Name": "tag:stratus:cluster", "Values": ["ml"]}])["Reservations"]
    found = [one for page in pages for one in page["Instances"]]

    assert [one["State"]["Name"] for one in found] == ["running", "running"]
    assert {tag["Key"]: tag["Value"] for tag in found[0]["Tags"]} == theirs
    assert found[0]["SecurityGroups"][0]["GroupName"] == found[0]["KeyName"] == "stratus-ml"
    play()
    wait_for_state(ec2, [one["InstanceId"] for one in found], "terminated")
    assert ec2.describe_key_pairs()["KeyPairs"] == []


# -- hosts


def knock(address: str, *, seconds: float = 1.0) -> str:
    """What a connection to SSH's port meets."""
    try:
        with socket.create_connection((address, 22022), timeout=seconds) as link:
            return "ssh" if link.recv(4) == b"SSH-" else "closed"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError as error:
        # A silent port times out in recv, a dropped connection in connect.
        return "silent" if "link" in locals() else str(error) and "dropped"


def host_key(address: str) -> str:
    import asyncio

    key = asyncio.run(asyncssh.get_server_host_key(address, 22022))
    assert key is not None
    return key.get_fingerprint()


def test_hosts_refuse_drop_stay_silent_freeze_vanish_or_show_another_key(ec2: Any, launch: Launch, play: Play) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519")
    config = {"ssh_keys": {"ed25519_private": private.export_private_key().decode()}}
    play(
        make_fault("ssh-refused", where="host 0"),
        make_fault("ssh-dropped", where="host 1"),
        make_fault("ssh-silent", where="host 2"),
        make_fault("boot-hangs", where="host 3"),
        make_fault("other-host-key", where="host 4"),
        make_fault("user-data-ignored", where="host 5"),
        make_fault("host-frozen", where="host 6", when="1.5 s after running"),
        make_fault("host-lost", where="host 7", when="1.5 s after running"),
        make_fault("host-key-swapped", where="host 8", when="1.5 s after running"),
    )
    new = [one["InstanceId"] for one in launch(10, UserData="#cloud-config\n" + json.dumps(config))]
    found = [one["PublicIpAddress"] for one in wait_for_state(ec2, new, "running")]
    ours = private.get_fingerprint()
    for number in (4, 5, 6, 7, 8, 9):
        wait_until(lambda number=number: knock(found[number]) == "ssh")

    assert host_key(found[8]) == host_key(found[9]) == ours
    assert [knock(found[number]) for number in range(4)] == ["refused", "dropped", "silent", "refused"]
    assert ours not in (host_key(found[4]), host_key(found[5]))
    wait_until(lambda: knock(found[7]) == "refused")
    wait_until(lambda: knock(found[6], seconds=0.3) == "silent")
    wait_until(lambda: knock(found[8]) == "ssh" and host_key(found[8]) != ours)
    assert {one["State"]["Name"] for one in instances(ec2, new)} == {"running"}


# -- the command line


def test_the_command_line_plays_shows_and_refuses_scenarios(cloud: dict[str, str], tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "localcloud", *words, "--home", cloud["LOCALCLOUD_HOME"]],
            env=dict(os.environ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    day, bad = tmp_path / "day.ini", tmp_path / "bad.ini"
    day.write_text("[scenario]\nseed = 7\n[slow]\nfault = slow\nseconds = 10 ms\n")
    bad.write_text("[slow]\nfault = slo\n")

    assert command("scenario", str(day)).returncode == 0
    assert "seed = 7" in command("scenario", "show").stdout
    refusal = command("scenario", str(bad))
    assert (refusal.returncode, f"{bad}:2: unknown fault 'slo': did you mean slow?" in refusal.stderr) == (1, True)
    assert command("scenario", "none").returncode == 0
    assert "fault" not in command("scenario", "show").stdout
    assert command("scenario", "kinds").stdout == fault_kinds.reference()
    assert any("DescribeInstances" in line for line in command("calls").stdout.splitlines())
