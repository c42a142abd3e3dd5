"""Mounts of an instance: the disks and file systems that its tags say are mounted on it.

RunInstances writes the tags, one for each mount, so that every computer can mount again what belongs to an instance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.config.disks import mount_points

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

TAG_PREFIX = "stratus:mount:"

VOLUME, LOCAL, EFS, LUSTRE = "volume", "local", "efs", "lustre"
KEEP, READ_ONLY = "keep", "read-only"

_SOURCES = {VOLUME: "(sd|xvd)[a-z]{1,2}", LOCAL: "-", EFS: "fs-[0-9a-f]+", LUSTRE: "fs-[0-9a-f]+(/[a-z0-9]+)?"}
"""Forms of the sources of each kind."""

_VOLUME_ID = "vol-[0-9a-f]+"


@dataclass(frozen=True)
class Mount:
    """One disk or file system on an instance.

    :param kind: ``volume``, ``local``, ``efs`` or ``lustre``.
    :param source: device of a volume (``sdf``), or the id of a file system; for Lustre ``fs-0123/mountname``.
    :param path: mount point, ``/data`` or ``~/data``.
    :param options: ``keep``, ``read-only``.
    :param volume_id: of an existing volume, which is attached once the instance runs; empty for none.
    """

    name: str
    kind: str
    source: str
    path: str
    options: tuple[str, ...] = ()
    volume_id: str = ""

    @property
    def tag(self) -> dict[str, str]:
        """The tag that says it."""
        fields = [self.kind, self.source or "-", self.path, *self.options]
        return {TAG_PREFIX + self.name: " ".join([*fields, *([self.volume_id] if self.volume_id else [])])}

    @property
    def is_shared(self) -> bool:
        """True for a file system that other instances mount as well."""
        return self.kind in (EFS, LUSTRE)

    @property
    def file_system_id(self) -> str:
        """Id of the shared file system."""
        return self.source.partition("/")[0]


@dataclass(frozen=True)
class InstanceDisks:
    """Disks of an instance as EC2 shows them, and its mounts.

    :param volume_ids: device (``sdf``) -> id of the volume that is attached there.
    :param subnet_id: of its network interface; empty if EC2 does not show it.
    """

    mounts: tuple[Mount, ...] = ()
    volume_ids: Mapping[str, str] | None = None
    subnet_id: str = ""

    def with_mounts(self, known: InstanceDisks) -> InstanceDisks:
        """Return the disks with the mounts of another record, if these have none."""
        return self if self.mounts else replace(self, mounts=known.mounts)


NO_DISKS = InstanceDisks()


def from_response(response: InstanceTypeDef, tags: Mapping[str, str]) -> InstanceDisks:
    """Return the disks of an instance in a response of EC2; tags of another form are ignored."""
    devices = {
        device_name(item.get("DeviceName", "")): item.get("Ebs", {}).get("VolumeId", "")
        for item in response.get("BlockDeviceMappings", [])
    }
    named = sorted((key.removeprefix(TAG_PREFIX), text) for key, text in tags.items() if key.startswith(TAG_PREFIX))
    mounts = tuple(mount for name, text in named if (mount := _from_tag(name, text)))
    return InstanceDisks(mounts, devices, response.get("SubnetId", ""))


def device_name(path: str) -> str:
    """Return ``sdf`` for ``/dev/sdf``."""
    return path.rpartition("/")[2]


def _from_tag(name: str, text: str) -> Mount | None:
    fields = text.split()
    # Tags become lines of /etc/fstab, and other principals may change them: only the forms of a config are taken.
    if len(fields) < 3 or not re.fullmatch(mount_points.NAME_PATTERN, name) or not _is_mount_point(fields[2]):
        return None
    kind, source, path, *rest = fields
    if kind not in _SOURCES or not re.fullmatch(_SOURCES[kind], source):
        return None
    volume_id = next((word for word in rest if re.fullmatch(_VOLUME_ID, word)), "")
    options = tuple(word for word in rest if word in (KEEP, READ_ONLY))
    return Mount(name, kind, "" if source == "-" else source, path, options, volume_id)


def _is_mount_point(text: str) -> bool:
    try:
        return mount_points.parse(text) == text
    except ValueError:
        return False


def tags(mounts: Sequence[Mount]) -> dict[str, str]:
    """Return the tags of some mounts."""
    return {key: value for mount in mounts for key, value in mount.tag.items()}
