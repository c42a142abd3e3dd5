"""Resources of another user of the account."""

from __future__ import annotations

from typing import Any

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import wait_for_state
from tests.support.localcloud.instances import Play


def test_a_colleagues_resources_exist_as_long_as_the_scenario(ec2: Any, play: Play) -> None:
    tags = {"Name": "ml-0", "stratus:cluster": "ml", "stratus:owner": "eve"}
    play(make_fault("colleague", machines=2, tags=tags, group="stratus-ml", key="stratus-ml"))
    # Other tests of this cloud may have had a cluster of the same name.
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    pages = ec2.describe_instances(Filters=filters)["Reservations"]
    instances = [instance for page in pages for instance in page["Instances"]]

    assert [instance["State"]["Name"] for instance in instances] == ["running", "running"]
    assert {tag["Key"]: tag["Value"] for tag in instances[0]["Tags"]} == tags
    assert instances[0]["SecurityGroups"][0]["GroupName"] == instances[0]["KeyName"] == "stratus-ml"
    play()
    wait_for_state(ec2, [instance["InstanceId"] for instance in instances], "terminated")
    assert ec2.describe_key_pairs()["KeyPairs"] == []
