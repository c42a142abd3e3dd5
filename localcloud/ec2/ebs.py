"""EBS of one region: moto's volumes, with the checks of EC2 and folders for their content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.models import EC2Backend

from localcloud.aws.error_responses import ApiError
from localcloud.core.disk_folders import DiskFolders

_DEFAULT_IOPS = {"io1": 3000, "io2": 3000}
# moto attaches the volumes of a launch while the instance is pending.
_ATTACHABLE = (0, 16, 80)


class EbsRegion(EC2Backend):
    """EC2 in one region, with volumes as on AWS.

    :ivar disks: folders that stand for volumes.
    :ivar on_volume_change: called after a volume was attached or detached.
    """

    disks: DiskFolders
    on_volume_change: Callable[[], None]

    def create_volume(self, *args: Any, **options: Any) -> Any:
        """Create a volume; io1 and io2 volumes get default IOPS, because moto loses those of a launch."""
        options["iops"] = options.get("iops") or _DEFAULT_IOPS.get(options.get("volume_type") or "")
        return super().create_volume(*args, **options)

    def attach_volume(
        self, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
    ) -> Any:
        """Attach a volume that is available, in the instance's zone; moto takes any."""
        volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
        if instance.block_device_mapping and (refusal := self.disks.refusal("volumes")):
            raise ApiError("UnsupportedOperation", refusal)
        if volume.attachment:
            raise ApiError("VolumeInUse", f"{volume_id} is already attached to an instance")
        if volume.zone.name != instance.placement.zone:
            message = f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'"
            raise ApiError("InvalidVolume.ZoneMismatch", message)
        if instance.state_code not in _ATTACHABLE:
            raise ApiError("IncorrectState", f"Instance '{instance_id}' is not 'running'.")
        attachment: Any = super().attach_volume(volume_id, instance_id, device_path, delete_on_termination)
        # moto's answers have it for the instance only.
        attachment.delete_on_termination = delete_on_termination
        # Of a launch, too, whose root disk comes first: that is the host's own.
        if instance.state == "running" and device_path != next(iter(instance.block_device_mapping)):
            self.disks.attach(instance_id, volume_id, volume.size)
        self.on_volume_change()
        return attachment

    def detach_volume(self, volume_id: str, instance_id: str, device_path: str) -> Any:
        """Detach a volume, whose content is kept."""
        attachment = super().detach_volume(volume_id, instance_id, device_path)
        self.disks.detach(instance_id, volume_id)
        self.on_volume_change()
        return attachment

    def delete_volume(self, volume_id: str) -> Any:
        """Delete a volume with its content."""
        volume = super().delete_volume(volume_id)
        self.disks.delete(volume_id)
        self.tags.pop(volume_id, None)
        return volume
