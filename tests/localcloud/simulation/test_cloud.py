"""In-memory cloud: virtual time, determinism, and crashes of clients between calls."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from localcloud.core.errors import LocalCloudError
from localcloud.scenarios.scenario import make_fault
from localcloud.simulation.cloud import ClientCrash
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries, launch_in, states
from tests.support.paths import ROOT


def test_instances_pass_through_their_states_in_virtual_time(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    ids = launch_in(cloud, 2)
    assert states(cloud) == ["pending", "pending"]
    cloud.clock.sleep(17)
    assert states(cloud) == ["running", "running"]
    client_without_retries(cloud).terminate_instances(InstanceIds=ids)
    assert states(cloud) == ["shutting-down", "shutting-down"]
    cloud.clock.sleep(5)

    assert cloud.live_instances() == []


PROGRAM = """
import sys
from localcloud.simulation.cloud import InMemoryCloud
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.localcloud.in_memory import client_without_retries, launch_in
faults = (make_fault("error", code="InternalError", action="ec2:*", chance=0.4, applied=True),
          make_fault("invisible", chance=0.5), make_fault("dropped", action="RunInstances", chance=0.3),
          make_fault("colleague", machines=2, group="g", key="k"))
for seed in range(6):
    with InMemoryCloud(seed, Scenario(seed, faults)) as cloud:
        try:
            launch_in(cloud, 3, ClientToken="once", UserData="x")
            cloud.clock.sleep(20)
            print(client_without_retries(cloud).describe_instances()["Reservations"])
        except Exception as error:
            print(error)
        print(cloud.calls, cloud.live_instances(), cloud.max_live_instances())
"""


@pytest.mark.slow
def test_a_seed_determines_everything_in_any_process() -> None:
    def output(hash_seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    first = output("1")
    assert first == output("2")
    assert first.count("InternalError") > 2


def test_a_new_cloud_closes_the_one_before(open_cloud: OpenCloud) -> None:
    def instance_ids(seed: int) -> list[str]:
        cloud = open_cloud(seed=seed)
        ids = launch_in(cloud, 2)
        cloud.clock.sleep(20)
        client_without_retries(cloud).terminate_instances(InstanceIds=ids)
        cloud.clock.sleep(10)
        assert not cloud.live_instances()
        return ids

    old = open_cloud()
    instance_ids(0)
    assert instance_ids(1) == instance_ids(1) != instance_ids(2)
    with pytest.raises(LocalCloudError, match="a newer one was opened"):
        client_without_retries(old).describe_vpcs()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), RuntimeError("any")], ids=repr)
@pytest.mark.parametrize(("phase", "alive"), [("before", 0), ("after", 1)])
def test_an_error_raised_at_a_call_boundary_reaches_the_caller(
    open_cloud: OpenCloud, error: BaseException, phase: str, alive: int
) -> None:
    cloud = open_cloud()
    calls: list[tuple[str, str, int]] = []

    def boundary(*facts: Any) -> None:
        calls.append(facts)
        if facts[:2] == (phase, "RunInstances"):
            raise error

    cloud.on_call_boundary = boundary
    with pytest.raises(type(error)) as caught:
        launch_in(cloud)

    assert caught.value is error
    assert len(cloud.live_instances()) == alive
    assert calls[:3] == [("before", "GetParameter", 1), ("after", "GetParameter", 1), ("before", "RunInstances", 2)]


def test_a_crashed_client_makes_no_more_calls_and_another_one_does(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    dying, other = client_without_retries(cloud), client_without_retries(cloud)

    def boundary(phase: str, action: str, _: int) -> None:
        if (phase, action) == ("before", "DescribeVpcs"):
            raise ClientCrash("power cut")

    cloud.on_call_boundary = boundary
    for call in (dying.describe_vpcs, dying.describe_subnets):
        with pytest.raises(ClientCrash, match="power cut"):
            call()

    assert other.describe_subnets()["Subnets"]
    assert [call.action for call in cloud.calls] == ["DescribeSubnets"]


def test_the_maximum_of_live_instances_counts_invisible_ones(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(
        make_fault("invisible", seconds=60), make_fault("colleague", machines=3, tags={"stratus:owner": "eve"})
    )
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "stratus:owner", "Value": "me"}]}]
    for _ in range(2):
        ids = launch_in(cloud, 2, TagSpecifications=tags)
        cloud.clock.sleep(60)
        client_without_retries(cloud).terminate_instances(InstanceIds=ids)

    assert (
        cloud.max_live_instances("me"),
        cloud.max_live_instances("eve"),
        cloud.max_live_instances(),
        cloud.max_live_instances("x"),
    ) == (2, 3, 5, 0)
    assert [instance.tags for instance in cloud.live_instances() if instance.state == "running"] == [
        {"stratus:owner": "eve"}
    ] * 3
