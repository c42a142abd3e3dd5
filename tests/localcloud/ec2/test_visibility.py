"""Visibility of new instances, and status checks, in virtual time."""

from __future__ import annotations

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import error_code
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries, launch_in


def test_a_new_instance_and_its_tags_are_invisible_for_a_while(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(make_fault("invisible", seconds=60))
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "late", "Value": "yes"}]}]
    ids, ec2 = launch_in(cloud, TagSpecifications=tags), client_without_retries(cloud)
    by_tag = [{"Name": "tag:late", "Values": ["yes"]}]

    assert ec2.describe_instances(Filters=by_tag)["Reservations"] == []
    assert ec2.describe_tags(Filters=[{"Name": "key", "Values": ["late"]}])["Tags"] == []
    for call in (ec2.describe_instances, ec2.terminate_instances, ec2.describe_instance_status):
        assert error_code(call, InstanceIds=ids) == "InvalidInstanceID.NotFound"
    cloud.clock.sleep(60)
    assert ec2.describe_instances(Filters=by_tag)["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


def test_a_retried_token_finds_instances_that_are_not_visible_yet(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(make_fault("invisible", seconds=60), make_fault("dropped", action="RunInstances", times=1))

    # botocore retries with the token that it generated.
    assert len(launch_in(cloud, 2)) == 2
    assert len(cloud.live_instances()) == 2


def test_status_checks_take_time_and_may_fail(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(make_fault("impaired", where="host 1", when="200 s after running", seconds=60))
    ids, ec2 = launch_in(cloud, 2), client_without_retries(cloud)

    def checks() -> list[str]:
        statuses = ec2.describe_instance_status(InstanceIds=ids)["InstanceStatuses"]
        return [status["InstanceStatus"]["Status"] for status in statuses]

    seen = []
    for seconds in (0, 20, 120, 90, 60):
        cloud.clock.sleep(seconds)
        seen.append(checks())

    assert seen == [[], ["initializing"] * 2, ["ok"] * 2, ["ok", "impaired"], ["ok"] * 2]


def test_status_checks_are_filtered_by_outcome(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(make_fault("impaired", where="host 1", check="system"))
    ids, ec2 = launch_in(cloud, 2), client_without_retries(cloud)
    cloud.clock.sleep(150)

    def ids_by(name: str, value: str) -> list[str]:
        statuses = ec2.describe_instance_status(Filters=[{"Name": name, "Values": [value]}])["InstanceStatuses"]
        return [status["InstanceId"] for status in statuses]

    assert ids_by("system-status.status", "impaired") == ids_by("system-status.reachability", "failed") == ids[1:]
    assert ids_by("instance-status.status", "impaired") == []
    assert ids_by("instance-status.status", "ok") == ids_by("instance-state-name", "runn*") == ids
    assert (
        error_code(ec2.describe_instance_status, Filters=[{"Name": "nope", "Values": ["x"]}]) == "InvalidParameterValue"
    )
