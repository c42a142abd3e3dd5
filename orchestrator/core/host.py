"""Host record: everything that SSH and jobs need, independent of any cloud; and the interface of its suppliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Host:
    """A host that is reachable over SSH.

    :param name: name for users, such as ``ml-0``.
    :param address: for connections from this computer.
    :param private_address: for connections from other hosts of the cluster.
    :param port: of its SSH server.
    :param user: login name.
    :param key_file: private key for the login.
    :param host_key: its pinned public host key, ``ssh-ed25519 AAAA...``; empty means unknown: no connection is made.
    :param identity: id in the cloud, such as the instance id; known_hosts entries go by it.
    :param boot_key: public host key of the launch, accepted beside ``host_key`` until the rotation is complete; empty
        after that.
    :param proxy_command: command whose input and output are the connection; empty if it is made directly.
    """

    name: str
    address: str
    private_address: str
    port: int
    user: str
    key_file: Path
    host_key: str
    identity: str
    boot_key: str = ""
    proxy_command: str = ""


class HostSource(Protocol):
    """Supplier of hosts: the instances of an EC2 cluster, a list of own machines, an allocation of a scheduler."""

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the hosts that are up, in the order of their names.

        :param names: only these; all when empty.
        :raises UsageError: no host is up, or one of the names is not.
        """
        ...

    def ready(self, host: Host) -> Host:
        """Wait until a host answers SSH, and return it with the host key that it has then.

        Called from several threads at once.

        :raises HostError: it did not answer in time.
        """
        ...

    def all_ready(self) -> None:
        """Complete work of `ready` that is done once for all hosts; called after the last of them."""
        ...
