"""EC2 API: tokens, dry runs, placement and validation of launches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import TYPE, boto, error_code, error_of
from tests.support.localcloud.instances import Launch, Play, ids


@pytest.mark.slow
def test_the_same_client_token_launches_once(launch: Launch) -> None:
    first, second = launch(2, ClientToken="once"), launch(2, ClientToken="once")

    assert ids(first) == ids(second)


def test_a_client_token_with_other_parameters_is_refused(launch: Launch) -> None:
    launch(ClientToken="mine")

    assert error_code(launch, ClientToken="mine", InstanceType="c7i.xlarge") == "IdempotentParameterMismatch"


def test_a_token_sent_concurrently_launches_once(cloud: dict[str, str], ubuntu: str) -> None:
    ec2 = boto(cloud, "ec2")

    def send(_: int) -> str:
        order = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "ClientToken": "crowd"}
        return str(ec2.run_instances(**order)["Instances"][0]["InstanceId"])

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(send, range(8)))

    ec2.terminate_instances(InstanceIds=list(answers))
    assert len(answers) == 1


def test_a_dry_run_launches_nothing_and_does_not_use_the_token(launch: Launch) -> None:
    assert error_code(launch, ClientToken="dry", DryRun=True) == "DryRunOperation"
    assert len(launch(ClientToken="dry")) == 1


def test_max_count_is_launched_with_enough_capacity(launch: Launch) -> None:
    assert len(launch(MinCount=1, MaxCount=3)) == 3


def test_instances_are_found_by_tag_and_by_client_token(ec2: Any, launch: Launch) -> None:
    tags = {"ResourceType": "instance", "Tags": [{"Key": "stratus:cluster", "Value": "tagged"}]}
    new = launch(2, TagSpecifications=[tags], ClientToken="found")

    def ids_by(name: str, value: str) -> list[str]:
        pages = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        return [instance_id for page in pages for instance_id in ids(page["Instances"])]

    assert ids_by("tag:stratus:cluster", "tagged") == ids(new)
    assert ids_by("client-token", "found") == ids(new)
    assert ids_by("tag:stratus:cluster", "other") == []


def test_offerings_and_types_are_those_of_the_region(ec2: Any) -> None:
    only = [{"Name": "instance-type", "Values": ["g6.xlarge"]}]
    offers = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=only)
    (instance_type,) = ec2.describe_instance_types(InstanceTypes=["g6.xlarge"])["InstanceTypes"]

    assert {offering["Location"] for offering in offers["InstanceTypeOfferings"]} <= {
        f"us-west-2{zone}" for zone in "abcd"
    }
    assert instance_type["VCpuInfo"]["DefaultVCpus"] == 4


def test_spot_instances_have_a_price_and_a_lower_bid_is_refused(ec2: Any, launch: Launch, play: Play) -> None:
    play(make_fault("spot-price", price=0.25, where="us-west-2b"))
    history = ec2.describe_spot_price_history(InstanceTypes=[TYPE], ProductDescriptions=["Linux/UNIX"])[
        "SpotPriceHistory"
    ]
    prices = {entry["AvailabilityZone"]: float(entry["SpotPrice"]) for entry in history}
    bid = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.2"}}

    assert prices["us-west-2b"] == 0.25
    assert 0.05 < prices["us-west-2a"] < 0.357
    code, _, message = error_of(launch, InstanceMarketOptions=bid, Placement={"AvailabilityZone": "us-west-2b"})
    assert (code, message.endswith("minimum required Spot request fulfillment price of 0.25.")) == (
        "SpotMaxPriceTooLow",
        True,
    )
