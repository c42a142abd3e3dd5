"""The cloud in memory: the same layers in virtual time, decided by a seed, where a laptop may die between two calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from localcloud.errors import LocalCloudError
from localcloud.memory import Crash, MemoryCloud, VirtualClock
from localcloud.paper_hosts import minutes_to_live
from localcloud.scenarios import Fault, Scenario, fault
from localcloud.weather import Call, Live
from tests.local.support import TYPE, UBUNTU

ROOT = Path(__file__).resolve().parents[2]
TIMER = '#cloud-config\n' + json.dumps(
    {"write_files": [{"path": "/var/lib/cloud/scripts/per-boot/x", "permissions": "0755",
                      "content": "#!/bin/sh\nshutdown -h +480\n"}]}
)  # fmt: skip

Open = Callable[..., MemoryCloud]


@pytest.fixture
def sky() -> Iterator[Open]:
    """Makes clouds with faults; the last one is closed after the test."""
    made: list[MemoryCloud] = []

    def make(*faults: Fault, seed: int = 7) -> MemoryCloud:
        made.append(MemoryCloud(seed, Scenario(seed, faults), VirtualClock()))
        return made[-1]

    yield make
    for cloud in made:
        cloud.close()


def once(cloud: MemoryCloud) -> Any:
    """An EC2 client that never tries again."""
    return cloud.session().client("ec2", config=Config(retries={"total_max_attempts": 1}))


def launch(cloud: MemoryCloud, count: int = 1, **order: Any) -> list[str]:
    """Launch machines on a new session; their ids."""
    session = cloud.session()
    ubuntu = session.client("ssm").get_parameter(Name=UBUNTU)["Parameter"]["Value"]
    order = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": count, "MaxCount": count, **order}
    return [one["InstanceId"] for one in session.client("ec2").run_instances(**order)["Instances"]]


def code(call: Callable[..., Any], **arguments: Any) -> str:
    """The code of the error that a call gets."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    found: str = caught.value.response["Error"]["Code"]
    return found


def states(cloud: MemoryCloud) -> list[str]:
    return [one.state for one in cloud.alive()]


# -- time


def test_machines_pass_through_their_states_in_virtual_time_as_in_real_time(sky: Open) -> None:
    cloud = sky()
    began = time.monotonic()
    ids = launch(cloud, 2)
    assert states(cloud) == ["pending", "pending"]
    cloud.clock.sleep(17)
    assert states(cloud) == ["running", "running"]
    once(cloud).terminate_instances(InstanceIds=ids)
    assert states(cloud) == ["shutting-down", "shutting-down"]
    cloud.clock.sleep(5)

    assert cloud.alive() == []
    assert time.monotonic() - began < 5


def test_a_year_of_retries_takes_no_real_time_and_the_cloud_sees_every_attempt(sky: Open) -> None:
    cloud = sky(fault("error", code="RequestLimitExceeded", action="DescribeVpcs"))
    ec2 = cloud.session().client("ec2", config=Config(retries={"mode": "standard", "total_max_attempts": 8}))
    began = time.monotonic()

    assert code(ec2.describe_vpcs) == "RequestLimitExceeded"
    assert [one.action for one in cloud.calls] == ["DescribeVpcs"] * 8
    assert cloud.clock.now() > 8
    assert time.monotonic() - began < 3


def test_what_user_data_sets_as_timer_ends_a_machine_when_nobody_comes_back(sky: Open) -> None:
    cloud = sky()
    launch(cloud, 2, UserData=TIMER, InstanceInitiatedShutdownBehavior="terminate")
    cloud.clock.sleep(8 * 3600 - 60)
    assert states(cloud) == ["running", "running"]
    cloud.clock.sleep(120)

    assert cloud.alive() == []


def test_a_restarted_machine_begins_its_timer_anew(sky: Open) -> None:
    cloud = sky()
    ids = launch(cloud, UserData=TIMER)
    ec2 = once(cloud)
    cloud.clock.sleep(3600)
    ec2.stop_instances(InstanceIds=ids)
    cloud.clock.sleep(3600 * 24)
    ec2.start_instances(InstanceIds=ids)
    cloud.clock.sleep(7.9 * 3600)
    assert states(cloud) == ["running"]
    cloud.clock.sleep(600)

    assert states(cloud) == ["stopped"]


@pytest.mark.parametrize(
    ("data", "first", "later"),
    [
        ("", None, None),
        (TIMER, 480, 480),
        ("#!/bin/sh\nshutdown -h +30\n", 30, None),
        ("#!/bin/sh\n/sbin/shutdown -P +30\nif idle; then\n  shutdown -h now\nfi\n", 30, None),
        ("#!/bin/sh\nshutdown -h +30\nshutdown -c\n", None, None),
        ("#cloud-config\nbootcmd:\n- [shutdown, -h, '+9']\nruncmd:\n- shutdown -h +7\n", 7, 9),
        ("#!/bin/sh\n# shutdown -h +30\n", None, None),
    ],
)
def test_the_last_unconditional_shutdown_of_a_boot_counts(data: str, first: int | None, later: int | None) -> None:
    found = [minutes_to_live(data.encode(), first_boot=boot) for boot in (True, False)]

    assert found == [first, later]


