"""A launch plan as the planner would build it, with the facts that tests are about changed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from orchestrator.aws.ec2.images import Image
from orchestrator.aws.ec2.instance_types import InstanceType
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.ec2.network import Placement, Subnet
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.pricing.price_table import Price

ENCRYPTED_DISK = Disk("gp3", 75, encrypted=True)
SUBNETS = (Subnet("subnet-a", "us-west-2a", 250), Subnet("subnet-b", "us-west-2b", 250))


def launch_plan(count: int = 2, **changes: Any) -> LaunchPlan:
    """Return a plan for some VMs of one type."""
    facts: dict[str, Any] = {
        "cluster_id": ClusterId("ml", "me", "123456789012", "us-west-2"),
        "launch_id": "l-1",
        "names": tuple(f"ml-{number}" for number in range(count)),
        "type_info": InstanceType("c7i.2xlarge", 8, 16.0, ("x86_64",)),
        "image": Image("ami-1", "ubuntu-24.04", "ubuntu", "x86_64", "/dev/sda1", 8),
        "placement": Placement("vpc-1", SUBNETS),
        "subnet": SUBNETS[0],
        "disk": ENCRYPTED_DISK,
        "max_hours": 8.0,
        "user": "ubuntu",
        "price": Price(Decimal("0.357"), "price list of 2026-07, us-west-2"),
        "disk_price": Price(Decimal("0.008"), "price list of 2026-07, us-west-2"),
    }
    return LaunchPlan(**(facts | changes))
