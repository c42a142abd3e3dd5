"""Bad days in virtual time: faults whose point is when they strike."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from localcloud.scenarios.fault_engine import ActiveFault, ApiCall
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.virtual_cloud import Open, code, launch, once, sky, states

__all__ = ["sky"]


def test_a_dropped_answer_is_a_closed_connection_and_a_very_slow_one_a_timeout(sky: Open) -> None:
    cloud = sky(make_fault("dropped", action="CreateKeyPair"), make_fault("slow", action="DescribeVpcs", seconds=100))
    ec2 = once(cloud)
    with pytest.raises(ConnectionClosedError):
        ec2.create_key_pair(KeyName="unheard")
    before = cloud.clock.now()
    with pytest.raises(ReadTimeoutError):
        ec2.describe_vpcs()

    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    assert 60 < cloud.clock.now() - before < 61


def test_a_new_machine_is_invisible_for_a_while_and_its_tags_with_it(sky: Open) -> None:
    cloud = sky(make_fault("invisible", seconds=60))
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
    cloud = sky(make_fault("invisible", seconds=60), make_fault("dropped", action="RunInstances", times=1))

    # botocore tries again, with the token that it made up.
    assert len(launch(cloud, 2)) == 2
    assert len(cloud.live_instances()) == 2


def test_a_machine_dies_at_its_time_or_instead_of_running_with_its_reason(sky: Open) -> None:
    cloud = sky(
        make_fault("dies-pending", where="host 0", code="Client.VolumeLimitExceeded"),
        make_fault("dies", where="host 1", when="3 s after running"),
        make_fault("stuck-pending", where="host 2"),
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
    cloud = sky(make_fault("impaired", where="host 1", when="200 s after running", seconds=60))
    ids, ec2 = launch(cloud, 2), once(cloud)

    def checks() -> list[str]:
        found = ec2.describe_instance_status(InstanceIds=ids)["InstanceStatuses"]
        return [one["InstanceStatus"]["Status"] for one in found]

    seen = []
    for seconds in (0, 20, 120, 90, 60):
        cloud.clock.sleep(seconds)
        seen.append(checks())

    assert seen == [[], ["initializing"] * 2, ["ok"] * 2, ["ok", "impaired"], ["ok"] * 2]


def test_status_checks_are_found_by_their_outcome(sky: Open) -> None:
    cloud = sky(make_fault("impaired", where="host 1", check="system"))
    ids, ec2 = launch(cloud, 2), once(cloud)
    cloud.clock.sleep(150)

    def found(name: str, value: str) -> list[str]:
        told = ec2.describe_instance_status(Filters=[{"Name": name, "Values": [value]}])["InstanceStatuses"]
        return [one["InstanceId"] for one in told]

    assert found("system-status.status", "impaired") == found("system-status.reachability", "failed") == ids[1:]
    assert found("instance-status.status", "impaired") == []
    assert found("instance-status.status", "ok") == found("instance-state-name", "runn*") == ids
    assert code(ec2.describe_instance_status, Filters=[{"Name": "nope", "Values": ["x"]}]) == "InvalidParameterValue"


def test_hosts_on_paper_are_reached_as_real_ones_would_be(sky: Open) -> None:
    cloud = sky(
        make_fault("ssh-dropped", where="host 1"),
        make_fault("boot-hangs", where="host 2"),
        make_fault("slow-boot", where="host 3", seconds=60),
        make_fault("host-lost", where="host 4", when="30 s after running"),
        make_fault("host-frozen", where="host 5", when="30 s after running", seconds=60),
    )
    ids = launch(cloud, 6)

    def reach() -> list[str]:
        return [cloud.ssh_fault(one) for one in ids]

    assert reach() == ["dropped"] * 6
    cloud.clock.sleep(17)
    assert reach() == ["refused", "dropped", *["refused"] * 4]
    cloud.clock.sleep(4)
    assert reach() == ["", "dropped", "refused", "refused", "", ""]
    cloud.clock.sleep(30)
    assert reach() == ["", "dropped", "refused", "refused", "refused", "silent"]
    cloud.clock.sleep(60)
    assert reach() == ["", "dropped", "refused", "", "refused", ""]


def test_a_group_may_be_said_to_be_in_use_for_a_while(sky: Open) -> None:
    cloud = sky(make_fault("group-in-use", seconds=30))
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
    cloud.play(Scenario(1, (make_fault("dies", where="host 1", when="at 10 s"), make_fault("dies", where="host 2"))))
    cloud.clock.sleep(9)
    assert states(cloud) == ["running", "running"]
    cloud.clock.sleep(7)
    assert states(cloud) == ["running"]
    launch(cloud)
    cloud.clock.sleep(30)

    assert states(cloud) == ["running"]


def test_faults_that_are_over_strike_no_more(sky: Open) -> None:
    cloud = sky(make_fault("dies", when="at 60 s"), make_fault("error", code="InternalError", action="DescribeVpcs"))
    launch(cloud)
    cloud.play(Scenario())
    cloud.clock.sleep(100)

    assert states(cloud) == ["running"]
    assert once(cloud).describe_vpcs()["Vpcs"]


def test_a_window_a_number_of_times_and_a_chance_narrow_a_fault_down(sky: Open) -> None:
    def failures(**narrowed: Any) -> str:
        cloud = sky(make_fault("error", code="InternalError", action="DescribeVpcs", **narrowed))
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
    live = ActiveFault(make_fault("bad-keys"), "seed")

    assert live.matches(ApiCall("s3", "GET /x", "us-west-2", by_user=True))
    assert not live.matches(ApiCall("s3", "GET /x", "us-west-2", by_user=False))