# -- the seed

LIFE = """
import sys
from localcloud.memory import MemoryCloud
from localcloud.scenarios import Scenario, fault
from tests.local.test_memory import once, launch
faults = (fault("error", code="InternalError", action="ec2:*", chance=0.4, applied=True),
          fault("invisible", chance=0.5), fault("dropped", action="RunInstances", chance=0.3),
          fault("colleague", machines=2, group="g", key="k"))
for seed in range(6):
    with MemoryCloud(seed, Scenario(seed, faults)) as cloud:
        try:
            launch(cloud, 3, ClientToken="once", UserData="x")
            cloud.clock.sleep(20)
            print(once(cloud).describe_instances()["Reservations"])
        except Exception as error:
            print(error)
        print(cloud.calls, cloud.alive(), cloud.most_alive())
"""


def test_a_seed_brings_the_same_day_bit_for_bit_in_any_process() -> None:
    def live(hash_seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", LIFE], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = live("1")
    assert first == live("2")
    assert first.count("InternalError") > 2


def test_lives_are_cheap_and_one_cloud_follows_another(sky: Open) -> None:
    def life(seed: int) -> list[str]:
        cloud = sky(seed=seed)
        ids = launch(cloud, 2)
        cloud.clock.sleep(20)
        once(cloud).terminate_instances(InstanceIds=ids)
        cloud.clock.sleep(10)
        assert not cloud.alive()
        return ids

    old = sky()
    life(0)
    began = time.process_time()
    assert life(1) == life(1) != life(2)
    for seed in range(7):
        life(seed)

    assert (time.process_time() - began) / 10 < 0.3
    with pytest.raises(LocalCloudError, match="the newest counts"):
        once(old).describe_vpcs()


# -- the laptop


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), RuntimeError("any")], ids=repr)
@pytest.mark.parametrize(("phase", "alive"), [("before", 0), ("after", 1)])
def test_what_happens_at_a_boundary_reaches_the_caller_as_it_is(
    sky: Open, error: BaseException, phase: str, alive: int
) -> None:
    cloud = sky()
    seen: list[tuple[str, str, int]] = []

    def boundary(*facts: Any) -> None:
        seen.append(facts)
        if facts[:2] == (phase, "RunInstances"):
            raise error

    cloud.at_boundary = boundary
    with pytest.raises(type(error)) as caught:
        launch(cloud)

    assert caught.value is error
    assert len(cloud.alive()) == alive
    assert seen[:3] == [("before", "GetParameter", 1), ("after", "GetParameter", 1), ("before", "RunInstances", 2)]


def test_a_dead_laptop_makes_no_more_calls_and_another_one_does(sky: Open) -> None:
    cloud = sky()
    dying, other = once(cloud), once(cloud)

    def boundary(phase: str, action: str, _: int) -> None:
        if (phase, action) == ("before", "DescribeVpcs"):
            raise Crash("power cut")

    cloud.at_boundary = boundary
    for call in (dying.describe_vpcs, dying.describe_subnets):
        with pytest.raises(Crash, match="power cut"):
            call()

    assert other.describe_subnets()["Subnets"]
    assert [one.action for one in cloud.calls] == ["DescribeSubnets"]


def test_owners_are_counted_at_their_most_even_while_ec2_does_not_know_them(sky: Open) -> None:
    cloud = sky(fault("invisible", seconds=60), fault("colleague", machines=3, tags={"stratus:owner": "eve"}))
    mine = [{"ResourceType": "instance", "Tags": [{"Key": "stratus:owner", "Value": "me"}]}]
    for _ in range(2):
        ids = launch(cloud, 2, TagSpecifications=mine)
        cloud.clock.sleep(60)
        once(cloud).terminate_instances(InstanceIds=ids)

    assert (cloud.most_alive("me"), cloud.most_alive("eve"), cloud.most_alive(), cloud.most_alive("x")) == (2, 3, 5, 0)
    assert [one.tags for one in cloud.alive() if one.state == "running"] == [{"stratus:owner": "eve"}] * 3


# -- faults whose point is time


def test_a_dropped_answer_is_a_closed_connection_and_a_very_slow_one_a_timeout(sky: Open) -> None:
    cloud = sky(fault("dropped", action="CreateKeyPair"), fault("slow", action="DescribeVpcs", seconds=100))
    ec2 = once(cloud)
    with pytest.raises(ConnectionClosedError):
        ec2.create_key_pair(KeyName="unheard")
    before = cloud.clock.now()
    with pytest.raises(ReadTimeoutError):
        ec2.describe_vpcs()

    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    assert 60 < cloud.clock.now() - before < 61


