"""Capacity pools that remain after a refusal."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.aws.capacity.pools import SPOT, Pool, remaining_after
from tests.support.aws.values import PLAN, SUBNET_A, SUBNET_B

SUBNET_A2 = replace(SUBNET_A, id="subnet-2a")


def test_pools_that_the_refusal_applies_to_are_dropped() -> None:
    big = replace(PLAN.type_info, name="g5.xlarge")
    spot, first, same, other, gpu = (
        Pool(PLAN.type_info, SUBNET_A, SPOT),
        Pool(PLAN.type_info, SUBNET_A),
        Pool(PLAN.type_info, SUBNET_A2),
        Pool(PLAN.type_info, SUBNET_B),
        Pool(big, SUBNET_A),
    )
    pools = [first, same, other, gpu]

    assert remaining_after(pools, "InsufficientInstanceCapacity") == [other, gpu]
    assert remaining_after([first, other, same], "InsufficientFreeAddressesInSubnet") == [same, other]
    assert remaining_after(pools, "VcpuLimitExceeded") == [gpu]
    assert remaining_after([spot, first], "MaxSpotInstanceCountExceeded") == [first]
    assert remaining_after([spot, first], "AuthFailure.ServiceLinkedRoleCreationNotPermitted") == [first]
    assert remaining_after(pools, "Unsupported") == [other, gpu]
    assert remaining_after(pools, "UnauthorizedOperation") is None
