"""Order of the subnets that a launch can use."""

from __future__ import annotations

from orchestrator.aws.ec2.network import Placement, Subnet
from tests.support.aws.values import SUBNET_A, SUBNET_B


def test_zones_of_the_cluster_come_first_then_subnets_with_most_addresses() -> None:
    c = Subnet("subnet-c", "us-west-2c", 500)
    place = Placement("vpc-1", (SUBNET_A, SUBNET_B, c))

    assert place.within(["us-west-2a", "us-west-2b"]).subnets == (SUBNET_A, SUBNET_B)
    assert place.within(place.zones).subnets == (c, SUBNET_A, SUBNET_B)
    assert place.within(place.zones, preferred_zones=["us-west-2b"]).subnets == (SUBNET_B, c, SUBNET_A)
    assert place.within(place.zones, count=101).subnets == (c,)
