"""Cells for missing capacity, addresses and quota."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import LAUNCH, REAL_LAUNCH

SPOT = {"cluster.market": "spot"}


def _no_capacity() -> Iterator[Cell]:
    """F14: no capacity in a pool; the launch goes to the next pool, and asks each one once."""
    codes = (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "ReservationCapacityExceeded",
        "UnfulfillableCapacity",
    )
    for code in codes:
        one_zone = {"kind": "no-capacity", "code": code, "where": "us-west-2a"}
        yield Cell(
            "F14",
            f"{code} in one zone",
            LAUNCH,
            "F",
            0,
            ("us-west-2a", code, "us-west-2b"),
            (one_zone,),
            instances=2,
            launch_requests=2,
        )
        region = {"kind": "no-capacity", "code": code, "where": "us-west-2"}
        yield Cell(
            "F14",
            f"{code} everywhere",
            LAUNCH,
            "F",
            3,
            (
                code,
                "us-west-2a",
                "us-west-2c",
                "[cluster] fallback_instance_types = m7i.2xlarge tries these as well ($0.403/h)",
            ),
            (region,),
            instances=0,
            launch_requests=3,
            next_command="terminate",
        )
    no_type: dict[str, Any] = {"kind": "no-capacity", "where": "c7i.2xlarge"}
    yield Cell(
        "F14",
        "next type",
        LAUNCH,
        "F",
        0,
        ("c7i.2xlarge", "InsufficientInstanceCapacity", "m7i.2xlarge"),
        (no_type,),
        {"cluster.fallback_instance_types": "m7i.2xlarge"},
        instances=2,
    )
    one_zone = {"kind": "no-capacity", "where": "us-west-2a", "when": "until 5 s"}
    yield Cell(
        "F14",
        "the pool is remembered",
        LAUNCH,
        "F",
        0,
        ("us-west-2a", "skipped"),
        (one_zone,),
        setup=("launch -n 1 --yes", "terminate"),
        faults_during_setup=True,
        instances=2,
        launch_requests=1,
    )


def _no_addresses() -> Iterator[Cell]:
    """F20: no free addresses in a subnet."""
    full = {"kind": "no-addresses", "where": "us-west-2a"}
    yield Cell("F20", "in one subnet", LAUNCH, "F", 0, ("InsufficientFreeAddressesInSubnet",), (full,), instances=2)
    all_full = {"kind": "no-addresses", "where": "us-west-2"}
    yield Cell(
        "F20",
        "in all subnets",
        LAUNCH,
        "F",
        3,
        ("InsufficientFreeAddressesInSubnet", "subnet_id"),
        (all_full,),
        instances=0,
        next_command="terminate",
    )


def _no_spot() -> Iterator[Cell]:
    """F24: no spot instances, on demand only if the settings allow it."""
    no_spot = {"kind": "no-capacity", "where": "spot"}
    output = ("InsufficientInstanceCapacity", "[cluster] spot_fallback = yes launches them on demand ($0.357/h)")
    yield Cell("F24", "no spot capacity", LAUNCH, "F", 3, output, (no_spot,), SPOT, instances=0)
    yield Cell(
        "F24",
        "spot_fallback = yes",
        LAUNCH,
        "F",
        0,
        ("InsufficientInstanceCapacity", "spot"),
        (no_spot,),
        {**SPOT, "cluster.spot_fallback": "yes"},
        instances=2,
    )
    for code, hint in (
        ("SpotMaxPriceTooLow", "spot_fallback"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "create-service-linked-role"),
    ):
        refused = {"kind": "error", "code": code, "message": f"message of {code}", **REAL_LAUNCH}
        yield Cell("F24", code, LAUNCH, "F", 3, (code, hint), (refused,), SPOT, instances=0, next_command="terminate")


def _quota() -> Iterator[Cell]:
    """F13, F15: quota too small, or a type that the zone does not offer."""
    quota = {"kind": "quota", "quota": "L-1216C47A", "vcpus": 8}
    output = ("L-1216C47A", "16 vCPU needed", "limit 8", "stratus quota")
    yield Cell("F13", "standard quota", LAUNCH, "U", 3, output, (quota,), instances=0, changes=0, max_s=5.0)
    quota = {"kind": "quota", "quota": "L-34B43A08", "vcpus": 8}
    output = ("L-34B43A08", "16 vCPU needed", "limit 8", "stratus quota")
    yield Cell("F13", "spot quota", LAUNCH, "U", 3, output, (quota,), SPOT, instances=0, changes=0, max_s=5.0)
    for code in ("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"):
        refused = {"kind": "error", "code": code, "message": f"You have requested too many ({code}).", **REAL_LAUNCH}
        yield Cell(
            "F13",
            f"RunInstances: {code}",
            LAUNCH,
            "F",
            3,
            (code, "servicequotas"),
            (refused,),
            SPOT if "Spot" in code else {},
            instances=0,
            launch_requests=1,
            next_command="terminate",
        )
    not_here = {"kind": "error", "code": "Unsupported", **REAL_LAUNCH, "times": 1}
    yield Cell(
        "F15",
        "RunInstances: Unsupported",
        LAUNCH,
        "F",
        0,
        ("Unsupported",),
        (not_here,),
        instances=2,
        launch_requests=2,
    )


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _no_capacity()
    yield from _no_addresses()
    yield from _no_spot()
    yield from _quota()
