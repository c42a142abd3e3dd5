"""Baked images: machine images of installed VMs, found by the digest of what is installed.

An image and its snapshots carry the tags of its cluster. They cost money until they are deleted: deregistering an image
leaves its snapshots, which are listed here by themselves then.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/creating-an-ami-ebs.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.aws.ec2 import images
from orchestrator.aws.ec2.images import Image
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.pricing import price_table
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, ImageTypeDef, SnapshotTypeDef, TagTypeDef

    from orchestrator.aws.ec2.instances import Instance

INSTALL = "stratus:install"  # digest of the steps that were installed
JOB = "stratus:job"
BASE = "stratus:base"  # id of the image that the VM was launched from
BASE_NAME = "stratus:basename"
USER = "stratus:user"

AVAILABLE, PENDING, LEFT_BEHIND = "available", "pending", "snapshot only"

BACKOFF = Backoff(first_s=0.5, longest_s=10.0)

_MAX_TAG = 256  # characters of a tag's value
_GONE = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound")


@dataclass(frozen=True)
class Contents:
    """Contents of an image.

    :param digest: of the steps that installed it.
    :param job: name of the job that they were for.
    :param base_id: image that its VM was launched from; of a baked image, the one that this was made from.
    :param base_name: as the settings name it.
    :param user: login name.
    """

    digest: str
    job: str
    base_id: str
    base_name: str
    user: str


@dataclass(frozen=True)
class BakedImage:
    """A baked image, or a snapshot that one left behind.

    :param id: ``ami-...``; of a snapshot that was left behind, ``snap-...``.
    :param state: ``pending``, ``available``, ``failed``, or ``snapshot only``.
    :param size_gib: size of its disk. Snapshots are billed by what is written on it, which AWS does not show.
    :param snapshot_ids: its snapshots.
    :param image: what instances are launched from; None unless it is available.
    """

    id: str
    name: str
    state: str
    contents: Contents
    size_gib: int
    snapshot_ids: tuple[str, ...]
    created_at: datetime | None = None
    image: Image | None = None

    def max_usd_per_month(self, region: str) -> Decimal | None:
        """Return what its snapshots cost a month at most; None if the price in a region is unknown."""
        return max_usd_per_month(self.size_gib, region)


def max_usd_per_month(size_gib: int, region: str) -> Decimal | None:
    """Return what the snapshot of a disk costs a month at most, if all of it is written; None if unknown."""
    per_gib = price_table.snapshot_usd_per_gib_month(region)
    return None if per_gib is None else per_gib * size_gib


def find(clients: client.Clients, cluster_id: ClusterId) -> list[BakedImage]:
    """Return the baked images of a cluster and snapshots without an image, the newest first; two calls."""
    baked = find_images(clients, cluster_id)
    known = {snapshot_id for image in baked for snapshot_id in image.snapshot_ids}
    with clients.translate_errors("listing the snapshots of baked images"):
        pages = clients.ec2.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"], Filters=_filters(cluster_id)
        )
        snapshots = [snapshot for page in pages for snapshot in page["Snapshots"]]
    left = [
        _left_behind(snapshot)
        for snapshot in snapshots
        if snapshot["SnapshotId"] not in known
        and _is_own(cluster_id, snapshot.get("OwnerId"), snapshot.get("Tags", []))
    ]
    return [*baked, *left]


def find_images(clients: client.Clients, cluster_id: ClusterId) -> list[BakedImage]:
    """Return the baked images of a cluster, the newest first; one call."""
    with clients.translate_errors("listing the baked images"):
        answer = clients.ec2.describe_images(Owners=["self"], Filters=_filters(cluster_id))["Images"]
    own = [_baked(image) for image in answer if _is_own(cluster_id, image.get("OwnerId"), image.get("Tags", []))]
    return sorted(own, key=lambda image: str(image.created_at or ""), reverse=True)


def choose(baked: Iterable[BakedImage], digest: str, base: Image) -> Image:
    """Return the newest baked image with the same install on the same image; that image itself without one.

    :param digest: of the install; empty if there is nothing to install.
    """
    matching = (
        image.image
        for image in baked
        if digest and image.image and (image.contents.digest, image.contents.base_id) == (digest, base.id)
    )
    return next(matching, base)


def create(clients: client.Clients, instance: Instance, name: str, contents: Contents, cluster_id: ClusterId) -> str:
    """Request an image of an instance's root disk, without a reboot, and return its id.

    Everything that is on the disk when this returns is in the image, which is available minutes later.
    """
    tags = [*cluster_id.tags, *_tags(contents)]
    specification: Any = [{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")]
    with clients.translate_errors(f"making an image of {instance.name}"):
        # Data volumes are no part of an install; each would be copied, and billed.
        mappings: Any = [{"DeviceName": device, "NoDevice": ""} for device in _further_devices(clients, instance)]
        more: Any = {"BlockDeviceMappings": mappings} if mappings else {}
        return clients.ec2.create_image(
            InstanceId=instance.id,
            Name=name,
            # The login name of an image is read from its name and description.
            Description=f"{contents.base_name} with {contents.job} installed",
            NoReboot=True,
            TagSpecifications=specification,
            **more,
        )["ImageId"]


def find_by_name(clients: client.Clients, cluster_id: ClusterId, name: str) -> str:
    """Return the id of the image of a name; empty if there is none."""
    return next((image.id for image in find_images(clients, cluster_id) if image.name == name), "")


def wait_available(clients: client.Clients, cluster_id: ClusterId, image_id: str, timeout_s: float) -> str:
    """Wait until an image is available, and return its state then: ``pending`` if that takes longer.

    :raises StratusError: it failed.
    """
    state = PENDING
    for _ in clients.clock.attempts(timeout_s, BACKOFF):
        # A new image may be missing in lists for a moment.
        state = next((image.state for image in find_images(clients, cluster_id) if image.id == image_id), PENDING)
        if state == "failed":
            raise StratusError(f"AWS could not make image {image_id}", where=image_id)
        if state != PENDING:
            break
    return state


def delete(clients: client.Clients, image: BakedImage) -> None:
    """Delete an image and its snapshots; what is gone already is no error."""
    with clients.translate_errors(f"deleting image {image.name or image.id}"):
        if image.id.startswith("ami-"):
            with _ignoring_gone():
                clients.ec2.deregister_image(ImageId=image.id)
        # Only now: AWS refuses to delete a snapshot that an image uses.
        for snapshot_id in image.snapshot_ids:
            with _ignoring_gone():
                clients.ec2.delete_snapshot(SnapshotId=snapshot_id)


@contextmanager
def _ignoring_gone() -> Iterator[None]:
    try:
        yield
    except errors.error_types() as error:
        if errors.code_of(error) not in _GONE:
            raise


def _filters(cluster_id: ClusterId) -> list[FilterTypeDef]:
    return [*cluster_id.filters, {"Name": "tag-key", "Values": [INSTALL]}]


def _is_own(cluster_id: ClusterId, account: str | None, tags: Sequence[TagTypeDef]) -> bool:
    """Return True if a resource is the cluster's: any account can share an image under these tags."""
    return account == cluster_id.account and cluster_id.matches(tags)


