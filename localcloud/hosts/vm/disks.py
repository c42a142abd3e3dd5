"""Disks of VMs: EBS volumes are NVMe devices with a file behind them, EFS file systems are NFS servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcloud.core import disk_folders
from localcloud.core.disk_folders import DiskFolders
from localcloud.hosts.vm import qemu
from localcloud.hosts.vm.file_servers import FileServers


@dataclass(frozen=True)
class VmDisks(DiskFolders):
    """Disks of one cloud with VMs.

    :param servers: NFS servers of EFS.
    :param plug: gives a VM a volume, by its instance id and the volume's, with the file behind it.
    :param unplug: takes a volume from a VM.
    """

    servers: FileServers
    plug: Callable[[str, str, Path], None]
    unplug: Callable[[str, str], None]

    def refusal(self, kind: str) -> str:
        """Return the refusal of Lustre, whose server's kernel has modules of its own."""
        return disk_folders.refusal("VM hosts", kind) if kind == "Lustre" else ""

    def attach(self, instance_id: str, volume_id: str, size_gib: int = 1) -> None:
        """Plug a volume into a VM, now and at every boot; it is empty if it is new."""
        path = self.home / "volumes" / volume_id / "content.img"
        path.parent.mkdir(parents=True, exist_ok=True)
        qemu.create_empty(path, size_gib)
        self.plug(instance_id, volume_id, path)

    def detach(self, instance_id: str, volume_id: str) -> None:
        """Unplug a volume; its file stays."""
        self.unplug(instance_id, volume_id)

    def make_shared(self, file_system_id: str) -> None:
        """Boot the server of a shared file system."""
        super().make_shared(file_system_id)
        self.servers.make(file_system_id)

    def delete_shared(self, file_system_id: str) -> None:
        """End the server of a shared file system, and delete its content."""
        self.servers.delete(file_system_id)

    def add_target(self, address: str, file_system_id: str) -> None:
        """Let a server answer at an address."""
        super().add_target(address, file_system_id)
        self.servers.add_address(file_system_id, address)

    def remove_target(self, address: str) -> None:
        """Let a server answer at an address no longer."""
        path = self.shared / "targets" / address
        if path.exists():
            self.servers.remove_address(path.read_text().strip(), address)
        super().remove_target(address)
