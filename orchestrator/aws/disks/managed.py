"""Volumes and shared file systems as managed resources: found by tags, priced, ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.aws.client import Clients
from orchestrator.aws.disks import efs, file_systems, lustre, volumes
from orchestrator.aws.disks.mounts import EFS
from orchestrator.aws.ec2 import security_groups
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.managed.resources import ManagedKind, ManagedResource
from orchestrator.aws.pricing import price_table
from orchestrator.aws.pricing.price_table import Prices

_LABELS = {"efs": "EFS file system", "lustre": "Lustre file system"}


@dataclass(frozen=True)
class KeptVolumes:
    """Volumes that outlive their instances."""

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    prices: Callable[[], Prices]
    label: str = "volume"

    def find(self) -> Sequence[ManagedResource]:
        """Return the volumes that are kept, attached or not."""
        return [self._resource(record) for record in volumes.of_cluster(self.clients, self.cluster_id())]

    def _resource(self, record: volumes.VolumeRecord) -> ManagedResource:
        price = self.prices().disk_per_hour(record.disk, self.cluster_id().region)
        usd = price.usd if price else None
        where = f"on {record.instance_id}" if record.instance_id else f"in {record.zone}"
        parts = [record.name, f"{record.disk.size} GiB {record.disk.type}", where]
        return ManagedResource(
            self.label,
            record.id,
            record.state,
            usd_per_hour=usd,
            created_at=record.created_at,
            is_kept=True,
            detail=", ".join(filter(None, parts)),
        )

    def end(self, name: str) -> None:
        """Delete a volume."""
        volumes.delete(self.clients, name)


@dataclass(frozen=True)
class SharedFileSystems:
    """File systems of one kind that the cluster has made.

    :param kind: ``efs`` or ``lustre``.
    """

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    kind: str

    @property
    def label(self) -> str:
        """Name of the kind."""
        return _LABELS[self.kind]

    def find(self) -> Sequence[ManagedResource]:
        """Return the file systems that are not being deleted."""
        records = file_systems.of_cluster(self.clients, self.kind, self.cluster_id())
        return [self._resource(record) for record in records]

    def _resource(self, record: file_systems.SharedRecord) -> ManagedResource:
        region = self.cluster_id().region
        usd = record.usd_per_hour if region in price_table.SAME_PRICE else None
        size = f"{record.size_gib:.1f} GiB" if self.kind == EFS else f"{record.size_gib:.0f} GiB"
        return ManagedResource(
            self.label,
            record.id,
            record.state,
            usd_per_hour=usd,
            created_at=record.created_at,
            is_kept=record.is_kept,
            detail=", ".join([record.name, size]),
        )

    def end(self, name: str) -> None:
        """Delete a file system with its mount targets.

        :raises StratusError: a mount target is still being deleted: a later call completes it.
        """
        (efs if self.kind == EFS else lustre).delete(self.clients, name)


@dataclass(frozen=True)
class FilesGroups:
    """Security groups of shared file systems that no file system uses any more; they cost nothing.

    :param kinds: the file systems.
    """

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    kinds: Sequence[ManagedKind]
    label: str = "security group of file systems"

    def find(self) -> Sequence[ManagedResource]:
        """Return the groups of a cluster without file systems."""
        cluster_id = self.cluster_id()
        groups = security_groups.find_files_groups(self.clients, cluster_id)
        if not groups or any(kind.find() for kind in self.kinds):
            return []
        return [ManagedResource(self.label, group["GroupId"], "unused", usd_per_hour=Decimal(0)) for group in groups]

    def end(self, name: str) -> None:
        """Delete a group.

        :raises CloudRefused: an instance or a mount target uses it: a later call completes it.
        """
        security_groups.delete_one(self.clients, name)