def test_a_new_machine_is_invisible_for_a_while_and_its_tags_with_it(sky: Open) -> None:
    cloud = sky(fault("invisible", seconds=60))
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "late", "Value": "yes"}]}]
    ids, ec2 = launch(cloud, TagSpecifications=tags), once(cloud)
    by_tag = [{"Name": "tag:late", "Values": ["yes"]}]

    assert ec2.describe_instances(Filters=by_tag)["Reservations"] == []
    assert ec2.describe_tags(Filters=[{"Name": "key", "Values": ["late"]}])["Tags"] == []
    for call in (ec2.describe_instances, ec2.terminate_instances, ec2.describe_instance_status):
        assert code(call, InstanceIds=ids) == "InvalidInstanceID.NotFound"
    cloud.clock.sleep(60)
    assert ec2.describe_instances(Filters=by_tag)["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


def test_the_same_token_finds_machines_that_cannot_be_seen_yet(sky: Open) -> None:
    cloud = sky(fault("invisible", seconds=60), fault("dropped", action="RunInstances", times=1))

    # botocore tries again, with the token that it made up.
    assert len(launch(cloud, 2)) == 2
    assert len(cloud.alive()) == 2


def test_a_machine_dies_at_its_time_or_instead_of_running_with_its_reason(sky: Open) -> None:
    cloud = sky(
        fault("dies-pending", where="host 0", code="Client.VolumeLimitExceeded"),
        fault("dies", where="host 1", when="3 s after running"),
        fault("stuck-pending", where="host 2"),
    )
    ids = launch(cloud, 3)
    cloud.clock.sleep(19)
    assert states(cloud) == ["shutting-down", "running", "pending"]
    cloud.clock.sleep(3600 / 2)
    pages = once(cloud).describe_instances(InstanceIds=ids)["Reservations"]
    never, later, stuck = (one for page in pages for one in page["Instances"])

    assert never["StateReason"]["Code"] == never["StateTransitionReason"] == "Client.VolumeLimitExceeded"
    assert never["StateReason"]["Message"] == "Client.VolumeLimitExceeded: Volume limit exceeded"
    assert later["StateReason"]["Code"] == "Server.InternalError"
    assert stuck["State"]["Name"] == "pending"


def test_status_checks_take_their_time_and_may_fail(sky: Open) -> None:
    cloud = sky(fault("impaired", where="host 1", when="200 s after running", seconds=60))
    ids, ec2 = launch(cloud, 2), once(cloud)

    def checks() -> list[str]:
        found = ec2.describe_instance_status(InstanceIds=ids)["InstanceStatuses"]
        return [one["InstanceStatus"]["Status"] for one in found]

    seen = []
    for seconds in (0, 20, 120, 90, 60):
        cloud.clock.sleep(seconds)
        seen.append(checks())

    assert seen == [[], ["initializing"] * 2, ["ok"] * 2, ["ok", "impaired"], ["ok"] * 2]


def test_a_group_may_be_said_to_be_in_use_for_a_while(sky: Open) -> None:
    cloud = sky(fault("group-in-use", seconds=30))
    ec2 = once(cloud)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="lingering", Description="-", VpcId=vpc)["GroupId"]

    assert code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    cloud.clock.sleep(30)
    ec2.delete_security_group(GroupId=group)


def test_a_scenario_loaded_later_counts_its_seconds_and_hosts_from_then_on(sky: Open) -> None:
    cloud = sky()
    launch(cloud, 2)
    cloud.clock.sleep(100)
    cloud.begin(Scenario(1, (fault("dies", where="host 1", when="at 10 s"), fault("dies", where="host 2"))))
    cloud.clock.sleep(9)
    assert states(cloud) == ["running", "running"]
    cloud.clock.sleep(7)
    assert states(cloud) == ["running"]
    launch(cloud)
    cloud.clock.sleep(30)

    assert states(cloud) == ["running"]


def test_faults_that_are_over_strike_no_more(sky: Open) -> None:
    cloud = sky(fault("dies", when="at 60 s"), fault("error", code="InternalError", action="DescribeVpcs"))
    launch(cloud)
    cloud.begin(Scenario())
    cloud.clock.sleep(100)

    assert states(cloud) == ["running"]
    assert once(cloud).describe_vpcs()["Vpcs"]


def test_a_window_a_number_of_times_and_a_chance_narrow_a_fault_down(sky: Open) -> None:
    def failures(**narrowed: Any) -> str:
        cloud = sky(fault("error", code="InternalError", action="DescribeVpcs", **narrowed))
        ec2, seen = once(cloud), ""
        for _ in range(12):
            try:
                ec2.describe_vpcs()
                seen += "."
            except ClientError:
                seen += "x"
            cloud.clock.sleep(1 - 0.05)
        return seen

    assert failures(when="from 3 s to 5 s") == "...xx......."
    assert failures(when="at calls 2 to 3") == ".xx........."
    assert failures(times=2) == "xx.........."
    assert failures(chance=0.5) == failures(chance=0.5)
    assert 2 < failures(chance=0.5).count("x") < 10


def test_a_fault_of_the_researchers_keys_leaves_machines_keys_alone() -> None:
    live = Live(fault("bad-keys"), "seed")

    assert live.means(Call("s3", "GET /x", "us-west-2", by_user=True))
    assert not live.means(Call("s3", "GET /x", "us-west-2", by_user=False))
