"""VMs of a cluster and their status, as EC2 would describe them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.core.cost import exactly
from tests.support.interface.rendered import NOW


def machine(name: str, state: str = "running", per_hour: str | None = "0.365") -> InstanceStatus:
    """Return a VM that was launched 12 minutes ago."""
    return InstanceStatus(
        name,
        f"i-{name}",
        "c7i.2xlarge",
        state,
        "us-west-2b",
        "10.0.3.7",
        NOW - timedelta(minutes=12),
        NOW + timedelta(hours=7, minutes=48),
        Decimal(per_hour) if per_hour else None,
        Decimal("0.0082"),
        spent=exactly((Decimal(per_hour) / 5 if per_hour else None) if state == "running" else Decimal(0)),
    )


def stopped_machine(name: str, hours: float) -> InstanceStatus:
    """Return a VM that was stopped some hours ago."""
    return replace(machine(name, "stopped"), stopped_at=NOW - timedelta(hours=hours))


def status(*machines: InstanceStatus) -> ClusterStatus:
    """Return the status of a cluster of these VMs."""
    return ClusterStatus("ml", "us-west-2", "me", machines, NOW)
