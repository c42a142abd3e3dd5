"""Volumes of instances: their folders move with the state of the instance."""

from __future__ import annotations

from localcloud.core.disk_folders import DiskFolders
from localcloud.ec2.lifecycle import TrackedInstance


def follow_instance(folders: DiskFolders, tracked: TrackedInstance) -> None:
    """Move the folders of an instance's volumes with its state: in when it runs, out when it ends."""
    instance = tracked.instance
    for volume_id in (block.volume_id for _, block in instance.get_block_device_mapping[1:]):
        if instance.state == "running":
            folders.attach(instance.id, volume_id, instance.ec2_backend.get_volume(volume_id).size)
        elif instance.state == "shutting-down":
            # Before the host's folder is deleted; those that end with the instance are deleted by EC2 then.
            folders.detach(instance.id, volume_id)
