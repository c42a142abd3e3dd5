"""The cloud in memory: the same layers in virtual time, decided by a seed, where a laptop may die between two calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from botocore.config import Config

from localcloud.core.errors import LocalCloudError
from localcloud.hosts.simulated import shutdown_minutes
from localcloud.scenarios.scenario import make_fault
from localcloud.simulation.cloud import ClientCrash
from tests.support.paths import ROOT
from tests.support.virtual_cloud import Open, code, launch, once, sky, states

__all__ = ["sky"]

TIMER = "#cloud-config\n" + json.dumps(
    {
        "write_files": [
            {
                "path": "/var/lib/cloud/scripts/per-boot/x",
                "permissions": "0755",
                "content": "#!/bin/sh\nshutdown -h +480\n",
            }
        ]
    }
)

# -- time


def test_machines_pass_through_their_states_in_virtual_time_as_in_real_time(sky: Open) -> None:
    cloud = sky()
    ids = launch(cloud, 2)
    assert states(cloud) == ["pending", "pending"]
    cloud.clock.sleep(17)
    assert states(cloud) == ["running", "running"]
    once(cloud).terminate_instances(InstanceIds=ids)
    assert states(cloud) == ["shutting-down", "shutting-down"]
    cloud.clock.sleep(5)

    assert cloud.live_instances() == []


def test_retries_wait_in_virtual_time_and_the_cloud_sees_every_attempt(sky: Open) -> None:
    cloud = sky(make_fault("error", code="RequestLimitExceeded", action="DescribeVpcs"))
    ec2 = cloud.session().client("ec2", config=Config(retries={"mode": "standard", "total_max_attempts": 8}))

    assert code(ec2.describe_vpcs) == "RequestLimitExceeded"
    assert [one.action for one in cloud.calls] == ["DescribeVpcs"] * 8
    assert cloud.clock.now() > 8


def test_what_user_data_sets_as_timer_ends_a_machine_when_nobody_comes_back(sky: Open) -> None:
    cloud = sky()
    launch(cloud, 2, UserData=TIMER, InstanceInitiatedShutdownBehavior="terminate")
    cloud.clock.sleep(8 * 3600 - 60)
    assert states(cloud) == ["running", "running"]
    cloud.clock.sleep(120)

    assert cloud.live_instances() == []


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
    found = [shutdown_minutes(data.encode(), first_boot=boot) for boot in (True, False)]

    assert found == [first, later]


# -- the seed

LIFE = """
import sys
from localcloud.simulation.cloud import InMemoryCloud
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.virtual_cloud import once, launch
faults = (make_fault("error", code="InternalError", action="ec2:*", chance=0.4, applied=True),
          make_fault("invisible", chance=0.5), make_fault("dropped", action="RunInstances", chance=0.3),
          make_fault("colleague", machines=2, group="g", key="k"))
for seed in range(6):
    with InMemoryCloud(seed, Scenario(seed, faults)) as cloud:
        try:
            launch(cloud, 3, ClientToken="once", UserData="x")
            cloud.clock.sleep(20)
            print(once(cloud).describe_instances()["Reservations"])
        except Exception as error:
            print(error)
        print(cloud.calls, cloud.live_instances(), cloud.max_live_instances())
"""


@pytest.mark.slow
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


def test_s3_is_there_too_and_its_calls_have_names(sky: Open) -> None:
    missing = make_fault("error", code="NoSuchKey", action="s3:HeadObject")
    cloud = sky(missing, make_fault("denied", action="s3:PutObject", times=1))
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="scenes", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})

    assert code(s3.put_object, Bucket="scenes", Key="a/b c", Body=b"seen") == "AccessDenied"
    s3.put_object(Bucket="scenes", Key="a/b c", Body=b"seen")
    assert s3.get_object(Bucket="scenes", Key="a/b c")["Body"].read() == b"seen"
    assert code(s3.head_object, Bucket="scenes", Key="a/b c") == "404"


def test_one_cloud_follows_another(sky: Open) -> None:
    def life(seed: int) -> list[str]:
        cloud = sky(seed=seed)
        ids = launch(cloud, 2)
        cloud.clock.sleep(20)
        once(cloud).terminate_instances(InstanceIds=ids)
        cloud.clock.sleep(10)
        assert not cloud.live_instances()
        return ids

    old = sky()
    life(0)
    assert life(1) == life(1) != life(2)
    with pytest.raises(LocalCloudError, match="a newer one was opened"):
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

    cloud.on_call_boundary = boundary
    with pytest.raises(type(error)) as caught:
        launch(cloud)

    assert caught.value is error
    assert len(cloud.live_instances()) == alive
    assert seen[:3] == [("before", "GetParameter", 1), ("after", "GetParameter", 1), ("before", "RunInstances", 2)]


def test_a_dead_laptop_makes_no_more_calls_and_another_one_does(sky: Open) -> None:
    cloud = sky()
    dying, other = once(cloud), once(cloud)

    def boundary(phase: str, action: str, _: int) -> None:
        if (phase, action) == ("before", "DescribeVpcs"):
            raise ClientCrash("power cut")

    cloud.on_call_boundary = boundary
    for call in (dying.describe_vpcs, dying.describe_subnets):
        with pytest.raises(ClientCrash, match="power cut"):
            call()

    assert other.describe_subnets()["Subnets"]
    assert [one.action for one in cloud.calls] == ["DescribeSubnets"]


def test_owners_are_counted_at_their_most_even_while_ec2_does_not_know_them(sky: Open) -> None:
    cloud = sky(make_fault("invisible", seconds=60), make_fault("colleague", machines=3, tags={"stratus:owner": "eve"}))
    mine = [{"ResourceType": "instance", "Tags": [{"Key": "stratus:owner", "Value": "me"}]}]
    for _ in range(2):
        ids = launch(cloud, 2, TagSpecifications=mine)
        cloud.clock.sleep(60)
        once(cloud).terminate_instances(InstanceIds=ids)

    assert (
        cloud.max_live_instances("me"),
        cloud.max_live_instances("eve"),
        cloud.max_live_instances(),
        cloud.max_live_instances("x"),
    ) == (2, 3, 5, 0)
    assert [one.tags for one in cloud.live_instances() if one.state == "running"] == [{"stratus:owner": "eve"}] * 3
