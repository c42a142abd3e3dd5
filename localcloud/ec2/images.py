"""Images made from instances: CreateImage and DeregisterImage as EC2 carries them out.

moto's images have a disk of 15 GiB, refuse tags of snapshots, are available at once, and leave their snapshots behind
when these are to be deleted with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.utils import random_ami_id

from localcloud.aws.images import BakedImage

if TYPE_CHECKING:
    from localcloud.ec2.backend import Ec2Region

_TAGGABLE = ("image", "snapshot")


def create(
    ec2: Ec2Region,
    instance_id: str,
    name: str,
    description: str,
    tags: Mapping[str, Sequence[Mapping[str, str]]],
    *,
    reboots: bool,
    without: Collection[str] = (),
) -> BakedImage:
    """Make an image of an instance. Its disks are copied at once, and it is available some time later.

    :param tags: type of resource, ``image`` or ``snapshot`` -> tags.
    :param reboots: reboot the instance, as EC2 does unless NoReboot is set.
    :param without: devices whose volumes are no part of the image.
    :raises EC2ClientError: InvalidAMIName.Duplicate, IncorrectState, InvalidParameterValue.
    """
    (instance,) = ec2.known([instance_id])
    if any(image.name == name and image.owner_id == ec2.account_id for image in ec2.amis.values()):
        existing = next(image.id for image in ec2.amis.values() if image.name == name)
        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {existing}")
    if instance.state not in ("running", "stopped"):
        raise EC2ClientError("IncorrectState", f"Instance '{instance_id}' is not in state 'running' or 'stopped'.")
    if unknown := set(tags) - set(_TAGGABLE):
        raise EC2ClientError("InvalidParameterValue", f"'{unknown.pop()}' is not a valid taggable resource type")
    image = BakedImage(
        ec2,
        random_ami_id(),
        instance,
        name=name,
        description=description,
        without=without,
        creation_date=ec2.environment.clock.utc(),
    )
    _tag(ec2, [image.id], tags.get("image", ()))
    _tag(ec2, image.snapshot_ids, tags.get("snapshot", ()))
    for snapshot_id in image.snapshot_ids:
        ec2.snapshots[snapshot_id].start_time = ec2.environment.clock.utc()
    # At once, as snapshots show the disk at the time of the call.
    ec2.context.images.save(instance_id, image.id)
    ec2.amis[image.id] = image
    if reboots and instance.state == "running":
        ec2.lifecycle.reboot(instance)

    def complete() -> None:
        with ec2.environment.lock:
            image.state = "available"
            ec2.lifecycle.invalidate()

    ec2.environment.clock.after(ec2.environment.durations.image_s, complete)
    return image


def remove(ec2: Ec2Region, image_id: str, *, with_snapshots: bool) -> None:
    """Remove what a deregistered image leaves behind.

    :param with_snapshots: delete its snapshots as well.
    """
    ec2.context.images.remove(image_id)
    ec2.tags.pop(image_id, None)
    if with_snapshots:
        for snapshot in [snapshot for snapshot in ec2.snapshots.values() if snapshot.from_ami == image_id]:
            ec2.delete_snapshot(snapshot.id)
            ec2.tags.pop(snapshot.id, None)


def _tag(ec2: Any, ids: Sequence[str], tags: Sequence[Mapping[str, str]]) -> None:
    for resource_id in ids:
        ec2.tags.setdefault(resource_id, {}).update({tag["Key"]: tag["Value"] for tag in tags})
