"""Capacity of pools, and vCPU quotas."""

from __future__ import annotations

from typing import Any

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import TYPE, boto, error_of
from tests.support.localcloud.instances import Launch, Play


def test_an_empty_pool_names_zones_with_capacity_and_a_launch_without_zone_uses_one(launch: Launch, play: Play) -> None:
    play(make_fault("no-capacity", where=f"us-west-2a / {TYPE} / on-demand"))
    code, status, message = error_of(launch, Placement={"AvailabilityZone": "us-west-2a"})

    assert (code, status) == ("InsufficientInstanceCapacity", 500)
    assert "or choosing us-west-2b, us-west-2c" in message
    assert launch()[0]["Placement"]["AvailabilityZone"] == "us-west-2b"
    spot = launch(InstanceMarketOptions={"MarketType": "spot"}, Placement={"AvailabilityZone": "us-west-2a"})
    assert spot[0]["InstanceLifecycle"] == "spot"
    assert spot[0]["SpotInstanceRequestId"].startswith("sir-")


def test_a_pool_with_room_for_two_launches_what_fits(launch: Launch, play: Play) -> None:
    play(make_fault("no-capacity", machines=2, where="us-west-2c"))
    there = {"Placement": {"AvailabilityZone": "us-west-2c"}}

    assert error_of(launch, 3, **there)[0] == "InsufficientInstanceCapacity"
    assert len(launch(3, **there, MinCount=1)) == 2
    assert error_of(launch, 1, **there)[0] == "InsufficientInstanceCapacity"


def test_a_quota_counts_the_vcpus_of_instances_that_are_not_stopped(
    cloud: dict[str, str], ec2: Any, launch: Launch, play: Play
) -> None:
    quotas = boto(cloud, "service-quotas")
    held = sum(
        8
        for page in ec2.describe_instances()["Reservations"]
        for instance in page["Instances"]
        if instance["State"]["Name"] in ("pending", "running", "stopping")
    )
    play(make_fault("quota", quota="L-1216C47A", vcpus=held + 16), make_fault("quota", quota="L-34B43A08", vcpus=7))
    launch(2)
    code, status, message = error_of(launch)

    assert (code, status) == ("VcpuLimitExceeded", 400)
    assert f"current vCPU limit of {held + 16} allows" in message
    assert error_of(launch, InstanceMarketOptions={"MarketType": "spot"})[0] == "MaxSpotInstanceCountExceeded"
    quota = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    assert (quota["Value"], quota["Adjustable"]) == (held + 16, True)
    arguments = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A", "DesiredValue": 256}
    assert quotas.request_service_quota_increase(**arguments)["RequestedQuota"]["Status"] == "PENDING"
    assert error_of(quotas.request_service_quota_increase, **arguments)[0] == "ResourceAlreadyExistsException"
    history = quotas.list_requested_service_quota_change_history(ServiceCode="ec2")["RequestedQuotas"]
    assert [instance["DesiredValue"] for instance in history][-1] == 256.0
