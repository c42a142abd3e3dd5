"""EBS volumes besides the root disk: planned for a launch, attached, listed and deleted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.aws.disks.mounts import KEEP, VOLUME, Mount
from orchestrator.aws.ec2 import instance_tags
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.identity import ClusterId
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, VolumeTypeDef

    from orchestrator.config.disks.volumes import Volume

JOURNAL_KIND = "volume"
NAME = "stratus:volume"
"""Tag of a volume that is kept: its name in the config."""

ATTACH_TIMEOUT_S = 120.0
_BACKOFF = Backoff(first_s=0.5, longest_s=5.0)
_IN_TRANSITION = ("IncorrectState", "IncorrectInstanceState", "VolumeInUse")
_GONE = ("InvalidVolume.NotFound",)


@dataclass(frozen=True)
class VolumeRecord:
    """A volume as EC2 describes it.

    :param name: in the config; empty if it is not tagged with one.
    :param state: ``creating``, ``available``, ``in-use``, ``deleting``, ``deleted`` or ``error``.
    :param instance_id: of the instance that it is attached to; empty for none.
    :param is_deleted_with_instance: True if EC2 deletes it with that instance.
    """

    id: str
    name: str
    state: str
    zone: str
    disk: Disk
    created_at: datetime
    instance_id: str = ""
    is_deleted_with_instance: bool = False

    @property
    def is_kept(self) -> bool:
        """True if it outlives its instance, or has done so."""
        return self.state in ("available", "in-use", "creating") and not self.is_deleted_with_instance


@dataclass(frozen=True)
class PlannedVolume:
    """A volume of every instance of a launch.

    :param device: ``sdf``.
    :param disk: its properties; with the size of its snapshot, if the settings leave that out.
    :param ids: of existing volumes, one for each instance; empty to create them.
    :param usd_per_hour: of one; None if unknown.
    """

    volume: Volume
    device: str
    disk: Disk
    ids: tuple[str, ...] = ()
    usd_per_hour: Decimal | None = None

    @property
    def is_deleted_with_instance(self) -> bool:
        """True for a volume that is created, and not kept."""
        return not (self.ids or self.volume.keep)

    @property
    def mount(self) -> Mount:
        """Its mount on every instance."""
        options = (KEEP,) if self.volume.keep else ()
        return Mount(self.volume.name, VOLUME, self.device, self.volume.mount_point, options, self.volume.id)

    @property
    def mapping(self) -> dict[str, Any]:
        """The block device mapping of RunInstances that creates it."""
        ebs: dict[str, Any] = {"DeleteOnTermination": not self.volume.keep, "VolumeType": self.disk.type}
        values = {
            "VolumeSize": self.disk.size,
            "Iops": self.disk.iops,
            "Throughput": self.disk.throughput,
            "SnapshotId": self.volume.snapshot,
            "Encrypted": self.disk.encrypted,  # can be switched on, but not off: a snapshot may be encrypted
        }
        ebs |= {key: value for key, value in values.items() if value}
        return {"DeviceName": f"/dev/{self.device}", "Ebs": ebs}


@dataclass(frozen=True)
class ExistingVolumes:
    """Volumes and snapshots that a plan depends on, as EC2 describes them.

    :param reusable: volumes of the cluster that earlier instances left.
    :param named: volumes that the settings name.
    :param snapshot_gib: snapshot id -> size of a volume of it.
    """

    reusable: tuple[VolumeRecord, ...] = ()
    named: tuple[VolumeRecord, ...] = ()
    snapshot_gib: Mapping[str, int] = field(default_factory=dict)


NO_VOLUMES = ExistingVolumes()


def find_existing(clients: client.Clients, settings: Sequence[Volume], cluster_id: ClusterId) -> ExistingVolumes:
    """Return the existing volumes and snapshots that some volumes of the settings need; no call if there are none.

    :raises UsageError: one that the settings name does not exist, or cannot be attached.
    """
    reusable: tuple[VolumeRecord, ...] = ()
    if any(volume.keep for volume in settings):
        reusable = tuple(record for record in of_cluster(clients, cluster_id) if record.state == "available")
    named = tuple(_named(clients, volume) for volume in settings if volume.id)
    sizes = {volume.snapshot: _snapshot_gib(clients, volume) for volume in settings if volume.snapshot}
    return ExistingVolumes(reusable, named, sizes)


def _named(clients: client.Clients, volume: Volume) -> VolumeRecord:
    records = describe(clients, [{"Name": "volume-id", "Values": [volume.id]}])
    if not records:
        raise UsageError(
            f"there is no volume {volume.id} in {clients.region}",
            code="InvalidVolume.NotFound",
            fix=f"correct [volumes] {volume.name}",
        )
    (record,) = records
    if record.state != "available":
        where = f", attached to {record.instance_id}" if record.instance_id else ""
        raise UsageError(
            f"volume {volume.id} is {record.state}{where}: a volume is for one VM at a time",
            code="VolumeInUse",
            fix=f"detach it, or remove [volumes] {volume.name} from the config",
        )
    return record


def _snapshot_gib(clients: client.Clients, volume: Volume) -> int:
    with clients.translate_errors(f"looking up snapshot {volume.snapshot}"):
        filters: list[FilterTypeDef] = [{"Name": "snapshot-id", "Values": [volume.snapshot]}]
        snapshots = clients.ec2.describe_snapshots(Filters=filters)["Snapshots"]
    if not snapshots:
        raise UsageError(
            f"there is no snapshot {volume.snapshot} in {clients.region}",
            code="InvalidSnapshot.NotFound",
            fix=f"correct [volumes] {volume.name}",
        )
    size = snapshots[0]["VolumeSize"]
    if volume.size and volume.size < size:
        raise UsageError(
            f"snapshot {volume.snapshot} has {size} GiB, more than the {volume.size} GiB of [volumes] {volume.name}",
            fix=f"make it {size} GiB or larger, or leave out the size",
        )
    return size


def plan(
    settings: Sequence[Volume],
    existing: ExistingVolumes,
    *,
    count: int,
    taken: Collection[str],
    encrypted: bool,
) -> tuple[PlannedVolume, ...]:
    """Return the volumes of every instance of a launch.

    :param count: instances of the launch.
    :param taken: devices of the image, ``/dev/sda1``.
    """
    used = {name.rpartition("/")[2] for name in taken}
    devices = [f"sd{letter}" for letter in "fghijklmnop" if f"sd{letter}" not in used]
    created = [volume for volume in settings if not volume.is_local]
    if len(created) > len(devices):
        raise UsageError(
            f"the image and [volumes] have {len(created) - len(devices)} disks more than a VM has room for",
            fix="remove lines of [volumes]",
        )
    records = {record.id: record for record in existing.named}
    return tuple(
        PlannedVolume(volume, device, _disk(volume, existing, encrypted), _ids(volume, existing, records, count))
        for volume, device in zip(created, devices, strict=False)
    )


def _disk(volume: Volume, existing: ExistingVolumes, encrypted: bool) -> Disk:
    for record in existing.named:
        if record.id == volume.id:
            return record.disk
    size = volume.size or existing.snapshot_gib.get(volume.snapshot, 0)
    return Disk(volume.type, size, volume.iops, volume.throughput, encrypted)


def _ids(volume: Volume, existing: ExistingVolumes, named: Mapping[str, VolumeRecord], count: int) -> tuple[str, ...]:
    if volume.id:
        return (named[volume.id].id,)
    return tuple(record.id for record in _reusable(volume, existing, count))


def _reusable(volume: Volume, existing: ExistingVolumes, count: int) -> Sequence[VolumeRecord]:
    """Return the kept volumes that the instances of a launch get again: as many as there are instances, in one zone."""
    candidates = [record for record in existing.reusable if volume.keep and record.name == volume.name]
    for zone in dict.fromkeys(record.zone for record in candidates):
        in_zone = sorted((record for record in candidates if record.zone == zone), key=lambda record: record.created_at)
        if len(in_zone) >= count:
            return in_zone[:count]
    return ()


def zone_of(planned: Sequence[PlannedVolume], existing: ExistingVolumes) -> str:
    """Return the zone that existing volumes need their instances in; empty if there are none.

    :raises UsageError: they are in several zones.
    """
    ids = {volume_id for item in planned for volume_id in item.ids}
    records = [record for record in (*existing.reusable, *existing.named) if record.id in ids]
    zones = sorted({record.zone for record in records})
    if len(zones) > 1:
        listed = ", ".join(f"{record.id} ({record.name or 'named'}) in {record.zone}" for record in records)
        raise UsageError(
            f"volumes of one VM are in several zones: {listed}",
            fix="make snapshots of those in one zone, and name these in [volumes]: vol-... becomes snap-...",
        )
    return zones[0] if zones else ""


def left_over(planned: Sequence[PlannedVolume], existing: ExistingVolumes, count: int) -> str:
    """Return a warning on kept volumes that a launch does not attach; empty if there are none."""
    lines = []
    for item in planned:
        names = [record.id for record in existing.reusable if record.name == item.volume.name and item.volume.keep]
        if names and not item.ids:
            lines.append(
                f"kept volumes of {item.volume.name} ({', '.join(names)}) are not attached: "
                f"{count} in one zone are needed, so new ones are created"
            )
    return "; ".join(lines)


def describe(clients: client.Clients, filters: Sequence[FilterTypeDef]) -> list[VolumeRecord]:
    """Return the volumes that match some filters."""
    with clients.translate_errors("listing the volumes"):
        pages = clients.ec2.get_paginator("describe_volumes").paginate(Filters=list(filters))
        return [_record(volume) for page in pages for volume in page["Volumes"]]


def of_cluster(clients: client.Clients, cluster_id: ClusterId) -> list[VolumeRecord]:
    """Return the volumes of a cluster that are kept, or that no instance uses."""
    with clients.translate_errors("listing the volumes"):
        pages = clients.ec2.get_paginator("describe_volumes").paginate(Filters=cluster_id.filters)
        own = [item for page in pages for item in page["Volumes"] if cluster_id.matches(item.get("Tags", []))]
    return [record for record in map(_record, own) if record.is_kept]


def _record(volume: VolumeTypeDef) -> VolumeRecord:
    tags = {tag["Key"]: tag["Value"] for tag in volume.get("Tags", [])}
    attachment: Mapping[str, Any] = next(iter(volume.get("Attachments", [])), {})
    disk = Disk(
        volume["VolumeType"],
        volume["Size"],
        volume.get("Iops", 0) if volume["VolumeType"] in ("io1", "io2", "gp3") else 0,
        volume.get("Throughput", 0),
        volume.get("Encrypted", False),
    )
    return VolumeRecord(
        volume["VolumeId"],
        tags.get(NAME, ""),
        volume["State"],
        volume["AvailabilityZone"],
        disk,
        volume["CreateTime"],
        attachment.get("InstanceId", ""),
        attachment.get("DeleteOnTermination", False),
    )


def attach(clients: client.Clients, volume_id: str, instance_id: str, device: str) -> None:
    """Attach a volume to a running instance, and wait until EC2 shows it there.

    :raises StratusError: AWS refused, or it is not attached in time.
    """

    def attach_once() -> None:
        try:
            clients.ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=f"/dev/{device}")
        except errors.error_types() as error:
            # An earlier attempt, whose answer was lost, has attached it.
            if errors.code_of(error) != "VolumeInUse" or not _is_on(clients, volume_id, instance_id):
                raise

    with clients.translate_errors(f"attaching volume {volume_id} to {instance_id}"):
        clients.clock.retry(
            attach_once,
            is_transient=lambda error: errors.code_of(error) in _IN_TRANSITION,
            timeout_s=ATTACH_TIMEOUT_S,
            backoff=_BACKOFF,
        )


def _is_on(clients: client.Clients, volume_id: str, instance_id: str) -> bool:
    records = describe(clients, [{"Name": "volume-id", "Values": [volume_id]}])
    return any(record.instance_id == instance_id for record in records)


def name(clients: client.Clients, names: Mapping[str, str]) -> None:
    """Tag kept volumes with their names in the config.

    :param names: volume id -> name.
    """
    with clients.translate_errors("tagging the volumes"):
        for volume_id, text in names.items():
            instance_tags.set_tag(clients, [volume_id], NAME, text)


def delete(clients: client.Clients, volume_id: str) -> None:
    """Delete a volume; one that is gone already is no error.

    :raises CloudRefused: an instance uses it, or AWS refuses.
    """
    with clients.translate_errors(f"deleting volume {volume_id}"):
        try:
            clients.ec2.delete_volume(VolumeId=volume_id)
        except errors.error_types() as error:
            if errors.code_of(error) not in _GONE:
                raise


def delete_of_launch(clients: client.Clients, cluster_id: ClusterId, launch_id: str) -> list[str]:
    """Delete the volumes of a launch that was rolled back: nothing was written to them. Return their ids."""
    filters = [*cluster_id.filters, {"Name": f"tag:{instance_tags.LAUNCH}", "Values": [launch_id]}]
    records = [record for record in describe(clients, filters) if record.state == "available"]  # type: ignore[arg-type]
    for record in records:
        delete(clients, record.id)
    return [record.id for record in records]
