"""Resources of another user of the account."""

from __future__ import annotations

from typing import Any

from localcloud.scenarios.scenario import make_fault
from tests.support.embedded_cloud import wait_for_state
from tests.support.embedded_instances import Play


def test_a_colleagues_resources_exist_as_long_as_the_scenario(ec2: Any, play: Play) -> None:
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
