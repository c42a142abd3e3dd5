"""Lasting resources of a simulated cloud: volumes, file systems, images, snapshots; placement groups, roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from localcloud.aws.ecr import ACCOUNT


@dataclass(frozen=True)
class LiveDisk:
    """Something that stores data or makes it reachable, a placement group, or a role with tags.

    :param kind: ``volume``, ``image``, ``snapshot``, ``EFS``, ``mount target``, ``Lustre``, ``placement group``,
        ``role`` or ``instance profile``; the last two belong to the account.
    :param name: of the request that made it: an image's name, the token of a file system; empty for other kinds.
    :param parent: id of what it belongs to: the instance of a volume, the image of a snapshot, the file system of a
        mount target.
    """

    kind: str
    id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    parent: str = ""


def live(region: str) -> list[LiveDisk]:
    """Return all of a region, of all owners; nothing of public images."""
    from moto.ec2.models import ec2_backends
    from moto.efs.models import efs_backends
    from moto.fsx.models import fsx_backends
    from moto.iam.models import iam_backends

    backends: Any = (ec2_backends, efs_backends, fsx_backends)
    ec2, efs, fsx = (backend[ACCOUNT][region] for backend in backends)
    iam: Any = iam_backends
    return [*_of_ec2(ec2), *_of_efs(efs), *_of_fsx(fsx), *_of_iam(iam[ACCOUNT]["aws"])]


def _of_ec2(ec2: Any) -> Iterator[LiveDisk]:
    for volume in ec2.volumes.values():
        instance_id = volume.attachment.instance.id if volume.attachment else ""
        yield LiveDisk("volume", volume.id, dict(ec2.tags.get(volume.id, {})), "", instance_id)
    for image in ec2.amis.values():
        if image.owner_id == ACCOUNT:
            yield LiveDisk("image", image.id, dict(ec2.tags.get(image.id, {})), image.name)
    public = {image.id for image in ec2.amis.values() if image.owner_id != ACCOUNT}
    for snapshot in ec2.snapshots.values():
        if snapshot.from_ami not in public:
            tags = dict(ec2.tags.get(snapshot.id, {}))
            yield LiveDisk("snapshot", snapshot.id, tags, "", snapshot.from_ami or "")
    for group in ec2.placement_groups.values():
        tags = {tag["Key"]: tag["Value"] for tag in group.tags}
        yield LiveDisk("placement group", group.id, tags, group.name)


def _of_efs(efs: Any) -> Iterator[LiveDisk]:
    for item in efs.file_systems_by_id.values():
        tags = {tag["Key"]: tag["Value"] for tag in efs.list_tags_for_resource(item.file_system_id)}
        yield LiveDisk("EFS", item.file_system_id, tags, item.creation_token)
    for item in efs.mount_targets_by_id.values():
        yield LiveDisk("mount target", item.mount_target_id, {}, "", item.file_system_id)


def _of_fsx(fsx: Any) -> Iterator[LiveDisk]:
    for item in fsx.file_systems.values():
        tags = {tag["Key"]: tag["Value"] for tag in fsx.tagger.list_tags_for_resource(item.resource_arn)["Tags"]}
        yield LiveDisk("Lustre", item.file_system_id, tags, item.client_request_token)


def _of_iam(iam: Any) -> Iterator[LiveDisk]:
    for kind, items in (("role", iam.roles), ("instance profile", iam.instance_profiles)):
        for item in items.values():
            tags = {tag["Key"]: tag["Value"] for tag in item.tags}
            # Those without tags are of the embedded cloud itself.
            if tags:
                yield LiveDisk(kind, item.name, tags, item.name)
