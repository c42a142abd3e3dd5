"""The interface between EC2's life cycle and the hosts behind instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from localcloud.hosts.spec import HostSpec


class HostControl(Protocol):
    """What the life cycle asks of the hosts (see ``localcloud.hosts.process.hosts.Hosts``)."""

    def start(self, spec: HostSpec) -> None:
        """Start a host, without waiting for it."""

    def stop(self, instance_id: str) -> None:
        """End every process of a host, keep its folder."""

    def destroy(self, instance_id: str) -> None:
        """End every process of a host and remove its folder."""

    def reboot(self, instance_id: str) -> None:
        """Have a host boot again, without waiting for it."""

    def freeze(self, instance_id: str) -> None:
        """Stop a host in its tracks."""

    def thaw(self, instance_id: str) -> None:
        """Let a frozen host go on."""
