"""Interface between the cloud and the hosts behind its instances, which every kind of hosts implements."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from localcloud.core.errors import LocalCloudError

if TYPE_CHECKING:
    from localcloud.core.addresses import AddressBlock
    from localcloud.core.disk_folders import DiskFolders
    from localcloud.hosts.spec import HostSpec


class HostError(LocalCloudError):
    """A host, or the process that runs all hosts, did not carry out a request."""


@dataclass(frozen=True)
class HostState:
    """State of one host.

    :param state: ``booting`` until SSH is up.
    :param confined: True if the kernel keeps the host from the user's files; None until the host is up.
    :param boots: number of boots so far.
    :param cause: cause of the last change: ``start``, ``stopped``, ``shutdown``, ``reboot``, ``crash``.
    """

    instance_id: str
    state: Literal["booting", "running", "off"]
    confined: bool | None = None
    boots: int = 0
    cause: str = "start"


class HostControl(Protocol):
    """Operations that the lifecycle and fault injection need of hosts."""

    def start(self, spec: HostSpec) -> None:
        """Start a host without waiting for it."""

    def stop(self, instance_id: str) -> None:
        """End every process of a host and keep its disk."""

    def destroy(self, instance_id: str) -> None:
        """End every process of a host and remove its disk."""

    def reboot(self, instance_id: str) -> None:
        """Reboot a host without waiting for it."""

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Let the SSH port answer at these addresses of a host only; open connections stay. Does not wait for it."""

    def freeze(self, instance_id: str) -> None:
        """Suspend every process of a host; its connections stay open."""

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen host."""


class Closable(Protocol):
    """A resource that can be closed."""

    def close(self) -> None:
        """Release the resource."""


class ImageStore(Protocol):
    """Disks of machine images that were made from instances."""

    def save(self, instance_id: str, image_id: str) -> None:
        """Copy the disk of an instance as it is now."""

    def remove(self, image_id: str) -> None:
        """Remove an image, if it is there."""


class NoImages:
    """Images of hosts without a disk that could be copied: they boot as the image that the instance was made from."""

    def save(self, instance_id: str, image_id: str) -> None:
        """Copy nothing."""

    def remove(self, image_id: str) -> None:
        """Remove nothing."""


@dataclass(frozen=True)
class HostSite:
    """Addresses of a cloud, and its hosts.

    :param listener: socket bound to the endpoint of ``block``.
    :param make_hosts: returns the hosts, given a function to call with an instance id when its host shut itself down.
    :param console: returns the boot messages of an instance's host.
    :param open_unresponsive_port: opens a port on which no SSH server answers, given address, port, and whether
        connections are accepted.
    :param images: disks of images that were made from instances.
    :param disks: volumes and shared file systems; None for folders.
    """

    block: AddressBlock
    listener: socket.socket
    make_hosts: Callable[[Callable[[str], None]], HostControl]
    console: Callable[[str], bytes]
    open_unresponsive_port: Callable[[str, int, bool], Closable]
    images: ImageStore = field(default_factory=NoImages)
    disks: DiskFolders | None = None
