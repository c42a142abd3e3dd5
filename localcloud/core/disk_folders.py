"""Folders that stand for volumes and shared file systems.

A volume that is attached is a folder in ``dev`` of its instance's own folder, under the volume's id; one that is not
lies in ``volumes`` of the cloud. Its content is in ``fs``, once mkfs has run; ``serial`` is its serial number on Nitro.
A shared file system is a folder in ``filesystems``, which every process host may write; ``targets`` in there holds the
id of the file system behind each address.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DiskFolders:
    """The folders of one cloud.

    :param home: folder of the cloud.
    :param machines: folder of the instances' own folders.
    """

    home: Path
    machines: Path

    def refusal(self, kind: str) -> str:
        """Return why the hosts of this cloud cannot have a disk; empty if they can.

        :param kind: ``volume``, ``EFS`` or ``Lustre``.
        """
        del kind
        return ""

    @property
    def shared(self) -> Path:
        """Folder of the shared file systems."""
        return self.home / "filesystems"

    def attach(self, instance_id: str, volume_id: str, size_gib: int = 1) -> None:
        """Put a volume into its instance's folder; it is empty if it is new."""
        del size_gib
        target = self.machines / instance_id / "dev" / volume_id
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        detached = self.home / "volumes" / volume_id
        if detached.exists():
            detached.rename(target)
        else:
            target.mkdir()
            (target / "serial").write_text(volume_id.replace("-", "") + "\n")

    def detach(self, instance_id: str, volume_id: str) -> None:
        """Take a volume out of its instance's folder."""
        source = self.machines / instance_id / "dev" / volume_id
        if source.exists():
            (self.home / "volumes").mkdir(exist_ok=True)
            source.rename(self.home / "volumes" / volume_id)

    def delete(self, volume_id: str) -> None:
        """Delete a volume that is not attached."""
        shutil.rmtree(self.home / "volumes" / volume_id, ignore_errors=True)

    def make_shared(self, file_system_id: str) -> None:
        """Make the folder of a shared file system."""
        (self.shared / file_system_id).mkdir(parents=True, exist_ok=True)

    def delete_shared(self, file_system_id: str) -> None:
        """Delete the folder of a shared file system."""
        shutil.rmtree(self.shared / file_system_id, ignore_errors=True)

    def add_target(self, address: str, file_system_id: str) -> None:
        """Let an address lead to a shared file system."""
        (self.shared / "targets").mkdir(parents=True, exist_ok=True)
        (self.shared / "targets" / address).write_text(file_system_id + "\n")

    def remove_target(self, address: str) -> None:
        """Let an address lead nowhere."""
        (self.shared / "targets" / address).unlink(missing_ok=True)


class NoFolders(DiskFolders):
    """Folders of a simulation: there are none."""

    def __init__(self) -> None:
        super().__init__(Path(), Path())

    def attach(self, instance_id: str, volume_id: str, size_gib: int = 1) -> None:
        """Do nothing."""

    def detach(self, instance_id: str, volume_id: str) -> None:
        """Do nothing."""

    def delete(self, volume_id: str) -> None:
        """Do nothing."""

    def make_shared(self, file_system_id: str) -> None:
        """Do nothing."""

    def delete_shared(self, file_system_id: str) -> None:
        """Do nothing."""

    def add_target(self, address: str, file_system_id: str) -> None:
        """Do nothing."""

    def remove_target(self, address: str) -> None:
        """Do nothing."""


class RefusedDisks(NoFolders):
    """Disks of docker hosts, which can have none besides their root disk."""

    def refusal(self, kind: str) -> str:
        """Return the refusal of every kind."""
        return refusal("docker hosts", kind)


def refusal(hosts: str, kind: str) -> str:
    """Return the line that refuses a disk."""
    return f"{hosts} of the embedded cloud have no {kind}: start it with process hosts (python -m localcloud up)"