def _tags(contents: Contents) -> list[TagTypeDef]:
    values = {INSTALL: contents.digest, JOB: contents.job, BASE: contents.base_id}
    values |= {BASE_NAME: contents.base_name, USER: contents.user}
    return [{"Key": key, "Value": value[:_MAX_TAG]} for key, value in values.items()]


def _contents(tags: Iterable[TagTypeDef]) -> Contents:
    values = {tag.get("Key", ""): tag.get("Value", "") for tag in tags}
    return Contents(*(values.get(key, "") for key in (INSTALL, JOB, BASE, BASE_NAME, USER)))


def _baked(response: ImageTypeDef) -> BakedImage:
    contents, state = _contents(response.get("Tags", [])), str(response.get("State", AVAILABLE))
    disks = [mapping["Ebs"] for mapping in response.get("BlockDeviceMappings", []) if "Ebs" in mapping]
    image = images.from_response(response) if state == AVAILABLE else None
    return BakedImage(
        id=response["ImageId"],
        name=response.get("Name", ""),
        state=state,
        contents=contents,
        size_gib=sum(disk.get("VolumeSize", 0) for disk in disks),
        snapshot_ids=tuple(disk["SnapshotId"] for disk in disks if "SnapshotId" in disk),
        created_at=_time(response.get("CreationDate", "")),
        image=replace(image, user=contents.user or image.user, base_id=contents.base_id) if image else None,
    )


def _left_behind(snapshot: SnapshotTypeDef) -> BakedImage:
    return BakedImage(
        id=snapshot["SnapshotId"],
        name="",
        state=LEFT_BEHIND,
        contents=_contents(snapshot.get("Tags", [])),
        size_gib=snapshot.get("VolumeSize", 0),
        snapshot_ids=(snapshot["SnapshotId"],),
        created_at=snapshot.get("StartTime"),
    )


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _further_devices(clients: client.Clients, instance: Instance) -> list[str]:
    """Return the device names of the instance's volumes besides the root disk."""
    shown = clients.ec2.describe_instances(InstanceIds=[instance.id])["Reservations"][0]["Instances"][0]
    devices = [mapping["DeviceName"] for mapping in shown.get("BlockDeviceMappings", [])]
    return [device for device in devices if device != shown.get("RootDeviceName")]
