"""Placement groups as managed resources: found by tags, and deleted once no instance uses them. They cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.aws.client import Clients
from orchestrator.aws.ec2 import instances
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.machines import placement_groups
from orchestrator.aws.managed.resources import ManagedResource


@dataclass(frozen=True)
class PlacementGroups:
    """Placement groups of a cluster without instances."""

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    label: str = "placement group"

    def find(self) -> Sequence[ManagedResource]:
        """Return the groups that no instance uses any more; see `ManagedKind.find`."""
        cluster_id = self.cluster_id()
        names = placement_groups.find(self.clients, cluster_id)
        # Instances that remain are reported by themselves; until they end, EC2 deletes no group of theirs.
        if not names or instances.describe(self.clients, Ownership(cluster_id)):
            return []
        return [ManagedResource(self.label, name, "unused", usd_per_hour=Decimal(0)) for name in names]

    def end(self, name: str) -> None:
        """Delete a group; see `ManagedKind.end`."""
        placement_groups.delete(self.clients, name)
