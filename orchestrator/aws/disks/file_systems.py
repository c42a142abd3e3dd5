"""Shared file systems of a cluster: planned for a launch, found, made, made reachable, and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client
from orchestrator.aws.disks import efs, lustre
from orchestrator.aws.disks.mounts import EFS, LUSTRE, READ_ONLY, Mount
from orchestrator.aws.ec2 import instance_tags
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.pricing import price_table
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.core.journal import Journal

if TYPE_CHECKING:
    from orchestrator.aws.ec2.network import Subnet
    from orchestrator.config.disks.file_systems import FileSystem

JOURNAL_KINDS = {EFS: "file-system", LUSTRE: "lustre"}
NAME = "stratus:filesystem"
"""Tag of a file system: its name in the config."""

KEEP = "stratus:keep"
"""Tag of a file system that outlives its cluster."""

_NOT_CREATED = ("BadRequest", "AccessDenied", "AccessDeniedException", "ServiceLimitExceeded", "UsageLimitExceeded")


@dataclass(frozen=True)
class SharedRecord:
    """A shared file system as its service describes it.

    :param kind: ``efs`` or ``lustre``.
    :param name: in the config; empty if it is not tagged with one.
    :param size_gib: what it is billed for: its content (EFS), its capacity (Lustre).
    :param mount_name: of Lustre; empty for EFS.
    :param subnets: of Lustre; those of EFS are of its mount targets.
    """

    kind: str
    id: str
    name: str
    state: str
    size_gib: float
    created_at: datetime
    is_kept: bool = False
    mount_name: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    subnets: tuple[str, ...] = ()

    @property
    def usd_per_hour(self) -> Decimal:
        """USD per hour; for EFS without reads and writes, which are billed by their amount."""
        return price_table.file_system_usd_per_month(self.kind, self.size_gib) / price_table.HOURS_PER_MONTH


@dataclass(frozen=True)
class PlannedFileSystem:
    """A shared file system of a launch.

    :param existing: None if the launch makes it.
    """

    settings: FileSystem
    existing: SharedRecord | None = None

    @property
    def usd_per_month(self) -> Decimal | None:
        """USD per month of one for Lustre; per GB and month for EFS, whose size is not known beforehand."""
        size_gib = self.settings.size if self.settings.kind == LUSTRE else 1
        return price_table.file_system_usd_per_month(self.settings.kind, size_gib)


def plan(
    clients: client.Clients, settings: Sequence[FileSystem], cluster_id: ClusterId
) -> tuple[PlannedFileSystem, ...]:
    """Return the shared file systems of a launch; no call if there are none.

    :raises UsageError: one that the settings name does not exist.
    """
    return tuple(_planned(clients, item, cluster_id) for item in settings)


def _planned(clients: client.Clients, item: FileSystem, cluster_id: ClusterId) -> PlannedFileSystem:
    records = describe(clients, item.kind)
    if not item.id:
        own = [record for record in records if is_own(record, cluster_id) and record.name == item.name]
        return PlannedFileSystem(item, own[0] if own else None)
    named = [record for record in records if record.id == item.id]
    if not named:
        listed = ", ".join(record.id for record in records) or "none"
        raise UsageError(
            f"file system {item.id} ({item.kind}) does not exist in {clients.region}",
            code="FileSystemNotFound",
            fix=f"correct [file_systems] {item.name}; existing: {listed}",
        )
    return PlannedFileSystem(item, named[0])


def describe(clients: client.Clients, kind: str) -> list[SharedRecord]:
    """Return the file systems of the region that are not being deleted.

    :param kind: ``efs`` or ``lustre``.
    """
    return [_record(kind, item) for item in (efs if kind == EFS else lustre).describe(clients)]


def of_cluster(clients: client.Clients, kind: str, cluster_id: ClusterId) -> list[SharedRecord]:
    """Return the file systems of one kind that a cluster has made."""
    return [record for record in describe(clients, kind) if is_own(record, cluster_id)]


def is_own(record: SharedRecord, cluster_id: ClusterId) -> bool:
    """Return True if a cluster has made a file system."""
    return cluster_id.matches([{"Key": key, "Value": value} for key, value in record.tags])


def subnets(clients: client.Clients, record: SharedRecord) -> list[str]:
    """Return the subnets in which a file system has addresses."""
    return efs.subnets(clients, record.id) if record.kind == EFS else list(record.subnets)


def _record(kind: str, item: dict[str, Any]) -> SharedRecord:
    tags = {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}
    is_efs = kind == EFS
    return SharedRecord(
        kind,
        item["FileSystemId"],
        tags.get(NAME, ""),
        item.get("LifeCycleState" if is_efs else "Lifecycle", ""),
        item["SizeInBytes"]["Value"] / 2**30 if is_efs else float(item["StorageCapacity"]),
        item["CreationTime"],
        tags.get(KEEP) == "yes",
        "" if is_efs else item.get("LustreConfiguration", {}).get("MountName", ""),
        tuple(tags.items()),
        tuple(item.get("SubnetIds", ())),
    )


def make(
    clients: client.Clients,
    item: FileSystem,
    cluster_id: ClusterId,
    *,
    subnet: Subnet,
    group_id: str,
    launch_id: str,
    journal: Journal,
) -> SharedRecord:
    """Make a shared file system; it is in the journal before the request, and tagged by it.

    :param launch_id: of the launch that makes it.
    :param subnet: of one for Lustre, which is in one zone.
    :param group_id: security group of its network interfaces.
    """
    names = {NAME: item.name, instance_tags.LAUNCH: launch_id, "Name": f"{cluster_id.cluster} {item.name}"}
    names |= {KEEP: "yes"} if item.keep else {}
    tags = [*cluster_id.tags, *({"Key": key, "Value": value} for key, value in names.items())]
    token = clients.clock.new_id()
    entry = journal.record_intent(JOURNAL_KINDS[item.kind], name=token, **cluster_id.journal_fields)
    try:
        if item.kind == EFS:
            created = efs.create(clients, token, tags)
        else:
            created = lustre.create(clients, token, tags, item.size, subnet.id, group_id)
    except StratusError as error:
        # Any other answer may hide a file system that was made: Status looks for it by its tags.
        if isinstance(error, CloudRefused) and error.code in _NOT_CREATED:
            journal.record_outcome(entry, refused=error.code, ended=True)
        raise
    record = _record(item.kind, created)
    journal.record_outcome(entry, id=record.id)
    return record


def delete_of_launch(clients: client.Clients, kind: str, cluster_id: ClusterId, launch_id: str) -> None:
    """Delete the file systems that a launch made that was rolled back: nothing was written to them."""
    for record in of_cluster(clients, kind, cluster_id):
        if (instance_tags.LAUNCH, launch_id) in record.tags:
            (efs if kind == EFS else lustre).delete(clients, record.id)


def mount(record: SharedRecord, item: FileSystem) -> Mount:
    """Return the mount of a file system."""
    source = f"{record.id}/{record.mount_name}" if item.kind == LUSTRE else record.id
    return Mount(item.name, item.kind, source, item.mount_point, (READ_ONLY,) if item.read_only else ())


def source(clients: client.Clients, item: Mount, *, subnet_id: str, zone: str, group_id: str) -> str:
    """Return what an instance mounts, once it can be: ``fs-0123.efs.us-west-2.amazonaws.com:/``.

    :param group_id: security group of a mount target that has to be made; empty to make none.
    :raises StratusError: it does not become available in time, or has no address that the instance reaches.
    """
    if item.kind == EFS:
        return efs.source(clients, item.file_system_id, subnet_id=subnet_id, zone=zone, group_id=group_id)
    return lustre.source(clients, item.file_system_id)


FSTAB_TYPES = {EFS: "nfs4", LUSTRE: "lustre"}
_OPTIONS = {
    # https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-nfs-mount-settings.html
    EFS: "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev,nofail",
    # https://docs.aws.amazon.com/fsx/latest/LustreGuide/mount-fs-auto-mount-onreboot.html
    LUSTRE: "relatime,flock,_netdev,nofail",
}


def mount_options(item: Mount) -> str:
    """Return the options of a file system in fstab."""
    return ("ro," if READ_ONLY in item.options else "") + _OPTIONS[item.kind]
