"""Faults of instances, over HTTP and in virtual time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.localcloud.clients import error_of, instances, wait_for_state, wait_until
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries, launch_in, states
from tests.support.localcloud.instances import Launch, Play
from tests.support.localcloud.metadata import ask_metadata, metadata_token


def test_a_protected_instance_cannot_be_terminated(ec2: Any, launch: Launch, play: Play) -> None:
    play(make_fault("protected", times=1))
    protected, other = (instance["InstanceId"] for instance in launch(2))

    assert error_of(ec2.terminate_instances, InstanceIds=[protected, other])[0] == "OperationNotPermitted"
    attribute = ec2.describe_instance_attribute(InstanceId=protected, Attribute="disableApiTermination")
    assert attribute["DisableApiTermination"] == {"Value": True}
    ec2.terminate_instances(InstanceIds=[other])


@pytest.mark.slow
def test_a_spot_instance_gets_a_notice_and_is_terminated(
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


def test_an_instance_terminates_by_itself_with_its_reason_after_or_instead_of_running(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(
        make_fault("dies-pending", where="host 0", code="Client.VolumeLimitExceeded"),
        make_fault("dies", where="host 1", when="3 s after running"),
        make_fault("stuck-pending", where="host 2"),
    )
    ids = launch_in(cloud, 3)
    cloud.clock.sleep(19)
    assert states(cloud) == ["shutting-down", "running", "pending"]
    cloud.clock.sleep(3600 / 2)
    pages = client_without_retries(cloud).describe_instances(InstanceIds=ids)["Reservations"]
    never, later, stuck = (instance for page in pages for instance in page["Instances"])

    assert never["StateReason"]["Code"] == never["StateTransitionReason"] == "Client.VolumeLimitExceeded"
    assert never["StateReason"]["Message"] == "Client.VolumeLimitExceeded: Volume limit exceeded"
    assert later["StateReason"]["Code"] == "Server.InternalError"
    assert stuck["State"]["Name"] == "pending"


def test_a_later_scenario_counts_seconds_and_hosts_from_its_start(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    launch_in(cloud, 2)
    cloud.clock.sleep(100)
    cloud.play(Scenario(1, (make_fault("dies", where="host 1", when="at 10 s"), make_fault("dies", where="host 2"))))
    cloud.clock.sleep(9)
    assert states(cloud) == ["running", "running"]
    cloud.clock.sleep(7)
    assert states(cloud) == ["running"]
    launch_in(cloud)
    cloud.clock.sleep(30)

    assert states(cloud) == ["running"]


def test_a_new_scenario_ends_earlier_faults(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(
        make_fault("dies", when="at 60 s"), make_fault("error", code="InternalError", action="DescribeVpcs")
    )
    launch_in(cloud)
    cloud.play(Scenario())
    cloud.clock.sleep(100)

    assert states(cloud) == ["running"]
    assert client_without_retries(cloud).describe_vpcs()["Vpcs"]
